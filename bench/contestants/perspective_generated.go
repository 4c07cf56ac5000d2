package contestants

import (
	"context"

	"perspective/pb"

	"bench/harness"
)

//go:generate go run -C ../.. ./cmd/pb gen -type GeneratedEcho -out perspective_generated_pb.go bench/contestants

func init() {
	registerPerspective("perspective-generated",
		"perspective/pb, adaptors and client written by pb gen",
		func() any { return &GeneratedEcho{} },
		func(on pb.Target) echoFunc { return NewGeneratedEchoClient(on).Echo })
}

// GeneratedEcho is an echo for which pb gen has written the rest.
type GeneratedEcho struct{ echo }

// RemoteEcho answers with what it was given.
func (*GeneratedEcho) RemoteEcho(_ context.Context, m harness.Msg) (harness.Msg, error) {
	return m, nil
}

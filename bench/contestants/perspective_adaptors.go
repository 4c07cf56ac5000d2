package contestants

import (
	"context"

	"perspective/pb"
	"perspective/pb/adapt"

	"bench/harness"
)

func init() {
	adapt.Methods(
		adapt.Func1("RemoteEcho", (*adaptedEcho).RemoteEcho),
		adapt.Func1("RemoteStep", (*adaptedEcho).RemoteStep),
	)
	registerPerspective("perspective-adaptors",
		"perspective/pb, methods registered and called with their static types",
		func() any { return &adaptedEcho{} }, typed)
}

// adaptedEcho is an echo whose methods are called without reflection.
type adaptedEcho struct{ echo }

// RemoteEcho answers with what it was given.
func (*adaptedEcho) RemoteEcho(_ context.Context, m harness.Msg) (harness.Msg, error) {
	return m, nil
}

func typed(on pb.Target) echoFunc {
	return func(ctx context.Context, m harness.Msg) (harness.Msg, error) {
		return adapt.Do1[harness.Msg](ctx, on, "Echo", m)
	}
}

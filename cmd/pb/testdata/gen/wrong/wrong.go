// Package wrong has types that pb gen refuses, each for its own reason.
package wrong

import (
	"context"

	"perspective/pb"
)

type hidden struct{ pb.Referenceable }

func (*hidden) RemoteGet(context.Context) error { return nil }

// Number is no object.
type Number int

// Plain embeds no flavour.
type Plain struct{}

// RemoteGet would be for peers.
func (*Plain) RemoteGet(context.Context) error { return nil }

// Silent has nothing to call.
type Silent struct{ pb.Referenceable }

// Remotely is not for peers.
func (*Silent) Remotely(context.Context) error { return nil }

// Empty has nothing to call.
type Empty interface{}

// Generic is of any T.
type Generic[T any] struct{ pb.Referenceable }

// RemoteGet returns a T.
func (*Generic[T]) RemoteGet(context.Context) (t T, err error) { return t, nil }

// Alias is another name.
type Alias = Silent

// NoContext lacks the context.
type NoContext struct{ pb.Referenceable }

// RemoteGet has no context.
func (*NoContext) RemoteGet(int) error { return nil }

// NoError lacks the error.
type NoError struct{ pb.Referenceable }

// RemoteGet has no error.
func (*NoError) RemoteGet(context.Context) int { return 0 }

// NoAvatar lacks the avatar.
type NoAvatar struct{ pb.Viewable }

// ViewGet has no avatar.
func (*NoAvatar) ViewGet(context.Context) error { return nil }

// Channel takes what cannot cross.
type Channel struct{ pb.Referenceable }

// RemoteGet takes a channel.
func (*Channel) RemoteGet(_ context.Context, _ string, _ map[string]chan int) error { return nil }

// Twins have one name for peers.
type Twins struct{ pb.Referenceable }

// RemoteGetAll is RemoteGet_all.
func (*Twins) RemoteGetAll(context.Context) error { return nil }

// RemoteGet_all is RemoteGetAll.
func (*Twins) RemoteGet_all(context.Context) error { return nil }

// Later has methods that meet in the client.
type Later struct{ pb.Referenceable }

// RemoteGet makes a GetLater.
func (*Later) RemoteGet(context.Context) error { return nil }

// RemoteGetLater makes one too.
func (*Later) RemoteGetLater(context.Context) error { return nil }

// Taken has a client already.
type Taken interface {
	Get(ctx context.Context) error
}

// TakenClient is it.
type TakenClient struct{}

// Nameless takes a struct without a name.
type Nameless interface {
	Get(ctx context.Context, at struct{ X, Y int }) error
}

package pb

import (
	"context"
	"fmt"

	"perspective/broker"
	"perspective/jelly"
)

// A Target is what methods can be called on: a *RemoteReference, a *Deferred
// that will give one, or what another package makes into one.
type Target interface {
	jelly.Reference
	// Reference gives the peer's object that calls go to now. It may wait, as
	// long as ctx lives, and Call waits for it then: a Target whose object may
	// take its time is a Resolver. *Deferred and *RemoteReference never need it:
	// calls on a Deferred leave before it has fired.
	Reference(ctx context.Context) (*RemoteReference, error)
}

// A Resolver is a Target whose object may have to be found first, as that of a
// cluster's service: Call does not wait for it. Its methods may be called by many
// goroutines at once and must not block, but for Reference.
type Resolver interface {
	Target
	// Resolved is the object that a call goes to now; nil if that has to be found,
	// and as long as a call that waited for it has not been made.
	Resolved() *RemoteReference
	// Resolve has found called, once, with the object or with the reason why there
	// is none. It is called on a goroutine of the Resolver's, always returns, and may
	// block until the peer takes more calls. The Resolver calls one found at a time,
	// in the order of the calls to Resolve, so that calls keep their order.
	//
	// giveUp takes that back: found is not called any more, unless it has begun. It
	// gives the error that the call fails with, which wraps cause and may tell what
	// came of the search so far.
	Resolve(found func(*RemoteReference, error)) (giveUp func(cause error) error, err error)
}

// A RemoteReference is an object of the peer's. There is one for each object
// and connection, so references compare with ==. It may be used by several
// goroutines at once. The peer keeps the object until the collector here has
// taken the reference, or Release was called, or the connection has ended.
//
// References are made by decoding what a peer sends, and by Conn.Root; the
// zero value is good for nothing.
type RemoteReference struct {
	conn   *Conn
	handle broker.Handle
}

// JellyReference marks a RemoteReference as a thing that crosses by reference:
// to the peer it came from it goes home as the object itself.
func (r *RemoteReference) JellyReference() {}

// Reference is r itself.
func (r *RemoteReference) Reference(context.Context) (*RemoteReference, error) { return r, nil }

// Conn is the connection that the object is reached through.
func (r *RemoteReference) Conn() *Conn { return r.conn }

// Done is closed when the reference is of no use any more because its
// connection has ended.
func (r *RemoteReference) Done() <-chan struct{} { return r.conn.Done() }

// CallRemote calls a method and gives its result in whatever type it has.
// The rest of Call's rules hold.
func (r *RemoteReference) CallRemote(
	ctx context.Context, method string, args ...any,
) *Deferred[any] {
	return Call[any](ctx, r, method, args...)
}

// Send calls a method and wants no answer: there is none, also not if the
// method fails. It returns when the call is in the hands of the connection. An
// error means that it was not executed.
func (r *RemoteReference) Send(ctx context.Context, method string, args ...any) error {
	return send(ctx, r, method, args)
}

// Release gives the object up now, for all of this process: later calls on the
// reference fail. The peer learns of it within 100 ms. Without Release the
// collector does the same when nothing holds the reference any more, and the peer
// learns of it within 2 s of that.
func (r *RemoteReference) Release() { r.conn.broker.Release(&r.handle) }

// String names the object for people: its number and its connection.
func (r *RemoteReference) String() string {
	return fmt.Sprintf("object %d of %s", r.handle.ID(), r.conn.name)
}

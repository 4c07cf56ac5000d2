package pb

import (
	"context"
	"log/slog"

	"perspective/internal/lines"
	"perspective/jelly"
)

// An Interceptor stands around the calls of peers to a node's objects: it sees each call whose
// arguments were right, before the method runs, and the result after it. It calls next with ctx, or
// with a context made from it, to run the method, and returns what next returned or something else
// in its place; a result is what the method returned, so a method that returns a *Deferred gives
// that. An Interceptor that returns an error without having called next refuses the call: its
// caller is told that nothing was executed. It runs on the goroutine of the call, several at once.
type Interceptor func(
	ctx context.Context, call *CallInfo, next func(context.Context) (any, error),
) (any, error)

// A CallInfo tells an Interceptor or an Observer about one call. It must not be changed. For an
// Interceptor it is valid until that returns, for an Observer without end.
type CallInfo struct {
	// Method is the name for peers, as Methods lists it. Of an outgoing call, and of one that is
	// passed on to the object of another peer, it is what the caller wrote. Empty: the call was
	// refused before its method was found; the names that peers make up are in the errors alone.
	Method string
	// Target is the object that is called; for one lent with AsReferenceable, the object that was
	// lent. Of an outgoing call it is the *RemoteReference or the *Deferred that it is made on,
	// of one that is passed on the *RemoteReference. Nil: it was not found, or is not the
	// program's, as with a login.
	Target any
	// Peer names the other side as Conn.String does.
	Peer string
	// Conn is the connection that the call goes over.
	Conn *Conn
	// Outgoing says that this node makes the call. An Interceptor sees none.
	Outgoing bool
	// Oneway says that nobody waits for the result.
	Oneway bool

	frame frame // nil for an Observer
}

// Args returns the arguments, without the context. Changing the slice does not change the call.
// An Observer gets none: it is told of calls whose arguments were not looked at yet, and of
// logins.
func (c *CallInfo) Args() []any {
	if c.frame == nil {
		return nil
	}
	return c.frame.arguments()
}

// surroundings are what all objects exported on one connection share. Its zero value works.
type surroundings struct {
	logger *slog.Logger    // gets the stacks of methods that panic; nil: nobody does
	around Interceptor     // nil: none
	types  *jelly.Registry // nil: the default one
	peer   string

	conn *Conn // nil: there is none

	released func(id uint64) // is told when the peer let go of an object; nil: nobody
}

// logHook logs that what the program gave panicked or ended its goroutine, if err says so. what
// names it.
func (s *surroundings) logHook(what string, err error) {
	if err == nil || s == nil || s.logger == nil {
		return
	}
	if p := panicIn(err); p != nil {
		lines.Fault(context.Background(), s.logger, what, p, "peer", s.peer)
	}
}

// intercepted runs the method by way of the interceptor. begun says whether the interceptor let it
// run.
func (b *boundMethod) intercepted(
	ctx context.Context, f frame, oneway bool,
) (v any, begun bool, err error) {
	with := b.on.with
	info := &CallInfo{
		Method: b.m.name,
		Target: b.target(),
		Peer:   with.peer,
		Conn:   with.conn,
		Oneway: oneway,
		frame:  f,
	}
	v, err = with.around(ctx, info, func(ctx context.Context) (any, error) {
		begun = true
		if err := f.call(ctx); err != nil {
			return nil, err
		}
		return f.result(), nil
	})
	return v, begun, err
}

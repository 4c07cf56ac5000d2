package pb

import (
	"context"

	"perspective/broker"
	"perspective/internal/guard"
	"perspective/jelly"
)

// Yield ends the turn of the method that ctx belongs to: later calls to its
// object may start from now on, beside it. It does nothing without a turn.
func Yield(ctx context.Context) {
	if in := broker.IncomingFrom(ctx); in != nil && !turnless(ctx) {
		in.EndTurn()
	}
}

// Turn is an Executor that puts functions at the end of the queue of the object
// whose method ctx belongs to, as if they were calls over the same connection:
// they run one at a time and never beside a call that keeps its turn. They are
// counted among the peer's calls, and dropped when the connection ends. It may
// be used after the method has returned. It panics if ctx is not a method's.
func Turn(ctx context.Context) Executor {
	in := broker.IncomingFrom(ctx)
	if in == nil {
		panic(outsideMethod("Turn").Error())
	}
	return turns{in}
}

type turns struct{ in *broker.Incoming }

func (t turns) Execute(f func()) {
	t.in.InTurn(func() {
		failed := func(err error) {
			if c := ConnFrom(t.in); c != nil {
				c.around.logHook("a function in its turn", err)
			}
		}
		err := guard.Call(func() error {
			f()
			return nil
		}, failed)
		failed(err)
	})
}

// executeOrDrop is for callbacks, which must learn that they will never run.
func (t turns) executeOrDrop(run func(), dropped func(error)) {
	if !t.in.InTurn(run) {
		dropped(broker.ErrClosed)
	}
}

// leaveTurn is called by everything in this package that is about to block
// with ctx: the turn of the method that ctx belongs to ends, it does not count
// among the handlers of its connection, and its Serial lock is free, until back,
// which is never nil: it waits for room among the handlers, and then for the Serial
// lock, whose holder always has room.
func leaveTurn(ctx context.Context) (back func()) {
	in := broker.IncomingFrom(ctx)
	if in == nil || turnless(ctx) {
		return func() {}
	}
	in.EndTurn()
	stepBack := in.StepAside()
	if h := serialFrom(ctx); h != nil {
		h.pause()
		return func() {
			stepBack()
			h.resume()
		}
	}
	return stepBack
}

type turnlessKey struct{}

// withoutTurn is ctx for work beside the method: its waits end no turn.
func withoutTurn(ctx context.Context) context.Context {
	if broker.IncomingFrom(ctx) == nil {
		return ctx
	}
	return context.WithValue(withoutSerial(ctx), turnlessKey{}, true)
}

func turnless(ctx context.Context) bool {
	b, _ := ctx.Value(turnlessKey{}).(bool)
	return b
}

// PerspectiveFrom is the avatar on whose behalf the method that ctx belongs to
// was called; nil if the peer has not logged in.
func PerspectiveFrom(ctx context.Context) any { return callerAvatar(ctx) }

// callerAvatar is the avatar that was called, or else the one that the peer
// logged in as.
func callerAvatar(ctx context.Context) any {
	c := ConnFrom(ctx)
	if c == nil {
		return nil
	}
	if in := broker.IncomingFrom(ctx); in != nil {
		if called := objectOf(in.Key()); c.isAvatar(called) {
			return called
		}
	}
	return c.Avatar()
}

type connKey struct{}

// ConnFrom is the connection over which the method that ctx belongs to was
// called; nil outside of methods.
func ConnFrom(ctx context.Context) *Conn {
	c, _ := ctx.Value(connKey{}).(*Conn)
	return c
}

type notesKey struct{}

// WithNotes is ctx for a call whose method may send notes before it answers,
// see Note. f gets each, on the connection's reader: it must be quick and must
// not block.
func WithNotes(ctx context.Context, f func(note any)) context.Context {
	return context.WithValue(ctx, notesKey{}, f)
}

func notesOf(ctx context.Context) func(any) {
	f, _ := ctx.Value(notesKey{}).(func(any))
	return f
}

// Note sends v to the caller of the method that ctx belongs to, before the
// answer. The caller sees it if it called with WithNotes. Note fails with
// ErrOutsideMethod if ctx is not a method's, with ErrCancelled if the call has been
// answered, given up or made by Send, so that nobody is there to hear it, and if v
// can not cross.
func Note(ctx context.Context, v any) error {
	_, err := note(ctx, v)
	return err
}

// NoteWritten is Note that returns when the connection has taken v: over a unix socket the caller
// sees it whatever becomes of this process, if the caller reads the connection to its end (then the
// error that ends it is an ErrPeerClosed without ErrUnheard). It fails where the connection has
// ended too.
func NoteWritten(ctx context.Context, v any) error {
	in, err := note(ctx, v)
	if err != nil {
		return err
	}
	return in.Written()
}

func note(ctx context.Context, v any) (*broker.Incoming, error) {
	in := broker.IncomingFrom(ctx)
	if in == nil {
		return nil, outsideMethod("Note")
	}
	err := in.Note(func(e *jelly.Encoder) error { return e.Encode(v) })
	if err == broker.ErrCancelled { //nolint:errorlint // what v's own encoding returns is not meant
		return in, tooLate("Note")
	}
	return in, err
}

package pb

import (
	"context"
	"reflect"
	"sync/atomic"

	"perspective/broker"
	"perspective/jelly"
)

// A direct call goes to an object that is there, and its caller waits for it and hands out no Deferred: Do and the like.
// It is a broker.Question that does without most of what a Deferred is for.
//
// value and err belong to whoever moved state away from directAsked: the reader, which then gives one token to wake, or
// the caller, who then takes none. After the token the reader does not touch the call.
type directCall[T any] struct {
	asked
	conn  *Conn
	wake  chan struct{} // lent by conn
	state atomic.Uint32
	value T
	err   error
}

const (
	directAsked uint32 = iota
	directTaken        // the answer is here
	directGone         // the caller does not wait any more
)

// A directTyped is a direct call with its arguments.
type directTyped[R, P any] struct {
	directCall[R]
	typed P
}

// do makes the call on r.
func (c *directCall[T]) do(ctx context.Context, r *RemoteReference) (T, error) {
	c.conn = r.conn
	c.wake = r.conn.wakes.take()
	c.notes = notesOf(ctx)
	err := c.conn.broker.Ask(ctx, &broker.Header{
		Handle: &r.handle, Method: c.method, Flags: c.flags | broker.FlagFinal, Call: &c.wire,
	}, c)
	if err != nil {
		c.conn.wakes.give(c.wake)
		return c.value, wrapCall(c.method, c.conn.name, NotExecuted, err)
	}
	if err := c.await(ctx); err != nil {
		return *new(T), err
	}
	c.conn.wakes.give(c.wake)
	return c.value, c.err
}

// await returns nil when the answer is there, or why nobody waits for it any more.
func (c *directCall[T]) await(ctx context.Context) error {
	if broker.IncomingFrom(ctx) != nil { // else there is no turn
		defer leaveTurn(ctx)()
	}
	end := ctx.Done()
	if end == nil {
		<-c.wake // cheaper than a select
		return nil
	}
	select {
	case <-c.wake:
		return nil
	case <-end:
	}
	if !c.state.CompareAndSwap(directAsked, directGone) {
		<-c.wake // the answer is arriving at this moment
		return nil
	}
	wire, b := &c.wire, c.conn.broker
	outcome := NotExecuted
	if b.Sent(wire) {
		outcome = MaybeExecuted
	}
	b.Cancel(wire)
	c.args.forget()
	c.conn.wakes.give(c.wake) // no token will come
	return wrapCall(c.method, c.conn.name, outcome, endOf(ctx, "wait for a Deferred"))
}

// ---- broker.Question

// Pure reports whether decoding the result runs no user's code.
func (c *directCall[T]) Pure() bool { return c.conn.pure(reflect.TypeFor[T]()) }

// DecodeResult reads the result. Of a call that was given up it is read all the same: it may hold references to let go
// of.
func (c *directCall[T]) DecodeResult(d *jelly.Decoder) error {
	if !c.state.CompareAndSwap(directAsked, directTaken) {
		return decodeResult(d, new(T))
	}
	err := decodeResult(d, &c.value)
	if err != nil {
		c.value, c.err = *new(T), c.broken(c.conn, err)
	}
	return err
}

// Finish ends the call.
func (c *directCall[T]) Finish(o broker.Outcome, err error) {
	if c.state.Load() == directAsked {
		if !c.state.CompareAndSwap(directAsked, directTaken) {
			return
		}
		c.err = wrapCall(c.method, c.conn.name, o, err)
	}
	if c.state.Load() == directTaken {
		c.wake <- struct{}{} // there is room; the call is the caller's from here on
	}
}

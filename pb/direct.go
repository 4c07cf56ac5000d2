package pb

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"

	"perspective/broker"
	"perspective/jelly"
	"perspective/pb/internal/typed"
)

// A direct call goes to an object that is there, and its caller waits for it and hands out no
// Deferred: Do and the like. It is a broker.Question that does without most of what a Deferred is
// for.
//
// value and err belong to the goroutine that moved state away from directAsked: the reader, which
// then puts one token into wake, or the caller, which then takes none. After the token the reader
// does not touch the call, which can be used again.
type directCall[T any] struct {
	asked
	conn  *Conn
	wake  chan struct{} // has room for one token
	state atomic.Uint32
	value T
	err   error
	ended bool // before its answer, which still finds the call
}

const (
	directAsked uint32 = iota
	directTaken        // the answer is here
	directGone         // the caller does not wait for it any more
)

// A directTyped is a direct call with its arguments.
type directTyped[R, P any] struct {
	directCall[R]
	typed P
}

// directCalls are calls over one connection that may be used again, by their type. Each connection
// has its own, for a channel belongs to the place where it was made.
type directCalls struct{ pools sync.Map } // reflect.Type of a directTyped -> *directPool

// A directPool has the calls of one type.
type directPool struct {
	sync.Pool
	kept bool // the memory of an argument or of the result may be kept, so calls are not used again
}

func takeDirect[R, P any](calls *directCalls) (*directTyped[R, P], *directPool) {
	t := reflect.TypeFor[directTyped[R, P]]()
	kept, ok := calls.pools.Load(t)
	if !ok {
		p := &directPool{
			kept: jelly.MayKeep(reflect.TypeFor[R]()) || jelly.MayKeep(reflect.TypeFor[P]()),
		}
		p.New = func() any {
			return &directTyped[R, P]{directCall: directCall[R]{wake: make(chan struct{}, 1)}}
		}
		kept, _ = calls.pools.LoadOrStore(t, p)
	}
	pool := kept.(*directPool)
	return pool.Get().(*directTyped[R, P]), pool
}

// doDirect makes a call on r and waits for its answer; ok is false, and nothing has happened, if
// the arguments have to be looked at before.
func doDirect[R, P any, Q interface {
	*P
	typed.Args
}](ctx context.Context, r *RemoteReference, method string, args P) (value R, ok bool, err error) {
	c, pool := takeDirect[R, P](&r.conn.direct)
	c.typed = args
	if Q(&c.typed).Boxed(isPromise) != nil {
		c.typed = *new(P)
		pool.Put(c)
		return value, false, nil
	}
	c.conn, c.method, c.args = r.conn, method, Q(&c.typed)
	c.noted(ctx, &c.directCall)
	err = r.conn.broker.Ask(ctx, &broker.Header{
		Handle: &r.handle,
		Method: method,
		Flags:  broker.FlagFinal,
		Call:   &c.wire,
	}, c)
	if err != nil {
		c.dropUnsent(r.conn, err)
		err = wrapCall(method, r.conn.name, NotExecuted, err)
	} else if err = c.await(ctx); err != nil {
		return value, true, err // the answer will find the call as it is
	} else {
		value, err = c.value, c.err
	}
	if !pool.kept && !c.ended && !c.noting.Load() {
		*c = directTyped[R, P]{directCall: directCall[R]{wake: c.wake}}
		pool.Put(c)
	}
	return value, true, err
}

// await returns nil when the answer is there, or why nobody waits for it any more.
func (c *directCall[T]) await(ctx context.Context) error {
	if broker.IncomingFrom(ctx) != nil {
		defer leaveTurn(ctx)()
	} else if len(c.wake) == 0 { // there is no turn, and nobody to be kept
		c.conn.broker.ReadFor(ctx, &c.wire)
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
	return c.cancel(endOf(ctx, "wait for the answer"))
}

// cancel tells the peer that nobody waits for the answer, and returns what the call fails with.
func (c *directCall[T]) cancel(cause error) error {
	wire, b := &c.wire, c.conn.broker
	outcome := NotExecuted
	if b.Sent(wire) {
		outcome = MaybeExecuted
	}
	b.Cancel(wire)
	c.args.Forget()
	return wrapCall(c.method, c.conn.name, outcome, cause)
}

// notesFailed ends the call. The reader calls it.
func (c *directCall[T]) notesFailed(err error) {
	c.conn.logNotes(err)
	if !c.state.CompareAndSwap(directAsked, directGone) {
		return
	}
	c.err, c.ended = c.cancel(err), true
	c.wake <- struct{}{} // there is room
}

// ---- broker.Question

// Pure reports whether decoding the result runs no user's code.
func (c *directCall[T]) Pure() bool { return c.conn.pure(reflect.TypeFor[T]()) }

// DecodeResult reads the result. That of a call that was given up is nobody's.
func (c *directCall[T]) DecodeResult(d *jelly.Decoder) error {
	if !c.state.CompareAndSwap(directAsked, directTaken) {
		return broker.ErrCancelled
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
		if err != nil && c.err == nil { // the decoding ended its goroutine
			c.value, c.err = *new(T), c.broken(c.conn, err)
		}
		c.wake <- struct{}{} // there is room; the call is the caller's from here on
	}
}

package pb

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"

	"perspective/broker"
	"perspective/internal/guard"
	"perspective/jelly"
	"perspective/pb/internal/typed"
)

// Call calls a method of a remote object. It returns when the call is in the
// hands of the connection, waiting only if the peer has too many of our calls
// already; the Deferred fires with the result. Where the object has to be found
// first, by a [Resolver], Call returns at once, and those on one Resolver are made
// in their order when it is there.
//
// ctx rules the call: its deadline travels with it and its end cancels it. On
// a Deferred that has not fired the call leaves at once, and is run by the peer
// as soon as the object is there; if that Deferred fails, so does this one with
// the same error. A nil target fails the call as not executed; a nil *Deferred
// among the arguments crosses as nil.
//
// OutcomeOf tells of each error whether the method has run.
func Call[T any](ctx context.Context, on Target, method string, args ...any) *Deferred[T] {
	return start[T](ctx, on, method, anyArgs(args))
}

// Do is Call and Wait in one, and a little cheaper: nothing can be called on
// the result before it is there.
func Do[T any](ctx context.Context, on Target, method string, args ...any) (T, error) {
	return do[T](ctx, on, method, anyArgs(args))
}

// send is Send on any target.
func send(ctx context.Context, on Target, method string, args []any) error {
	c := newCall[struct{}](method, anyArgs(args))
	c.flags = broker.FlagOneway
	c.begin(ctx, on, waitCtx)
	if c.state.Load()&isFired != 0 {
		return c.look()
	}
	return nil
}

// call is one remote call and the Deferred that its caller holds, in one piece
// of memory. It is a broker.Question.
type call[T any] struct {
	Deferred[T]
	asked
	over  atomic.Pointer[Conn]        // nil until it is known where the call goes
	boxed []any                       // the arguments, if one of them has to be looked at
	stop  atomic.Pointer[func() bool] // unfollows the ctx
	// search is how the search for the target is given up; nil while no Resolver looks for it.
	search atomic.Pointer[giveUp]
	seen   atomic.Pointer[observation] // nil as long as no Observer was told of the call
	out    reflect.Value               // where the result goes, if T is struct{} for Bind
	won    bool                        // the result is in the Deferred, which Finish settles
	failed bool                        // the result could not be decoded
}

// giveUp ends the wait for what a Resolver looks for; see there.
type giveUp func(cause error) error

// ctxUse says which side watches the end of the call's ctx.
type ctxUse int

const (
	followCtx ctxUse = iota // the call itself
	waitCtx                 // the caller, which waits for it
)

// A typedCall is a call with its arguments.
type typedCall[R, P any] struct {
	call[R]
	typed P
}

func newCall[R, P any, Q interface {
	*P
	typed.Args
}](method string, args P) *call[R] {
	c := &typedCall[R, P]{typed: args}
	c.method, c.args, c.src = method, Q(&c.typed), &c.call
	c.boxed = c.args.Boxed(isPromise)
	return &c.call
}

// start makes a call whose Deferred the caller has.
func start[R, P any, Q interface {
	*P
	typed.Args
}](ctx context.Context, on Target, method string, args P) *Deferred[R] {
	c := newCall[R, P, Q](method, args)
	c.begin(ctx, on, followCtx)
	return &c.Deferred
}

// wait is Wait, and ends the call with ctx.
func (c *call[T]) wait(ctx context.Context) (T, error) {
	if c.Deferred.state.Load()&isFired == 0 {
		if conn := c.over.Load(); conn != nil && broker.IncomingFrom(ctx) == nil {
			conn.broker.ReadFor(ctx, &c.wire)
		}
		if err := c.block(ctx); err != nil {
			c.cancel(err, err)
		}
		if c.Deferred.state.Load()&isFired == 0 { // the answer is arriving at this moment
			<-c.Done()
		}
	}
	c.tellEnd()
	return c.value, c.look()
}

// begin finds out where the call goes and sends it there.
func (c *call[T]) begin(ctx context.Context, on Target, use ctxUse) {
	if use == followCtx && ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() {
			err := endOf(ctx, "call "+c.method)
			c.cancel(err, err)
		})
		c.stop.Store(&stop) // before the call can be answered
	}
	c.noted(ctx, c)
	for _, a := range c.boxed {
		if p, ok := a.(promise); ok && !isNilPointer(p) {
			p.handOn()
		}
	}
	for _, a := range c.boxed {
		if p, ok := a.(promise); ok && !c.travels(p, on) {
			c.after(ctx, p, on)
			return
		}
	}
	c.to(ctx, on)
}

// notesFailed ends the call.
func (c *call[T]) notesFailed(err error) {
	if conn := c.over.Load(); conn != nil {
		conn.logNotes(err)
	}
	c.cancel(err, err)
}

// to sends the call to on.
func (c *call[T]) to(ctx context.Context, on Target) {
	if c.Deferred.state.Load()&isFired != 0 {
		c.unsent(ErrCancelled)
		return // given up while it waited for what it goes to
	}
	switch t := on.(type) {
	case *RemoteReference:
		if t == nil {
			break
		}
		c.ask(ctx, t, &broker.Header{Handle: &t.handle})
		return
	case promise:
		if isNilPointer(t) {
			break
		}
		t.handOn()
		c.onPromise(ctx, t)
		return
	case nil:
	case Resolver:
		c.resolve(ctx, t)
		return
	default:
		if isNilPointer(t) {
			break
		}
		r, err := referenceOf(ctx, on, func(err error) { c.fail(NotExecuted, err) })
		if err != nil {
			c.fail(NotExecuted, err)
			return
		}
		c.to(ctx, r)
		return
	}
	c.fail(NotExecuted, errNilTarget(on))
}

// errNilTarget is the error of a call on nothing.
func errNilTarget(on Target) error {
	if on == nil {
		return errors.New("pb: the target is nil")
	}
	return fmt.Errorf("pb: the target is a nil %T", on)
}

// isNilPointer reports whether v holds a pointer to nothing.
func isNilPointer(v any) bool {
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
}

// referenceOf is on.Reference, which may be a program's: a panic is an error, and if it ends its
// goroutine gone is called.
func referenceOf(ctx context.Context, on Target, gone func(error)) (r *RemoteReference, err error) {
	err = guard.Call(func() (err error) {
		r, err = on.Reference(ctx)
		return err
	}, gone)
	if err == nil && r == nil {
		err = fmt.Errorf("pb: the Reference of a %T is nil", on)
	}
	return r, err
}

// resolve makes the call on what t has, or will have found.
func (c *call[T]) resolve(ctx context.Context, t Resolver) {
	var r *RemoteReference
	err := guard.Call(func() error {
		if r = t.Resolved(); r != nil {
			return nil
		}
		giveUp, err := t.Resolve(func(r *RemoteReference, err error) { c.found(ctx, r, err) })
		if err == nil && giveUp != nil {
			c.seek(giveUp)
		}
		return err
	}, func(err error) { c.fail(NotExecuted, err) })
	switch {
	case err != nil:
		c.fail(NotExecuted, err)
	case r != nil:
		c.to(ctx, r)
	case c.Deferred.state.Load()&isFired != 0:
		_ = c.unresolved(ErrCancelled) // nobody could tell the Resolver before
	}
}

// seek remembers how the search is given up.
func (c *call[T]) seek(f giveUp) { c.search.Store(&f) }

// found makes the call on what a Resolver has found. It always returns: the Resolver has more to
// do.
func (c *call[T]) found(ctx context.Context, r *RemoteReference, err error) {
	c.search.Store(nil)
	if err == nil {
		err = guard.Run(func() error {
			c.to(ctx, r)
			return nil
		})
	}
	if err != nil {
		c.fail(NotExecuted, err)
	}
}

// unresolved gives the search up, if there is one, and returns what the call fails with.
func (c *call[T]) unresolved(cause error) error {
	f := c.search.Swap(nil)
	if f == nil {
		return cause
	}
	failure := cause
	if err := guard.Run(func() error {
		failure = (*f)(cause)
		return nil
	}); err != nil || failure == nil {
		return cause
	}
	return failure
}

// onPromise makes the call on a Deferred. Calls on one Deferred keep their
// order: once one of them had to wait until it fires, all later ones are made
// behind it.
func (c *call[T]) onPromise(ctx context.Context, p promise) {
	if p.followed() {
		c.once(ctx, p)
		return
	}
	v, err, ok := p.settled()
	if !ok {
		r, sent := p.source().(remote)
		if !sent {
			c.once(ctx, p)
			return
		}
		conn, wire := r.remoteCall()
		if conn == nil {
			c.once(ctx, p)
			return
		}
		if c.pipeline(ctx, p, conn, wire) {
			return
		}
		// The answer has come and is being decoded.
		fired := make(chan struct{})
		p.onDone(func() { close(fired) })
		<-fired
		v, err, _ = p.settled()
	}
	c.onResult(ctx, p, v, err)
}

// onResult makes the call on what p was fired with.
func (c *call[T]) onResult(ctx context.Context, p promise, v any, err error) {
	if err != nil {
		c.breakWith(p, err)
		c.unsent(err)
		return
	}
	if t, ok := v.(Target); ok && v != nil {
		c.to(ctx, t)
		return
	}
	c.fail(NotExecuted, fmt.Errorf("pb: %T is no remote object, nothing can be called on it", v))
}

// once makes the call when p has fired. Those that wait for one promise are
// made in their order, for its callbacks run one after another.
func (c *call[T]) once(ctx context.Context, p promise) {
	p.follow(func(v any, err error) { c.onResult(ctx, p, v, err) })
}

// breakWith fails the call with the error of a broken promise, as it is.
func (c *call[T]) breakWith(p promise, err error) {
	if !c.claim() {
		return
	}
	if c.flags&handsOutNone == 0 {
		err = p.origin().watch(err) // the call may not know its connection
	}
	c.settle(err)
}

// handsOutNone are the flags of a call whose caller has no Deferred.
const handsOutNone = broker.FlagFinal | broker.FlagOneway

// after makes the call when p, an argument, has fired.
func (c *call[T]) after(ctx context.Context, p promise, on Target) {
	p.follow(func(_ any, err error) {
		if err != nil {
			c.breakWith(p, err)
			c.unsent(err)
			return
		}
		for _, a := range c.boxed {
			if q, ok := a.(promise); ok && !c.travels(q, on) {
				c.after(ctx, q, on)
				return
			}
		}
		c.to(ctx, on)
	})
}

// travels reports whether an argument can leave as it is: nil, fired, or the
// answer of a call over the connection that this one goes over too.
func (c *call[T]) travels(p promise, on Target) bool {
	if isNilPointer(p) {
		return true
	}
	if _, _, ok := p.settled(); ok {
		return true
	}
	r, ok := p.source().(remote)
	if !ok {
		return false
	}
	conn, _ := r.remoteCall()
	switch t := on.(type) {
	case *RemoteReference:
		return conn != nil && t != nil && t.conn == conn
	case promise:
		if isNilPointer(t) {
			return true // the call fails, and waits for nothing
		}
		if r, ok := t.source().(remote); ok {
			other, _ := r.remoteCall()
			return conn != nil && other == conn
		}
	}
	return false
}

// pipeline sends the call to the answer of another one, which fires p; false if that is there.
func (c *call[T]) pipeline(ctx context.Context, p promise, conn *Conn, on *broker.Call) bool {
	err := c.try(ctx, p, conn, &broker.Header{Answer: on})
	if errors.Is(err, broker.ErrAnswered) {
		return false
	}
	if err != nil {
		c.fail(NotExecuted, err)
	}
	return true
}

func (c *call[T]) ask(ctx context.Context, on *RemoteReference, h *broker.Header) {
	if err := c.try(ctx, on, on.conn, h); err != nil {
		c.fail(NotExecuted, err)
	}
}

// try sends the call, which is made on on, over conn.
func (c *call[T]) try(ctx context.Context, on any, conn *Conn, h *broker.Header) error {
	c.over.Store(conn)
	if c.Deferred.state.Or(isLeaving)&isLeaving != 0 {
		return nil // it has failed, and its arguments were put away
	}
	if conn.node.Observe != nil {
		ctx = c.observed(ctx, on, conn)
	}
	if c.Deferred.state.Load()&isCancelled != 0 {
		c.dropUnsent(conn, ErrCancelled)
		// cancelCall may have seen no connection, and said that the call was not executed
		return nil
	}
	h.Method, h.Flags = c.method, c.flags
	if c.flags&broker.FlagOneway == 0 {
		h.Call = &c.wire
	}
	pinned := conn.pinArgs(c.boxed)
	// What the arguments' types do runs here. Where the caller of this function cannot get its
	// error, the waiters of the Deferred do.
	err := guard.Call(func() error {
		defer func() {
			for _, p := range pinned {
				conn.broker.Unpin(p)
			}
		}()
		return conn.broker.Ask(ctx, h, c)
	}, func(err error) {
		conn.around.logHook("an argument of a call", err)
		c.dropUnsent(conn, err)
		c.fail(NotExecuted, err)
		if c.flags&broker.FlagFinal != 0 {
			c.tellEnd() // for a caller that is gone
		}
	})
	conn.around.logHook("an argument of a call", err)
	if err == nil {
		c.args.Forget()
		c.boxed = nil
		if h.Call == nil {
			c.seen.Swap(nil).end(MaybeExecuted, nil) // nothing more will be heard of it
		}
		if c.Deferred.state.Load()&isCancelled != 0 && h.Call != nil {
			conn.broker.Cancel(h.Call) // it was given up before the peer could be told
		}
		return nil
	}
	if errors.Is(err, broker.ErrAnswered) { // it is sent another way
		c.Deferred.state.And(^isLeaving)
		return err
	}
	c.dropUnsent(conn, err)
	return err
}

// unsent puts the arguments of a call away that will not be sent.
func (c *call[T]) unsent(cause error) {
	if c.Deferred.state.Or(isLeaving)&isLeaving == 0 {
		c.dropUnsent(c.over.Load(), cause)
	}
}

// fail fires the Deferred with the call's error.
func (c *call[T]) fail(o Outcome, err error) {
	peer := ""
	if conn := c.over.Load(); conn != nil {
		peer = conn.name
	}
	c.unfollow()
	c.fire(*new(T), wrapCall(c.method, peer, o, err))
	if o == NotExecuted {
		c.unsent(err)
	}
}

// unfollow ends the watch over the call's ctx.
func (c *call[T]) unfollow() {
	if stop := c.stop.Load(); stop != nil {
		c.stop.Store(nil) // it holds the ctx
		(*stop)()
	}
}

// remote is the source of a Deferred that a remote call will fire.
type remote interface {
	source
	remoteCall() (*Conn, *broker.Call)
}

func (c *call[T]) remoteCall() (*Conn, *broker.Call) {
	conn := c.over.Load()
	if conn == nil {
		return nil, nil
	}
	return conn, &c.wire
}

// origin is the node whose connection the call goes over, if the caller has a Deferred.
func (c *call[T]) origin() *unseenLog {
	if conn := c.over.Load(); conn != nil && c.flags&handsOutNone == 0 {
		return &conn.node.unseen
	}
	return nil
}

// cancelCall gives the call up and tells the peer that nobody wants the result.
func (c *call[T]) cancelCall(cause error) {
	conn := c.over.Load()
	if conn == nil || c.flags&broker.FlagOneway != 0 {
		c.fail(NotExecuted, c.unresolved(cause))
		return
	}
	outcome := NotExecuted
	if conn.broker.Sent(&c.wire) {
		outcome = MaybeExecuted
	}
	c.fail(outcome, cause) // before the peer is told, whose answer would be another error
	conn.broker.Cancel(&c.wire)
}

// ---- broker.Question

// Pure reports whether decoding the result runs no user's code.
func (c *call[T]) Pure() bool {
	if c.out.IsValid() {
		return c.over.Load().pure(c.out.Type())
	}
	return c.over.Load().pure(reflect.TypeFor[T]())
}

// DecodeResult reads the result straight into the Deferred. That of a call that
// was given up is nobody's.
func (c *call[T]) DecodeResult(d *jelly.Decoder) (err error) {
	if c.won = c.claim(); !c.won {
		return broker.ErrCancelled
	}
	if c.out.IsValid() {
		err = d.DecodeValue(c.out)
	} else {
		err = decodeResult(d, c.slot())
	}
	if err != nil {
		c.failed = true
		c.settle(c.broken(c.over.Load(), err))
	}
	return err
}

// Finish ends the call.
func (c *call[T]) Finish(o broker.Outcome, err error) {
	c.unfollow()
	switch {
	case c.failed:
	case err != nil && c.won: // the decoding ended its goroutine
		c.settle(c.broken(c.over.Load(), err))
	case err != nil:
		c.fail(o, err)
	case c.won:
		c.settle(nil)
	}
}

// follow has f called with the result, in the order of the calls to follow,
// on the goroutine of d's callbacks.
func (d *Deferred[T]) follow(f func(v any, err error)) {
	d.state.Or(isFollowed)
	d.AddBoth(func(v T, err error) (T, error) {
		f(v, err)
		return v, err
	}).handOn()
}

// followed reports whether follow was ever used.
func (d *Deferred[T]) followed() bool { return d.state.Load()&isFollowed != 0 }

// Reference waits for d and gives the remote object that it fired with. That a
// nil d is nil is an error.
func (d *Deferred[T]) Reference(ctx context.Context) (*RemoteReference, error) {
	if d == nil {
		return nil, errNilTarget(d)
	}
	v, err := d.Wait(ctx)
	if err != nil {
		return nil, err
	}
	if t, ok := any(v).(Target); ok {
		if isNilPointer(t) {
			return nil, errNilTarget(t)
		}
		return t.Reference(ctx)
	}
	return nil, fmt.Errorf("pb: %T is no remote object", v)
}

// newCall is Call for a T that only the compiler knew: Bind uses it.
func (d *Deferred[T]) newCall(ctx context.Context, on Target, method string, args []any) any {
	return Call[T](ctx, on, method, args...)
}

// callReflect calls a method for Bind and waits for its answer; result is nil
// if only the error is wanted.
func callReflect(
	ctx context.Context, on Target, method string, args []reflect.Value, result reflect.Type,
) (reflect.Value, error) {
	c := newCall[struct{}](method, valueArgs(args))
	c.flags = broker.FlagFinal
	if result != nil {
		c.out = reflect.New(result).Elem()
	}
	c.begin(ctx, on, waitCtx)
	_, err := c.wait(ctx)
	return c.out, err
}

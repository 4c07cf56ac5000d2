package pb

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"sync/atomic"

	"perspective/internal/guard"
	"perspective/internal/prefix"
)

// A Deferred is a result that may not be there yet: the answer to a remote
// call, the outcome of a function running elsewhere, or whatever a program
// chooses to announce with [Deferred.Callback] and [Deferred.Errback]. It fires
// once, with a value or with an error, and never changes afterwards.
//
// There are two ways to take the result. [Deferred.Wait] blocks for it. The
// Add methods and [Then] give a function to be called with it; each returns a
// new Deferred, the child, which fires with what that function returns.
// The functions added to one Deferred run one after another in the order they
// were added, on a goroutine of their own or on the [Executor] chosen with
// [Deferred.On], never on the goroutine that fires the Deferred.
//
// A Deferred that failed, and that nobody has looked at when the collector takes it, is logged by
// the node that the call went out from, if the Logger of that is enabled at Debug. Wait and Result
// look at it; whatever is added to it, and what it is the target, an argument or a result of, has
// the error instead. A caller of Cancel wants none.
//
// The zero value is a Deferred that has not fired. A Deferred must not be
// copied; all its methods may be called by many goroutines at once. It holds no
// goroutine and no timer while nobody has added anything to it, so one that
// never fires costs its memory and no more.
type Deferred[T any] struct {
	// state holds the bits below. Its bits decoding and fired decide which goroutine may touch
	// value, err and src; see settle.go.
	state atomic.Uint32

	waiters int32          // calls of Wait that block; guarded by mu
	mu      sync.Mutex     // guards waiters, wake and deps
	wake    chan struct{}  // closed when fired; nil until a waiter needs it
	deps    *dependents[T] // nil until a dependent is added

	// src makes the result, or is nil. It is set before the Deferred is
	// shared. A derived Deferred lets go of it when it fires, so that a long
	// chain does not keep its beginning alive, and has an unseenLog or nil, which
	// mu guards from then on; any other keeps it, and a holder
	// lets go of what it holds.
	src source

	value T
	err   error // perhaps an *unseen: read by look
}

// The bits of Deferred.state. A Deferred is pending while neither isDecoding
// nor isFired is set; the way is pending, decoding, fired, never back.
const (
	isDecoding  uint32 = 1 << iota // one goroutine has won the right to write the result
	isFired                        // the result stands
	isWatched                      // wake or deps may be set: firing must look
	isAwake                        // wake is closed; written under mu
	isCancelled                    // Cancel has been to the source
	isDerived                      // src is an upstream: the result comes from other Deferreds
	isFollowed                     // calls were made to wait until it fires
	isHolding                      // src is a holder that wants to know
	isHandedOn                     // its failure is handed on: see handOn
	isLeaving                      // src is a call that is being sent, or that will not be
	isByHand                       // a program has fired it, not its source
)

// A source makes the result of a Deferred and can be asked to stop.
type source interface {
	// cancelCall is called at most once, by the first Cancel of a Deferred that
	// has not fired. The source may fire the Deferred before it returns; if it
	// does not, the Deferred fails with ErrCancelled. No lock is held.
	cancelCall(cause error)
	// origin is where a failure is logged that nobody looks at; nil for nowhere.
	origin() *unseenLog
}

// A holder is a source that has functions of the program's, which it lets go of
// when the Deferred has fired.
type holder interface {
	source
	// letGo is called once, by the goroutine that fires the Deferred and before
	// anybody sees the result, of which err is the error; perhaps while another
	// is in cancelCall.
	letGo(err error)
}

// An upstream is the source of a derived Deferred: one or more Deferreds that count the dependents
// of their result. Here cancelCall says that a dependent is gone and that the work may stop if it
// was the last.
type upstream interface {
	source
	// leave says that a dependent does not need the result any more.
	// Unlike cancelCall it never stops the work.
	leave()
}

// promise is a Deferred of any type, as the rest of the package sees it.
type promise interface {
	upstream
	// settled returns the result, and false while there is none.
	settled() (value any, err error, ok bool)
	// onDone has f called once the Deferred has fired: on the goroutine that
	// fires it, before any callback, or at once if it has fired already. So f
	// must be quick, must not block and must not run a user's code.
	onDone(f func())
	// retain counts one more dependent: until a leave or a
	// cancelCall takes it back, the Deferred is not cancelled by others.
	retain()
	// valueType is the type T.
	valueType() reflect.Type
	// handOn says that a dependent is told of a failure.
	handOn()
	// source is what was set as src, nil for a Deferred made from others.
	source() source
	// follow has f called with the result on the goroutine of the callbacks,
	// in the order of the calls to follow.
	follow(f func(value any, err error))
	// followed reports whether follow was ever used.
	followed() bool
}

// NewDeferred returns a Deferred that calls canceller when it is cancelled
// before it has fired, which happens at most once. The canceller gets the
// Deferred, so that it may fire it with an error of its own or with what is
// there already, and why it was cancelled: [ErrCancelled], or the timeout that
// [Deferred.AddTimeout] ran into. If it leaves the Deferred unfired, the
// Deferred fails with ErrCancelled. The Deferred lets go of the canceller when it
// fires. A nil canceller does nothing; the same is had with new(Deferred[T]).
func NewDeferred[T any](canceller func(d *Deferred[T], cause error)) *Deferred[T] {
	d := &Deferred[T]{}
	if canceller != nil {
		c := &cancelFunc[T]{target: d}
		c.f.Store(&canceller)
		d.setHolder(c)
	}
	return d
}

// setHolder makes src the source of d, which is not shared yet.
func (d *Deferred[T]) setHolder(src holder) {
	d.src = src
	d.state.Store(isHolding)
}

// cancelFunc is the source of a Deferred with a user's canceller.
type cancelFunc[T any] struct {
	target *Deferred[T]
	f      atomic.Pointer[func(*Deferred[T], error)] // nil when target has fired
}

func (c *cancelFunc[T]) letGo(error) { c.f.Store(nil) }

func (*cancelFunc[T]) origin() *unseenLog { return nil }

func (c *cancelFunc[T]) cancelCall(cause error) {
	f := c.f.Load()
	if f == nil {
		return
	}
	// A canceller may run on the goroutine of a timer or of a Gather, which has
	// more to do.
	err := guard.Run(func() error {
		(*f)(c.target, cause)
		return nil
	})
	if err != nil {
		c.target.Errback(err)
	}
}

// Succeed returns a Deferred that has fired with v.
func Succeed[T any](v T) *Deferred[T] {
	d := &Deferred[T]{value: v}
	d.state.Store(isDecoding | isFired)
	return d
}

// Fail returns a Deferred that has failed with err, which must not be nil.
func Fail[T any](err error) *Deferred[T] {
	d := &Deferred[T]{err: orNilErrback(err)}
	d.state.Store(isDecoding | isFired)
	return d
}

// Callback fires d with v and reports whether it did: false means that d had
// fired already, or that its answer is arriving at this moment.
func (d *Deferred[T]) Callback(v T) bool { return d.fireByHand(v, nil) }

// Errback makes d fail with err and reports whether it did: false means that d
// had fired already, or that its answer is arriving at this moment. The value of
// a failed Deferred is the zero value. A nil err is a mistake, and d fails with
// an error that says so.
func (d *Deferred[T]) Errback(err error) bool {
	var zero T
	return d.fireByHand(zero, orNilErrback(err))
}

// Wait blocks until d has fired and returns its result. The end of ctx ends
// only the waiting, with an error that wraps ctx.Err(); d goes on and may be
// waited for again. A Deferred that has fired answers at once, even if ctx
// has ended. Inside a remote method, a Wait that has to block ends the turn of
// the call that ctx belongs to.
func (d *Deferred[T]) Wait(ctx context.Context) (T, error) {
	if d.state.Load()&isFired == 0 {
		if err := d.block(ctx); err != nil {
			var zero T
			return zero, err
		}
	}
	return d.value, d.look()
}

// block returns nil once d has fired, or the reason why ctx ended before.
func (d *Deferred[T]) block(ctx context.Context) error {
	if ctx.Err() != nil {
		return endOf(ctx, "wait for a Deferred")
	}
	d.mu.Lock()
	if d.watchLocked() {
		d.mu.Unlock()
		return nil
	}
	wake := d.wakeLocked()
	d.waiters++
	d.mu.Unlock()

	back := leaveTurn(ctx)
	if end := ctx.Done(); end == nil {
		<-wake // cheaper than a select
	} else {
		select {
		case <-wake:
		case <-end:
		}
	}
	d.mu.Lock()
	d.waiters--
	d.mu.Unlock()
	back()

	if d.state.Load()&isFired == 0 {
		return endOf(ctx, "wait for a Deferred")
	}
	return nil
}

// endOf is the error of what was given up because ctx ended.
func endOf(ctx context.Context, what string) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return prefix.Errorf("pb: %s: %w", what, cause)
	}
	return prefix.Errorf("pb: %s: %w: %w", what, err, cause)
}

// Result returns what d fired with; ok is false while it has not.
//
//nolint:revive // the order of Wait, then ok
func (d *Deferred[T]) Result() (value T, err error, ok bool) {
	if d.state.Load()&isFired == 0 {
		return value, nil, false
	}
	return d.value, d.look(), true
}

// Done returns a channel that is closed when d has fired. Unlike a blocked
// Wait, the channel does not count as a waiter of d when a child is cancelled.
func (d *Deferred[T]) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	fired := d.watchLocked()
	wake := d.wakeLocked()
	if fired {
		d.airLocked()
	}
	return wake
}

// JellyReference marks a Deferred as a thing that crosses the wire by
// reference: it travels as a promise, and the peer may call methods on the
// result before it is there.
func (d *Deferred[T]) JellyReference() {}

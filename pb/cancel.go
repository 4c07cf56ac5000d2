package pb

import (
	"context"
	"fmt"
	"time"
)

// timeoutError is the error of AddTimeout.
type timeoutError struct{ after time.Duration }

func (e timeoutError) Error() string { return fmt.Sprintf("pb: no result within %v", e.after) }
func (timeoutError) Unwrap() error   { return context.DeadlineExceeded }
func (timeoutError) Timeout() bool   { return true }

// Cancel says that nobody wants the result of d any more. It does nothing if d
// has fired, or if its answer is arriving at this moment.
//
// A Deferred that was made from another one fails with [ErrCancelled] at once.
// A function given to AddCallback, AddErrback or Then that has not begun is not
// called; one given to AddBoth is, when the parent fires, for it may have
// something to put away, and what it returns is dropped. Cancel then goes on to
// the parent, but only if this was the last of the parent's children that had not
// fired and no call of Wait blocks on the parent. The results of Gather, First
// and List pass a Cancel on to each of their inputs by the same rule.
//
// For any other Deferred, Cancel stops the work behind it: it calls the
// canceller given to NewDeferred, cancels the remote call, or ends the context
// of the function given to Go. Unless that fired the Deferred, it then fails with
// ErrCancelled. Only the first Cancel does this; a second one running at the
// same time may return before the Deferred has failed.
func (d *Deferred[T]) Cancel() { d.cancel(ErrCancelled, ErrCancelled) }

// cancel makes d fail with err and passes cause on to its source.
func (d *Deferred[T]) cancel(err, cause error) {
	var zero T
	if d.state.Load()&isDerived != 0 {
		if !d.claim() {
			return
		}
		up := d.upstream()
		d.settle(err)
		up.cancelCall(cause)
		return
	}
	if d.state.Or(isCancelled)&(isCancelled|isDecoding|isFired) != 0 {
		return
	}
	if d.src != nil {
		d.src.cancelCall(cause)
	}
	d.fire(zero, err)
}

// retain counts one more that wants the result of d, and is told of its failure.
func (d *Deferred[T]) retain() {
	d.handOn()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.watchLocked() {
		d.depsLocked().live++
	}
}

// leave takes back one retain.
func (d *Deferred[T]) leave() { d.release() }

// cancelCall takes back one retain and cancels d if nothing is left that wants it.
func (d *Deferred[T]) cancelCall(cause error) {
	if d.release() {
		d.cancel(ErrCancelled, cause)
	}
}

// release takes back one retain and reports whether nothing is left that wants
// the result: no child, no Gather or the like, no blocked Wait.
func (d *Deferred[T]) release() (unwanted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state.Load()&isFired != 0 || d.deps == nil {
		return false
	}
	d.deps.live--
	d.deps.forgetLocked()
	return d.deps.live == 0 && d.waiters == 0
}

// AddTimeout returns a child that fires as d does, but fails if d has not fired
// when dur is over. The error is a [context.DeadlineExceeded]; d is then
// cancelled as if by Cancel of the child.
func (d *Deferred[T]) AddTimeout(dur time.Duration) *Deferred[T] {
	child := d.relay(d.home())
	if child.state.Load()&isFired != 0 {
		return child
	}
	timer := time.AfterFunc(dur, func() {
		err := timeoutError{after: dur}
		child.cancel(err, err)
	})
	child.onDone(func() { timer.Stop() })
	return child
}

package broker

import (
	"context"
	"slices"

	"perspective/broker/message"
)

type creditWaiter struct {
	size    int
	asking  asking // for windows
	granted bool
	done    chan struct{} // closed with the grant, or with the end of the connection
}

// credit takes the room for a call of size bytes among the peer's unanswered
// calls. A call made while handling a call does not wait for it: it takes from
// a reserve, or fails. Needs mu, and gives it up while it waits.
func (qs *questions) credit(ctx context.Context, size int, nested bool, shown *asking) error {
	switch {
	case qs.err != nil:
		return qs.err
	case nested &&
		(qs.calls >= qs.limitN+qs.limitN/4 || qs.calls > 0 && qs.bytes+size > 2*qs.limitB):
		return ErrOverloaded
	case nested || len(qs.waiters) == 0 && qs.fits(size):
		qs.take(size)
		return nil
	}
	w := &creditWaiter{size: size, asking: *shown, done: make(chan struct{})}
	qs.waiters = append(qs.waiters, w)
	qs.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	qs.mu.Lock()
	switch {
	case w.granted && ctx.Err() == nil && qs.err == nil:
		return nil
	case w.granted:
		qs.give(1, size)
	default:
		qs.waiters = slices.DeleteFunc(qs.waiters, func(x *creditWaiter) bool { return x == w })
	}
	if qs.err != nil {
		return qs.err
	}
	return context.Cause(ctx)
}

// fits needs mu. A single call larger than the whole budget goes alone.
func (qs *questions) fits(size int) bool {
	return qs.calls < qs.limitN && (qs.bytes+size <= qs.limitB || qs.calls == 0)
}

// take needs mu.
func (qs *questions) take(size int) {
	qs.calls++
	qs.bytes += size
	qs.many.count(qs.calls)
}

// give returns credit and lets waiters have it, in their order. Needs mu.
func (qs *questions) give(calls, bytes int) {
	if qs.err != nil {
		return
	}
	qs.calls -= calls
	qs.bytes -= bytes
	qs.many.count(qs.calls)
	for len(qs.waiters) > 0 && qs.fits(qs.waiters[0].size) {
		w := qs.waiters[0]
		qs.waiters = qs.waiters[1:]
		qs.take(w.size)
		w.granted = true
		close(w.done)
	}
}

// limits sets what the peer takes.
func (qs *questions) limits(calls, bytes int) {
	qs.mu.Lock()
	qs.limitN, qs.limitB = calls, bytes
	qs.give(0, 0)
	qs.mu.Unlock()
}

// returnOneway takes in a CREDIT for oneway calls that have ended.
func (qs *questions) returnOneway(calls, bytes uint64) error {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	//nolint:gosec // never negative
	if calls > uint64(qs.oneway) || bytes > uint64(qs.onewayBytes) {
		return message.Violation("CREDIT: elements 2 and 3, calls and bytes: want at most %d and "+
			"%d, which are out, got %d and %d",
			qs.oneway, qs.onewayBytes, calls, bytes)
	}
	qs.oneway -= int(calls)         //nolint:gosec // checked
	qs.onewayBytes -= int(bytes)    //nolint:gosec // checked
	qs.give(int(calls), int(bytes)) //nolint:gosec // checked
	return nil
}

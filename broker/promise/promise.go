// Package promise has the one kind of promise that a connection is made of: the answer to a call
// that others are called on or stand in the arguments of. An object of the peer's that a RESOLVE
// tells what it is will be another, by Replace: no side sends promised references yet.
//
//	           Await              Await              Await: "it is there"
//	             ↓                  ↓                  ↑
//	(zero)    pending ──Settle──▶ settling ─────────▶ settled ──Replace──▶ settled
//	                                │ ▲
//	                                ▼ │ tells one after another,
//	                              waiters, in the order of their Await
//
// The rule: each Waiter is told once, in the order of the calls of Await; one that begins while
// others are told comes behind them. Only when nobody waits any more is the
// promise settled, and from then on it has the value at hand. So what was called on a promise
// before it was settled is always before what is called on the settled one.
package promise

import "sync"

// A Waiter waits for a promise.
type Waiter interface {
	// Settled is called once, without the lock, when the promise has its value. It may await
	// other promises, and this one again.
	Settled(*Promise)
}

// A Promise is a value that is not there yet, or is. Its zero value is pending. Its methods need a
// lock of the owner's, the same for all of them.
type Promise struct {
	state   state
	value   []byte // encoded
	failure []byte // encoded; not empty: there is no value
	waiting []Waiter
}

type state uint8

const (
	pending state = iota
	settling
	settled
)

// Await has w told when the promise has its value. It is false, and w is not told, if that is
// there already.
func (p *Promise) Await(w Waiter) (waits bool) {
	if p.state == settled {
		return false
	}
	p.waiting = append(p.waiting, w)
	return true
}

// Settle gives the promise its value or, if failure is not empty, its failure, and tells each
// Waiter that waits. Both stay the promise's. The caller holds the lock l. Settle gives it up while
// it tells a Waiter. A promise is settled once: a second Settle panics.
func (p *Promise) Settle(l sync.Locker, value, failure []byte) {
	if p.state != pending {
		panic("promise: settled twice")
	}
	p.state, p.value, p.failure = settling, value, failure
	for len(p.waiting) > 0 {
		w := p.waiting[0]
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
		l.Unlock()
		w.Settled(p)
		l.Lock()
	}
	p.state, p.waiting = settled, nil
}

// IsSettled reports whether the value is there and each Waiter has been told.
func (p *Promise) IsSettled() bool { return p.state == settled }

// Result is the value, or the failure if failed is true. It may be called without the lock by a
// Waiter that is told, and when IsSettled was true.
func (p *Promise) Result() (result []byte, failed bool) {
	if len(p.failure) > 0 {
		return p.failure, true
	}
	return p.value, false
}

// Size is how many bytes the result has.
func (p *Promise) Size() int { return len(p.value) + len(p.failure) }

// Replace puts a failure, or with nil nothing, in the place of a result for which there is no room.
func (p *Promise) Replace(failure []byte) { p.value, p.failure = nil, failure }

// Waiting calls f for each Waiter, for the end of the owner.
func (p *Promise) Waiting(f func(Waiter)) {
	for _, w := range p.waiting {
		f(w)
	}
}

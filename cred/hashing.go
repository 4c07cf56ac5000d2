package cred

import (
	"container/list"
	"context"
	"sync"
)

// Hashing bounds the work of checking passwords at one Portal. The zero value means the defaults.
//
// A hash of the default parameters holds 64 MiB and a core for a tenth to half a second, and once
// begun it can't be stopped; 32 at once would take 2 GiB and starve everything else.
type Hashing struct {
	// AtOnce is how many hashes are computed at the same time. Zero means 2.
	AtOnce int

	// Queue is how many logins may wait for their turn; those beyond get ErrBusy. Zero means 16, a
	// negative number none.
	Queue int
}

func (h Hashing) atOnce() int {
	if h.AtOnce <= 0 {
		return 2
	}
	return h.AtOnce
}

func (h Hashing) queue() int {
	switch {
	case h.Queue == 0:
		return 16
	case h.Queue < 0:
		return 0
	}
	return h.Queue
}

// Compare checks a password against what Hash made, for a Checker that keeps the hashes of its
// users somewhere of its own. ctx has to be the one that Check was given: the hash is then
// computed behind the queue of the Portal. With another ctx it is computed at once.
//
// For a user that is not known, call it with an empty phc: that costs as much as a hash of
// DefaultParams and never holds. The error is nil if the password holds, and otherwise
// ErrUnauthorized, ErrMalformedHash, ErrBusy, or that of ctx if it ended while waiting.
func Compare(ctx context.Context, phc string, password Password) error {
	if phc == "" {
		return compare(ctx, dummy(DefaultParams()), password)
	}
	r, err := parsePHC(phc)
	if err != nil {
		return err
	}
	return compare(ctx, r, password)
}

func compare(ctx context.Context, r *record, password Password) error {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	if a == nil {
		a = &attempt{queue: &hashQueue{}}
	}
	if err := a.queue.enter(ctx, a.hashing, a.place); err != nil {
		return err
	}
	defer a.queue.leave(a.hashing)
	if a.onHash != nil {
		a.onHash(r.params)
	}
	if !r.verify(password) {
		return ErrUnauthorized
	}
	return nil
}

// An attempt is what the context of one login carries down to compare.
type attempt struct {
	queue   *hashQueue
	hashing Hashing
	place   string
	onHash  func(HashParams) // counts the work, in tests
}

type attemptKey struct{}

// A hashQueue lets a few in and makes the others wait in the order they came. Its zero value is
// empty. Each waiter has a channel of its own, so there is nothing to close.
//
// When the queue is full, a newcomer takes the place of the last waiter of the address that has most
// of them, if that still leaves that address at least as many as the newcomer's: one address can
// fill the queue, but not keep others out of it.
type hashQueue struct {
	mu      sync.Mutex
	running int
	waiting list.List // of *hashWaiter, longest waiting first
}

type hashWaiter struct {
	place   string
	settled bool       // out of the list, the outcome is in the channel; under the queue's mu
	outcome chan error // holds one: nil for a turn, ErrBusy for being pushed out
}

// enter waits for a turn. If it returns nil, leave must follow.
func (q *hashQueue) enter(ctx context.Context, h Hashing, place string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	if q.running < h.atOnce() && q.waiting.Len() == 0 {
		q.running++
		q.mu.Unlock()
		return nil
	}
	if q.waiting.Len() >= h.queue() && !q.pushOut(place) {
		q.mu.Unlock()
		return ErrBusy
	}
	w := &hashWaiter{place: place, outcome: make(chan error, 1)}
	e := q.waiting.PushBack(w)
	q.mu.Unlock()

	select {
	case err := <-w.outcome:
		return err
	case <-ctx.Done():
	}
	q.mu.Lock()
	settled := w.settled
	if !settled {
		q.waiting.Remove(e)
	}
	q.mu.Unlock()
	if settled && <-w.outcome == nil {
		// The turn came at the same moment; it goes to the next.
		q.leave(h)
	}
	return ctx.Err()
}

// leave ends a turn and gives it to whoever waits longest.
func (q *hashQueue) leave(h Hashing) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	for q.running < h.atOnce() {
		e := q.waiting.Front()
		if e == nil {
			return
		}
		q.running++
		q.settle(e, nil)
	}
}

// pushOut makes room for a newcomer from place and reports whether it could. q.mu is held.
func (q *hashQueue) pushOut(place string) bool {
	counts := make(map[string]int)
	for e := q.waiting.Front(); e != nil; e = e.Next() {
		counts[waiterOf(e).place]++
	}
	own := counts[place] + 1
	var victim *list.Element
	most := own
	for e := q.waiting.Back(); e != nil; e = e.Prev() {
		if n := counts[waiterOf(e).place]; n > most {
			most, victim = n, e
		}
	}
	if victim == nil {
		return false
	}
	q.settle(victim, ErrBusy)
	return true
}

// settle takes a waiter out of the list with its outcome. q.mu is held.
func (q *hashQueue) settle(e *list.Element, outcome error) {
	w := waiterOf(e)
	q.waiting.Remove(e)
	w.settled = true
	w.outcome <- outcome
}

func waiterOf(e *list.Element) *hashWaiter {
	w, _ := e.Value.(*hashWaiter)
	return w
}

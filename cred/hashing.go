package cred

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Hashing bounds the work of checking passwords at one Portal. The zero value means the defaults.
//
// A hash of the default parameters holds 64 MiB and a core for a tenth to half a second, and once
// begun it can't be stopped; 32 at once would take 2 GiB and starve everything else.
type Hashing struct {
	// AtOnce is how many hashes are computed at the same time. Zero means 2.
	AtOnce int

	// Queue is how many logins may wait for their turn; those beyond get ErrBusy. Zero means 16, a
	// negative number none. The address that asked least often within the last Limits.Forget has
	// the next turn, and the one that asked most often goes without when the queue is full; logins
	// that succeed do not count, those that got ErrBusy do.
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
		return compare(ctx, password, dummy(DefaultParams()))
	}
	r, err := parsePHC(phc)
	if err != nil {
		return err
	}
	return compare(ctx, password, r)
}

// compare computes one hash of each record in one turn, and says yes if one of them holds.
func compare(ctx context.Context, password Password, records ...*record) error {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	if a == nil {
		a = &attempt{queue: &hashQueue{}, limits: Limits{}.filled()}
	}
	if err := a.queue.enter(ctx, a); err != nil {
		return err
	}
	defer a.queue.leave(a.hashing)
	holds := false
	for _, r := range records {
		if a.onHash != nil {
			a.onHash(r.params)
		}
		holds = r.verify(password) || holds
	}
	if !holds {
		return ErrUnauthorized
	}
	return nil
}

// An attempt is what the context of one login carries down to compare.
type attempt struct {
	queue   *hashQueue
	hashing Hashing
	limits  Limits // filled
	place   string
	onHash  func(HashParams) // counts the work, in tests
	entered atomic.Int64     // how often it asked for a turn
}

type attemptKey struct{}

// A hashQueue lets a few in and makes the others wait. Its zero value is empty. Each waiter has a
// channel of its own, so there is nothing to close.
//
// It remembers how often each address asked lately, and serves the addresses that asked least
// first. An attacker that fills the queue, from one address or from a thousand, has asked before;
// an address that has not comes next. See hashWaiter.before.
type hashQueue struct {
	mu      sync.Mutex
	running int
	waiting []*hashWaiter // in the order they came
	seed    maphash.Seed
	asked   map[uint64]guesses // by place: wrong is how often, last is when
}

type hashWaiter struct {
	busy    int        // how often its address had asked lately when it came
	settled bool       // out of the queue, the outcome is in the channel; under the queue's mu
	outcome chan error // holds one: nil for a turn, ErrBusy for being pushed out
}

// before reports whether w gets its turn before o. Of two waiters whose addresses had never asked
// the younger is first: an address that was pushed out of a crowd has asked, so the crowd stands
// behind the next newcomer.
func (w *hashWaiter) before(o *hashWaiter, younger bool) bool {
	if w.busy != o.busy {
		return w.busy < o.busy
	}
	return younger == (w.busy == 0)
}

// enter waits for a turn. If it returns nil, leave must follow.
func (q *hashQueue) enter(ctx context.Context, a *attempt) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := a.limits.Now()
	q.mu.Lock()
	w := &hashWaiter{busy: q.count(a, now), outcome: make(chan error, 1)}
	if q.running < a.hashing.atOnce() && len(q.waiting) == 0 {
		q.running++
		q.mu.Unlock()
		return nil
	}
	q.waiting = append(q.waiting, w)
	if len(q.waiting) > a.hashing.queue() {
		q.settle(q.last(), ErrBusy)
	}
	q.mu.Unlock()

	select {
	case err := <-w.outcome:
		return err
	case <-ctx.Done():
	}
	q.mu.Lock()
	settled := w.settled
	if !settled {
		q.waiting = slices.DeleteFunc(q.waiting, func(o *hashWaiter) bool { return o == w })
	}
	q.mu.Unlock()
	if settled && <-w.outcome == nil {
		// The turn came at the same moment; it goes to the next.
		q.leave(a.hashing)
	}
	return ctx.Err()
}

// leave ends a turn and gives it to the next.
func (q *hashQueue) leave(h Hashing) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	for q.running < h.atOnce() && len(q.waiting) > 0 {
		q.running++
		q.settle(q.first(), nil)
	}
}

// first returns the waiter that gets the next turn. The caller holds q.mu, and a waiter is there.
func (q *hashQueue) first() *hashWaiter {
	first := q.waiting[0]
	for _, w := range q.waiting[1:] {
		if w.before(first, true) {
			first = w
		}
	}
	return first
}

// last returns the waiter that is pushed out next. The caller holds q.mu, and a waiter is there.
func (q *hashQueue) last() *hashWaiter {
	last := q.waiting[0]
	for _, w := range q.waiting[1:] {
		if !w.before(last, true) {
			last = w
		}
	}
	return last
}

// settle takes a waiter out of the queue with its outcome. q.mu is held.
func (q *hashQueue) settle(w *hashWaiter, outcome error) {
	q.waiting = slices.DeleteFunc(q.waiting, func(o *hashWaiter) bool { return o == w })
	w.settled = true
	w.outcome <- outcome
}

// count counts that the attempt's address asks, and returns how often it had before. q.mu is held.
func (q *hashQueue) count(a *attempt, now time.Time) int {
	if q.asked == nil {
		q.seed, q.asked = maphash.MakeSeed(), make(map[uint64]guesses)
	}
	key := maphash.Comparable(q.seed, a.place)
	g := q.asked[key]
	if now.Sub(g.last) > a.limits.Forget {
		g = guesses{}
	}
	before := g.wrong
	g.wrong++
	g.last = now
	put(q.asked, key, g, a.limits, now)
	a.entered.Add(1)
	return before
}

// right uncounts what an attempt asked for that turned out right.
func (q *hashQueue) right(a *attempt) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.asked == nil {
		return // it asked for nothing
	}
	key := maphash.Comparable(q.seed, a.place)
	g, found := q.asked[key]
	if !found {
		return
	}
	if g.wrong -= int(a.entered.Load()); g.wrong <= 0 {
		delete(q.asked, key)
		return
	}
	q.asked[key] = g
}

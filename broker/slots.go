package broker

import (
	"sync"
	"sync/atomic"
)

// slots counts the handlers that run for the peer, until their methods return.
// What finds no room waits in parked; nested calls have a reserve and never
// wait, for their callers run here too.
//
// running and waiting are atomic so that calls which find room need no lock.
// Whoever parks something looks at running once more afterwards, and whoever
// leaves looks at waiting afterwards: one of them sees the other.
type slots struct {
	b       *Broker
	running atomic.Int64
	waiting atomic.Int64 // how many are parked
	mu      sync.Mutex
	parked  []func()
}

// handlerReserve is how many nested calls run over Limits.Handlers.
const handlerReserve = 256

// admit takes a slot for in. Without one it is false, and again is called on
// a new goroutine when there is room. A nested call over the reserve is let
// through to be refused.
func (s *slots) admit(in *Incoming, again func()) bool {
	if in.depth > 0 {
		if s.running.Add(1) > int64(s.b.limits.Handlers+handlerReserve) {
			in.overloaded = true
		}
		return true
	}
	if s.tryAdmit() {
		return true
	}
	s.park(again)
	return false
}

// park has again called on a new goroutine when there is room.
func (s *slots) park(again func()) {
	s.mu.Lock()
	s.parked = append(s.parked, again)
	s.waiting.Add(1)
	s.mu.Unlock()
	s.unpark()
}

// force takes a slot, from the reserve if there is no other, for a call that
// nested ones wait behind.
func (s *slots) force() bool {
	if s.running.Add(1) > int64(s.b.limits.Handlers+handlerReserve) {
		s.running.Add(-1)
		return false
	}
	return true
}

// tryAdmit takes a slot if there is one at once.
func (s *slots) tryAdmit() bool {
	if s.b.out.paused.Load() {
		return false
	}
	for {
		n := s.running.Load()
		if n >= int64(s.b.limits.Handlers) {
			return false
		}
		if s.running.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// free reports whether a method may run beside those that have slots.
func (s *slots) free() bool {
	return !s.b.out.paused.Load() && s.running.Load() < int64(s.b.limits.Handlers)
}

// give adds d, which is negative, to those that run.
func (s *slots) give(d int64) {
	s.running.Add(d)
	if s.waiting.Load() > 0 {
		s.unpark()
	}
}

// A call's place says what its method counts for among those that run: the slots
// that it has (one; two for a moment, if two want to steal it from the reader), how
// many goroutines wait with its context, and that the context has ended. While one
// waits the slots do not count, until the context ends: from then on nothing else
// would bound how many there are. A method on the reader has no slot until it is
// stolen.
const (
	slotted    = 1
	aside      = 1 << 3
	placeEnded = 1 << 30
)

// weight is what a place counts for.
func weight(place int32) int64 {
	if place >= aside && place < placeEnded {
		return 0
	}
	return int64(place & (aside - slotted))
}

// count changes how many run. It does not wait for room: what it would wait for may
// be this method.
func (s *slots) count(d int64) {
	switch {
	case d > 0:
		s.running.Add(d)
	case d < 0:
		s.give(d)
	}
}

// takeSlot gives the call the slot that was taken for it.
func (in *Incoming) takeSlot() {
	now := in.place.Add(slotted)
	in.b.slots.count(weight(now) - weight(now-slotted) - 1)
}

// leaveSlot gives it back.
func (in *Incoming) leaveSlot() {
	now := in.place.Add(-slotted)
	in.b.slots.count(weight(now) - weight(now+slotted))
}

// StepAside says that the method waits, until back is called: for the answer to a
// call of its own, or for what another call brings. Meanwhile it does not count among
// the handlers, for the other may need the room: Limits.Calls bounds how many wait.
func (in *Incoming) StepAside() (back func()) {
	now := in.place.Add(aside)
	in.b.slots.count(weight(now) - weight(now-aside))
	if in.over.Load() != 0 {
		in.endPlace()
	}
	return in.stepBack
}

func (in *Incoming) stepBack() {
	now := in.place.Add(-aside)
	in.b.slots.count(weight(now) - weight(now+aside))
}

// endPlace is called when the context has ended, by whoever sees it if somebody waits.
func (in *Incoming) endPlace() {
	before := in.place.Or(placeEnded)
	in.b.slots.count(weight(before|placeEnded) - weight(before))
}

// unpark starts what is parked, as far as there is room.
func (s *slots) unpark() {
	for _, f := range s.fit() {
		s.b.runner(f)
	}
}

// fit takes out of parked what there is room for.
func (s *slots) fit() []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.b.out.paused.Load() {
		return nil
	}
	room := max(int64(s.b.limits.Handlers)-s.running.Load(), 0)
	k := min(int64(len(s.parked)), room)
	fs := s.parked[:k:k]
	s.parked = s.parked[k:]
	s.waiting.Add(-k)
	return fs
}

// crowd is true while several calls are under way, and after that until they came
// alone for a while: those that are answered together are followed by others, the
// first of which would find nobody else. It is set under a lock and looked at
// without it, and is written only when it changes: each write takes the others'
// copy of the memory away.
type crowd struct {
	alone int  // calls, since there were several
	was   bool // under the lock, as alone
	now   atomic.Bool
}

// aloneAgain is how many calls must have come alone.
const aloneAgain = 4

// count says how many calls are under way. Needs the lock.
func (c *crowd) count(calls int) {
	switch {
	case calls > 1:
		c.alone = 0
		c.set(true)
	case calls == 0 && c.was:
		if c.alone++; c.alone >= aloneAgain {
			c.set(false)
		}
	}
}

// set needs the lock.
func (c *crowd) set(v bool) {
	if v != c.was {
		c.was = v
		c.now.Store(v)
	}
}

// Load may be called without the lock.
func (c *crowd) Load() bool { return c.now.Load() }

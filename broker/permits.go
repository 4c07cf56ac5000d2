package broker

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// permits counts the handlers that run for the peer, until their methods return.
// What finds no room waits in parked; nested calls have a reserve and never
// wait, for their callers run here too. A method that has waited comes back in
// front of what is parked.
//
// The atomic fields let calls which find room need no lock.
// A call that finds no room and one that leaves meet without a lock:
//
//  1. The goroutine that parks a call counts it in waiting, then looks at running once more.
//  2. The goroutine that leaves takes itself off running, then looks at waiting.
//
// In any order of these steps at least one of the two sees the other.
type permits struct {
	b         *Broker
	running   atomic.Int64
	waiting   atomic.Int64 // how many are parked or come back
	returning atomic.Int64 // how many come back
	// held is how many results wait for the account: no call begins whose result would wait, too.
	results atomic.Int64
	mu      sync.Mutex
	parked  []func()
	back    []*comeback // of ordinary calls
	nested  []*comeback // of nested ones, which have the reserve
	stuck   *time.Timer // runs while some come back; nil: never needed yet
	stopped bool        // the connection has ended: no call waits
}

// A comeback is a method that has waited and wants a permit to go on with.
type comeback struct {
	in     *Incoming
	permit bool          // it got one; written before goOn is closed
	goOn   chan struct{} // closed under mu
}

// handlerReserve is how many nested calls run over Limits.Handlers.
const handlerReserve = 256

// admit takes a permit for in. Without one it is false, and again is called on
// a new goroutine when there is room. A nested call over the reserve is let
// through to be refused.
func (s *permits) admit(in *Incoming, again func()) bool {
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
func (s *permits) park(again func()) {
	s.mu.Lock()
	s.parked = append(s.parked, again)
	s.waiting.Add(1)
	s.mu.Unlock()
	s.unpark()
}

// force takes a permit, from the reserve if there is no other, for a call that
// nested ones wait behind.
func (s *permits) force() bool {
	if s.running.Add(1) > int64(s.b.limits.Handlers+handlerReserve) {
		s.running.Add(-1)
		return false
	}
	return true
}

// tryAdmit takes a permit if there is one at once that nobody comes back to.
func (s *permits) tryAdmit() bool {
	if s.closed() {
		return false
	}
	return s.take(s.limit())
}

// limit is how many ordinary methods may run. What they make is not counted, so while much of the
// Memory is held fewer begin and go on. A call that waits for that is looked at again when one of
// those that run leaves.
func (s *permits) limit() int {
	n := s.b.limits.Handlers
	if s.b.account.Tight() {
		return max(n/tightShare, 1)
	}
	return n
}

// tightShare is which part of Limits.Handlers there is then.
const tightShare = 8

// take takes a permit if fewer than limit are taken.
func (s *permits) take(limit int) bool {
	for {
		n := s.running.Load()
		if n >= int64(limit) {
			return false
		}
		if s.running.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// free reports whether a method may run beside those that have permits.
func (s *permits) free() bool {
	return !s.closed() && s.running.Load() < int64(s.limit())
}

// closed reports whether no ordinary call may begin, whatever room there is.
func (s *permits) closed() bool {
	return s.b.wire.Paused() || s.returning.Load() > 0 || s.results.Load() > 0
}

// hold keeps ordinary calls from beginning until release.
func (s *permits) hold() { s.results.Add(1) }

func (s *permits) release() {
	if s.results.Add(-1) == 0 && s.waiting.Load() > 0 {
		s.unpark()
	}
}

// give adds d, which is negative, to those that run.
func (s *permits) give(d int64) {
	s.running.Add(d)
	if s.waiting.Load() > 0 {
		s.unpark()
	}
}

// Incoming.held packs the number of handler permits that the call holds (the low 3 bits: one, or
// two for a moment, while two goroutines want to steal it from the reader), the number of
// goroutines that wait with its context, and whether the call has ended. While one of them waits
// the permits do not count, until the call is answered: from then on nothing else would bound how
// many there are. A method that the reader runs holds none until it is stolen.
const (
	onePermit = 1
	aside     = 1 << 3
	heldEnded = 1 << 30
)

// weight is what the permits that a call holds count for.
func weight(held int32) int64 {
	if held >= aside && held < heldEnded {
		return 0
	}
	return int64(held & (aside - onePermit))
}

// count changes how many run. It does not wait for room.
func (s *permits) count(d int64) {
	switch {
	case d > 0:
		s.running.Add(d)
	case d < 0:
		s.give(d)
	}
}

// takePermit gives the call the permit that was taken for it.
func (in *Incoming) takePermit() {
	now := in.held.Add(onePermit)
	in.b.permits.count(weight(now) - weight(now-onePermit) - 1)
}

// leavePermit gives it back.
func (in *Incoming) leavePermit() {
	now := in.held.Add(-onePermit)
	in.b.permits.count(weight(now) - weight(now+onePermit))
}

// StepAside says that the method waits, until back is called: for the answer to a
// call of its own, or for what another call brings. Meanwhile it does not count among
// the handlers, for the other may need the room: Limits.Calls bounds how many wait.
// back waits for room among the handlers, in front of calls that have not begun, also
// if the call was given up. It does not wait if the call is answered, and so counts
// already, or the connection has ended.
func (in *Incoming) StepAside() (back func()) {
	if in.answered.Load() {
		// First: its permit is not given away for a moment, in which another call begins.
		in.endHeld()
	}
	now := in.held.Add(aside)
	in.b.permits.count(weight(now) - weight(now-aside))
	if in.answered.Load() {
		in.endHeld()
	}
	return in.stepBack
}

func (in *Incoming) stepBack() {
	took := in.b.permits.comeBack(in)
	now := in.held.Add(-aside)
	d := weight(now) - weight(now+aside)
	// if others of its goroutines wait, the method does not count, and the permit is given back
	if took {
		d--
	}
	in.b.permits.count(d)
}

// endHeld is called when the call is answered and one of its goroutines waits, by the goroutine
// that sees both.
func (in *Incoming) endHeld() {
	before := in.held.Or(heldEnded)
	in.b.permits.count(weight(before|heldEnded) - weight(before))
	in.b.permits.counted(in)
}

// counts reports whether the method has a permit, and it counts only while it does not wait.
func (in *Incoming) counts() bool {
	p := in.held.Load()
	return p < heldEnded && p&(aside-onePermit) != 0
}

// handlers is how many may run where a method of the call's is one of them.
func (s *permits) handlers(in *Incoming) int {
	if in.depth > 0 {
		return s.b.limits.Handlers + handlerReserve
	}
	return s.limit()
}

// comeBack takes a permit for a method that has waited, and waits until there is one.
// It is false if the method goes on without.
func (s *permits) comeBack(in *Incoming) bool {
	if !in.counts() {
		return false
	}
	if s.returning.Load() == 0 && s.take(s.handlers(in)) { // else others are before it
		return true
	}
	c := &comeback{in: in, goOn: make(chan struct{})}
	s.mu.Lock()
	if s.stopped || !in.counts() { // the goroutine that answers it looks for it afterwards
		s.mu.Unlock()
		return false
	}
	line := &s.back
	if in.depth > 0 {
		line = &s.nested
	}
	*line = append(*line, c)
	s.waiting.Add(1)
	if s.returning.Add(1) == 1 {
		s.rearm()
	}
	s.letOn()
	s.mu.Unlock()
	<-c.goOn
	return c.permit
}

// letOn gives the permits that are free to those that come back. Needs mu.
func (s *permits) letOn() {
	for len(s.back) > 0 && s.take(s.handlers(s.back[0].in)) {
		s.goOn(&s.back, 0, true)
	}
	for len(s.nested) > 0 && s.take(s.handlers(s.nested[0].in)) {
		s.goOn(&s.nested, 0, true)
	}
}

// goOn ends a comeback of the line's. Needs mu.
func (s *permits) goOn(line *[]*comeback, i int, permit bool) {
	c := (*line)[i]
	*line = slices.Delete(*line, i, i+1)
	s.waiting.Add(-1)
	s.returning.Add(-1)
	c.permit = permit
	close(c.goOn)
	s.rearm()
}

// rearm begins the time anew after which those that come back are stuck. Needs mu.
func (s *permits) rearm() {
	switch {
	case s.returning.Load() == 0:
		if s.stuck != nil {
			s.stuck.Stop()
		}
	case s.stuck == nil:
		s.stuck = time.AfterFunc(s.b.limits.HeldTurn, s.unstick) // stopped when nobody comes back
	default:
		s.stuck.Reset(s.b.limits.HeldTurn)
	}
}

// unstick lets one of those that come back go on without room: those that have the room
// may wait for it, in a way that is not seen here.
func (s *permits) unstick() {
	s.mu.Lock()
	n := len(s.back) + len(s.nested)
	switch {
	case len(s.back) > 0:
		s.running.Add(1)
		s.goOn(&s.back, 0, true)
	case len(s.nested) > 0:
		s.running.Add(1)
		s.goOn(&s.nested, 0, true)
	}
	s.mu.Unlock()
	if n > 0 {
		s.b.log.Warn("methods keep all the room among the handlers while others have waited and "+
			"want to go on: one does, over Limits.Handlers",
			"waiting", n, "for", s.b.limits.HeldTurn, "stack", handlerStacks{})
	}
}

// counted has the goroutines of a method go on that counts now though they wait.
func (s *permits) counted(in *Incoming) {
	if s.returning.Load() == 0 {
		return
	}
	s.mu.Lock()
	for _, line := range []*[]*comeback{&s.back, &s.nested} {
		for i, c := range slices.Backward(*line) {
			if c.in == in {
				s.goOn(line, i, false)
			}
		}
	}
	s.mu.Unlock()
	s.unpark()
}

// stop has all go on: the connection has ended.
func (s *permits) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, line := range []*[]*comeback{&s.back, &s.nested} {
		for len(*line) > 0 {
			s.goOn(line, 0, false)
		}
	}
}

// unpark starts what is parked, as far as there is room.
func (s *permits) unpark() {
	for _, f := range s.fit() {
		s.b.runner(f)
	}
}

// fit takes out of parked what there is room for beside those that come back.
func (s *permits) fit() []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.letOn()
	if s.closed() {
		return nil
	}
	room := max(int64(s.limit())-s.running.Load(), 0)
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

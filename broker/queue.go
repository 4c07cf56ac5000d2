package broker

import (
	"sync"
	"sync/atomic"
)

// queue puts the calls to one object over one connection in order: each starts
// when the turn of the one before has ended. A turn ends when the method
// returns, yields or waits; it never comes back.
//
// At most one goroutine runs a queue, and only while there is something in it:
// busy says that a call has the turn or is about to take it.
//
// A call that the reader runs itself takes its turn without the lock if no other call has it: the
// reader sets fast to that call, and back to nil at its end. A goroutine that needs the queue
// meanwhile makes it an ordinary turn, by slow.
type queue struct {
	b          *Broker
	fast       atomic.Pointer[Incoming] // nil: a call may take the turn here; slowly: it may not
	mu         sync.Mutex
	head, tail *Incoming
	length     int
	nested     int // of these, the ones made while handling a call
	busy       bool
	parked     bool   // the first one waits for room among the handlers
	started    uint64 // calls ever started; the tick sees by it a turn that is held
	seen       uint64 // started, at the look before
	looks      int    // how often it was the same
	holder     *Incoming
	again      func() // run, made once
	orphan     bool   // the object is not exported any more: see exports.orphan
	key        any    // of the object, for an orphan
}

func newQueue(b *Broker) *queue {
	q := &queue{b: b}
	q.again = q.run
	return q
}

// slowly stands in queue.fast while turns are given under the lock.
var slowly = new(Incoming)

// slow has the turns given under the lock from now on. Needs mu.
func (q *queue) slow() {
	if in := q.fast.Swap(slowly); in != nil && in != slowly {
		q.busy, q.holder = true, in
		q.started++
		in.turn.Store(turnHeld)
	}
}

// rest says that no call has the turn and nothing waits. Needs mu.
func (q *queue) rest() {
	q.busy = false
	if !q.orphan { // which must be seen when its last turn ends
		q.fast.Store(nil)
	}
}

// push puts a call at the end and sees to it that it runs.
func (q *queue) push(in *Incoming) {
	q.mu.Lock()
	q.slow()
	in.stored.next = nil
	if q.tail == nil {
		q.head = in
	} else {
		q.tail.stored.next = in
	}
	q.tail = in
	q.length++
	start := !q.busy
	if in.depth > 0 {
		q.nested++
		start = start || q.parked
		q.parked = false
	}
	q.busy = true
	q.mu.Unlock()
	if start {
		q.b.runner(q.again)
		return
	}
	q.b.watch()
}

// run starts the calls one after another until the queue is empty, a method
// has given its turn away, or the connection's budget is used up. It runs on a
// goroutine of its own and has busy.
func (q *queue) run() {
	for {
		q.mu.Lock()
		in := q.head
		q.holder = nil
		if in == nil {
			q.rest()
			orphan := q.orphan
			q.mu.Unlock()
			if orphan {
				q.b.exports.bury(q)
			}
			return
		}
		q.mu.Unlock()
		if !in.arrivedOr(q.again) {
			return // its arguments are still to come
		}
		if !q.admit(in) {
			return // run is called again when there is room
		}
		q.mu.Lock()
		q.head = in.stored.next
		if q.head == nil {
			q.tail = nil
		}
		in.stored.next = nil
		q.length--
		if in.depth > 0 {
			q.nested--
		}
		q.started++
		q.holder = in
		q.mu.Unlock()
		if !in.takeTurn() {
			return
		}
	}
}

// admit takes a permit for the first call. One that was made while handling a
// call must not wait for room behind others, for those that have the room may wait for it:
// those before it take from the same reserve, and when that is used up it is
// refused, as it would be by itself.
func (q *queue) admit(in *Incoming) bool {
	s := &q.b.permits
	if in.depth > 0 {
		return s.admit(in, nil)
	}
	if s.tryAdmit() {
		return true
	}
	q.mu.Lock()
	var refused []*Incoming
	if q.nested > 0 {
		if s.force() {
			q.mu.Unlock()
			return true
		}
		refused = q.takeNested()
	}
	q.parked = true
	q.mu.Unlock()
	s.park(q.unparked)
	for _, in := range refused {
		in.Refuse(ErrOverloaded)
	}
	return false
}

// takeNested takes the nested calls out, but for those that are still arriving.
// Needs mu; the first call is none.
func (q *queue) takeNested() (out []*Incoming) {
	in := q.head.stored.next
	q.head.stored.next, q.tail = nil, q.head
	for in != nil {
		next := in.stored.next
		in.stored.next = nil
		if in.depth > 0 && in.hasArrived() {
			out = append(out, in)
		} else {
			q.tail.stored.next = in
			q.tail = in
		}
		in = next
	}
	q.length -= len(out)
	q.nested -= len(out)
	return out
}

// unparked goes on where admit found no room, unless another goroutine has already.
func (q *queue) unparked() {
	q.mu.Lock()
	late := !q.parked
	q.parked = false
	q.mu.Unlock()
	if late {
		q.b.permits.unpark() // the room is another's
		return
	}
	q.run()
}

// takeTurn runs a call whose turn it is; false if it gave the turn away.
func (in *Incoming) takeTurn() bool {
	in.turn.Store(turnHeld)
	returned := false
	defer func() {
		if !returned { // the method has ended the goroutine: another goes on
			in.passTurn()
		}
	}()
	in.invoke()
	returned = true
	return in.turn.CompareAndSwap(turnHeld, turnEnded)
}

// takeTurn gives the turn to a call that need not wait for it; false if it must.
func (q *queue) takeTurn(in *Incoming) bool { return q.fast.CompareAndSwap(nil, in) }

// pass gives the turn to the next call: its holder keeps running without one.
func (q *queue) pass() {
	q.mu.Lock()
	q.holder = nil
	start := q.head != nil
	q.busy = start
	if !start {
		q.rest()
	}
	orphan := q.orphan && !start
	q.mu.Unlock()
	if start {
		q.b.runner(q.again)
	}
	if orphan {
		q.b.exports.bury(q)
	}
}

// more reports whether calls wait behind the one that has the turn.
func (q *queue) more() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.head != nil
}

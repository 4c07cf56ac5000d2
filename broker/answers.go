package broker

import (
	"sync"

	"perspective/broker/budget"
	"perspective/broker/promise"
	"perspective/jelly"
)

// answers holds the peer's calls from their arrival until they are answered
// and, unless they were final, until FINISH: meanwhile later calls may go to
// what the answer is, or take it as an argument.
//
// mu is never held while a queue, a table or an object is asked for anything.
type answers struct {
	b          *Broker
	mu         sync.Mutex
	low        []*Incoming            // those with small numbers, which most peers use
	byQ        map[uint32]*Incoming   // the others
	oneway     map[*Incoming]struct{} // with the functions that wait for a turn
	calls      int                    // unanswered
	many       crowd                  // calls are over 1, or often were
	received   uint64                 // calls, ever
	settled    uint64                 // of these, the ones whose RETURN goes to Wire.Answer
	bytes      int
	plain      int // of these, the ones not made while handling a call
	plainBytes int
	memory     budget.Tally // of bytes, keptBytes and calls
	kept       int
	keptBytes  int
	lost       bool // an answer was not kept for want of room
	err        error
}

func (a *answers) init(b *Broker) {
	a.b = b
	a.byQ = make(map[uint32]*Incoming)
	a.oneway = make(map[*Incoming]struct{})
}

// lowest is how many questions are found by their number.
const lowest = 4096

// at finds a call. Needs mu.
func (a *answers) at(q uint32) *Incoming {
	if int64(q) < int64(len(a.low)) {
		return a.low[q]
	}
	return a.byQ[q]
}

// put remembers a call, or forgets it if in is nil. Needs mu.
func (a *answers) put(q uint32, in *Incoming) {
	switch {
	case int64(q) < int64(len(a.low)):
		a.low[q] = in
	case in == nil:
		delete(a.byQ, q)
	case q < lowest:
		a.low = append(a.low, make([]*Incoming, int(q)+1-len(a.low))...)
		a.low[q] = in
	default:
		a.byQ[q] = in
	}
}

// add takes a call in; ok is false if that is over the peer's budget, and
// twice is true if its number is in use.
func (a *answers) add(in *Incoming) (ok, twice bool) {
	a.mu.Lock()
	a.received++
	l := &a.b.limits
	switch {
	case in.q != 0 && a.at(in.q) != nil:
		twice = true
		fallthrough
	case a.err != nil, a.full(in, l), !a.fits(in, int(in.size), a.plain, a.calls):
		a.mu.Unlock()
		return false, twice
	}
	if !a.memory.Take(&a.b.account.Account, a.cost(1, int(in.size))) {
		a.mu.Unlock()
		return false, twice
	}
	a.count(in, 1, int(in.size))
	if in.q != 0 {
		a.put(in.q, in)
	} else {
		a.oneway[in] = struct{}{}
	}
	a.mu.Unlock()
	return true, false
}

// full reports whether the peer has as many calls unanswered as it may. Needs mu.
func (a *answers) full(in *Incoming, l *Limits) bool {
	if s := a.b.strange.Load(); s != nil {
		return a.calls >= s.Calls
	}
	return a.calls >= l.Calls+l.reserve() || in.depth == 0 && a.plain >= l.Calls
}

// cost is what the calls and the kept answers count for in the account, with so many more.
// Needs mu.
func (a *answers) cost(calls, bytes int) int64 {
	return int64(a.bytes+a.keptBytes+bytes)*budget.Times + int64(a.calls+a.kept+calls)*callCost
}

// fits reports whether a call may take more bytes beside plain and calls
// others: those made while handling a call have as much again, and a call of
// any size goes alone. Needs mu.
func (a *answers) fits(in *Incoming, more, plain, calls int) bool {
	limit := a.b.limits.CallBytes
	if s := a.b.strange.Load(); s != nil {
		return a.bytes+more <= s.CallBytes
	}
	if in.depth == 0 && plain > 0 && a.plainBytes+more > limit {
		return false
	}
	return calls == 0 || a.bytes+more <= 2*limit
}

// count adds to the sums, unless the connection is over. Needs mu.
func (a *answers) count(in *Incoming, calls, bytes int) {
	if a.err != nil {
		return
	}
	a.calls += calls
	a.many.count(a.calls)
	a.bytes += bytes
	if in.depth == 0 {
		a.plain += calls
		a.plainBytes += bytes
	}
	if calls < 0 {
		a.memory.Shrink(&a.b.account.Account, a.cost(0, 0))
	}
}

func (a *answers) find(q uint32) *Incoming {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.at(q)
}

// remove forgets a function that had its turn.
func (a *answers) remove(in *Incoming) {
	a.mu.Lock()
	delete(a.oneway, in)
	a.count(in, -1, 0)
	a.mu.Unlock()
}

// record records an answer that is about to be sent. The calls that wait on it
// enter their object's queue before the RETURN can leave, and before any that
// arrives on the answer later.
func (a *answers) record(in *Incoming, e *jelly.Encoder, result, failure []byte) {
	a.mu.Lock()
	a.count(in, -1, -int(in.size))
	if in.q == 0 {
		delete(a.oneway, in)
		a.mu.Unlock()
		return
	}
	a.settled++
	if in.interest == nil && !a.wanted(in) {
		in.settled = true
		a.put(in.q, nil)
		a.mu.Unlock()
		return
	}
	in.want().promise.Settle(&a.mu, copyResult(e, result), append([]byte(nil), failure...))
	in.settled = true
	a.keep(in)
	a.mu.Unlock()
}

// copyResult copies what e has from the beginning of result, its buffer's end,
// on.
func copyResult(e *jelly.Encoder, result []byte) []byte {
	if e == nil || e.Size() == e.Len() {
		return append([]byte(nil), result...)
	}
	all := make([]byte, 0, e.Size())
	for _, s := range e.Segments(nil) {
		all = append(all, s...)
	}
	return all[e.Len()-len(result):]
}

// wanted reports whether the peer may still ask for the answer. Needs mu.
func (a *answers) wanted(in *Incoming) bool {
	return uint64(in.flags)&FlagFinal == 0 && !in.finished && !in.forgotten && a.err == nil
}

// keep counts a settled answer that may be asked for, or has it forgotten at
// once. Needs mu.
func (a *answers) keep(in *Incoming) {
	l := &a.b.limits
	cost := in.promise.Size()
	wanted := a.wanted(in)
	switch {
	case !wanted && (in.holders == 0 || a.err != nil):
	case a.kept >= l.Answers:
		a.lost, in.forgotten, wanted = true, true, false
		in.promise.Replace(a.b.overloadError())
	case a.keptBytes+cost > l.AnswerBytes, !a.memory.Take(&a.b.account.Account, a.cost(1, cost)):
		in.promise.Replace(a.b.overloadError())
		cost = in.promise.Size()
		fallthrough
	default:
		in.cost = cost + 1
		a.kept++
		a.keptBytes += cost
	}
	if !wanted {
		a.put(in.q, nil)
	}
}

// drop uncounts a kept answer that nobody can ask for any more. Needs mu.
func (a *answers) drop(in *Incoming) {
	if in.interest == nil || in.cost == 0 || a.wanted(in) || in.holders > 0 || a.err != nil {
		return
	}
	a.kept--
	a.keptBytes -= in.cost - 1
	in.cost = 0
	a.memory.Shrink(&a.b.account.Account, a.cost(0, 0))
}

// resize corrects what a call counts for: a long one's size is known when it
// is whole. It is false if that is over the peer's budget.
func (a *answers) resize(in *Incoming, size int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	ok := true
	if !in.settled {
		more := size - int(in.size)
		ok = a.fits(in, more, a.plain-1, a.calls-1) &&
			a.memory.Take(&a.b.account.Account, a.cost(0, more))
		a.count(in, 0, size-int(in.size))
	}
	in.size = uint32(size) //nolint:gosec // Limits.Message is under 4 GiB
	return ok
}

// call sends a call on the answer of q to the object it stands for, or has
// it wait. Only the reader calls it, so q can not be used again meanwhile.
func (a *answers) call(q uint32, w *Incoming) error {
	a.mu.Lock()
	in := a.at(q)
	switch {
	case in == nil && a.lost:
		a.mu.Unlock()
		return ErrOverloaded
	case in == nil || in == w:
		a.mu.Unlock()
		return ErrNoSuchObject
	case in.want().promise.Await((*onAnswer)(w)):
		a.mu.Unlock()
		return nil
	}
	a.mu.Unlock()
	a.b.resolve(&in.promise, w)
	return nil
}

// onAnswer is a call that waits for the answer that it was called on.
type onAnswer Incoming

// Settled starts the call.
func (w *onAnswer) Settled(p *promise.Promise) { w.b.resolve(p, (*Incoming)(w)) }

// resolve starts a call on an answer that is there.
func (b *Broker) resolve(p *promise.Promise, w *Incoming) {
	result, failed := p.Result()
	if failed {
		w.method = refusal{raw: result}
		b.startUnqueued(w)
		return
	}
	ref, err := findRef(b, result, w.odd.path)
	var e *export
	if err == nil {
		switch ref.Kind {
		case jelly.RefExport:
			e = b.exports.find(ref.ID)
		case jelly.RefYours:
			e = b.forwarder(ref.ID)
		default: // nothing else can be called
		}
		if e == nil {
			err = ErrNoSuchObject
		}
	}
	if err == nil {
		err = w.resolveMethod(e, []byte(w.odd.name))
	}
	if err != nil {
		w.queue, w.method = nil, refusal{err: err}
		b.startUnqueued(w)
		return
	}
	b.start(w)
}

// finish drops an answer that nobody will ask for again, or cancels a call
// that nobody waits for.
func (a *answers) finish(q uint32) {
	a.mu.Lock()
	in := a.at(q)
	if in == nil {
		a.mu.Unlock() // a final call: its RETURN and this FINISH crossed
		return
	}
	in.finished = true
	if in.settled {
		a.put(q, nil)
		a.drop(in)
	}
	settled := in.settled
	a.mu.Unlock()
	if !settled {
		in.cancel()
	}
}

// end cancels every call when the connection is over.
func (a *answers) end(err error) {
	a.mu.Lock()
	a.err = err
	all := make([]*Incoming, 0, len(a.byQ)+len(a.oneway))
	for _, in := range a.low {
		if in != nil {
			all = in.andWaiting(all)
		}
	}
	for _, in := range a.byQ {
		all = in.andWaiting(all)
	}
	for in := range a.oneway {
		all = append(all, in)
	}
	a.low = nil
	clear(a.byQ)
	clear(a.oneway)
	a.calls, a.bytes, a.plain, a.plainBytes = 0, 0, 0, 0
	a.many.set(false)
	a.kept, a.keptBytes = 0, 0
	a.memory.Shrink(&a.b.account.Account, 0)
	a.mu.Unlock()
	for _, in := range all {
		in.cancel()
	}
}

// andWaiting appends a call and those that wait on its answer.
func (in *Incoming) andWaiting(all []*Incoming) []*Incoming {
	all = append(all, in)
	if in.interest != nil {
		in.promise.Waiting(func(w promise.Waiter) {
			if w, ok := w.(*onAnswer); ok {
				all = append(all, (*Incoming)(w))
			}
		})
	}
	return all
}

// unanswered is how many calls have no answer yet, and how many have one, ever,
// that Wire.Answer gets.
func (a *answers) unanswered() (calls int, settled uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls, a.settled
}

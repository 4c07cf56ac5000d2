package broker

import (
	"context"
	"sync"

	"perspective/jelly"
)

// answers holds the peer's calls from their arrival until they are answered
// and, unless they were final, until FINISH: meanwhile later calls may go to
// what the answer is, or take it as an argument.
type answers struct {
	b         *Broker
	mu        sync.Mutex
	byQ       map[uint32]*Incoming
	oneway    map[*Incoming]struct{} // with the functions that wait for a turn
	calls     int                    // unanswered
	bytes     int
	kept      int
	keptBytes int
	err       error
}

func (a *answers) init(b *Broker) {
	a.b = b
	a.byQ = make(map[uint32]*Incoming)
	a.oneway = make(map[*Incoming]struct{})
}

// add takes a call in; false if that is over the peer's budget.
func (a *answers) add(in *Incoming) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := &a.b.limits
	limit := l.Calls
	if in.depth > 0 {
		limit += l.reserve()
	}
	if a.err != nil || a.calls >= limit || in.depth == 0 && a.calls > 0 && a.bytes+in.size > l.CallBytes {
		return false
	}
	a.calls++
	a.bytes += in.size
	if in.q != 0 {
		a.byQ[in.q] = in
	} else {
		a.oneway[in] = struct{}{}
	}
	return true
}

func (a *answers) find(q uint32) *Incoming {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.byQ[q]
}

// remove forgets a function that had its turn.
func (a *answers) remove(in *Incoming) {
	a.mu.Lock()
	delete(a.oneway, in)
	a.calls--
	a.mu.Unlock()
}

// settle records an answer that is about to be sent. The calls that wait on it
// enter their object's queue before the RETURN can leave, and before any that
// arrives on the object itself.
func (a *answers) settle(in *Incoming, result, failure []byte) {
	a.mu.Lock()
	a.calls--
	a.bytes -= in.size
	if in.q == 0 {
		delete(a.oneway, in)
		a.mu.Unlock()
		return
	}
	keep := in.flags&FlagFinal == 0 && !in.finished
	waited := len(in.waiting) > 0 || len(in.onAnswer) > 0
	switch {
	case keep && (a.kept >= a.b.limits.Answers || a.keptBytes+len(result) > a.b.limits.AnswerBytes):
		in.failure = a.b.overloadError()
	case keep || waited:
		in.kept = append([]byte(nil), result...)
		in.failure = append([]byte(nil), failure...)
	}
	if keep {
		a.kept++
		a.keptBytes += len(in.kept)
	} else {
		delete(a.byQ, in.q)
	}
	in.settled = true
	for _, w := range in.waiting {
		a.resolve(in, w)
	}
	in.waiting = nil
	tell := in.onAnswer
	in.onAnswer = nil
	raw, failed := in.answer()
	a.mu.Unlock()
	for _, f := range tell {
		f(raw, failed)
	}
}

// answer is the kept result or error. Needs mu, or settled.
func (in *Incoming) answer() (raw []byte, failed bool) {
	if len(in.failure) > 0 {
		return in.failure, true
	}
	return in.kept, false
}

// resize corrects what a call counts for: a long one's size is known when it
// is whole.
func (a *answers) resize(in *Incoming, size int) {
	a.mu.Lock()
	if !in.settled {
		a.bytes += size - in.size
	}
	in.size = size
	a.mu.Unlock()
}

// call sends a call on the answer of q to the object it stands for, or has
// it wait. Only the reader calls it, so q can not be used again meanwhile.
func (a *answers) call(q uint32, w *Incoming) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	in := a.byQ[q]
	if in == nil || in == w {
		return ErrNoSuchObject
	}
	if !in.settled {
		in.waiting = append(in.waiting, w)
		return nil
	}
	a.resolve(in, w)
	return nil
}

// resolve starts a call on a settled answer. Needs mu.
func (a *answers) resolve(in, w *Incoming) {
	if len(in.failure) > 0 {
		w.method = refusal{raw: in.failure}
		a.b.runner(func() { a.b.runUnqueued(w) })
		return
	}
	ref, err := findRef(a.b, in.kept, w.path)
	var e *export
	if err == nil {
		switch ref.Kind {
		case jelly.RefExport:
			e = a.b.exports.find(ref.ID)
		case jelly.RefYours:
			e = a.b.forwarder(ref.ID)
		}
		if e == nil {
			err = ErrNoSuchObject
		}
	}
	if err == nil {
		err = w.resolveMethod(e, []byte(w.name))
	}
	if err != nil {
		w.method = refusal{err: err}
		a.b.runner(func() { a.b.runUnqueued(w) })
		return
	}
	a.b.start(w)
}

// finish drops an answer that nobody will ask for again, or cancels a call
// that nobody waits for.
func (a *answers) finish(q uint32) {
	a.mu.Lock()
	in := a.byQ[q]
	if in == nil {
		a.mu.Unlock() // a final call: its RETURN and this FINISH crossed
		return
	}
	in.finished = true
	if in.settled {
		delete(a.byQ, q)
		a.kept--
		a.keptBytes -= len(in.kept)
	}
	settled := in.settled
	a.mu.Unlock()
	if !settled {
		in.cancel(context.Canceled)
	}
}

// end cancels every call when the connection is over.
func (a *answers) end(err error) {
	a.mu.Lock()
	a.err = err
	all := make([]*Incoming, 0, len(a.byQ)+len(a.oneway))
	for _, in := range a.byQ {
		all = append(all, in)
		all = append(all, in.waiting...)
	}
	for in := range a.oneway {
		all = append(all, in)
	}
	clear(a.byQ)
	a.kept, a.keptBytes = 0, 0
	a.mu.Unlock()
	for _, in := range all {
		in.cancel(context.Canceled)
	}
}

func (a *answers) unanswered() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls
}

// OnAnswer calls f with the answer to the call q, encoded, at once or when it
// is there. f must not block. Only calls named in the arguments of in can be
// asked for.
func (in *Incoming) OnAnswer(q uint32, f func(raw []byte, failed bool)) error {
	for _, h := range in.holds {
		if h.q != q {
			continue
		}
		a := &in.b.answers
		a.mu.Lock()
		if !h.settled {
			h.onAnswer = append(h.onAnswer, f)
			a.mu.Unlock()
			return nil
		}
		raw, failed := h.answer()
		a.mu.Unlock()
		f(raw, failed)
		return nil
	}
	return ErrNoSuchObject
}

// hold finds the answers that a call's arguments name, while it is certain
// that they are still there.
func (b *Broker) hold(in *Incoming, args []byte) error {
	return jelly.EachRef(args, func(r jelly.Ref) error {
		if r.Kind != jelly.RefAnswer && r.Kind != jelly.RefAnswerValue {
			return nil
		}
		h := b.answers.find(uint32(r.ID)) //nolint:gosec // an id over 32 bits is found nowhere
		if h == nil || h == in || r.ID >= 1<<32 {
			return ErrNoSuchObject
		}
		in.holds = append(in.holds, h)
		return nil
	})
}

// refusal answers a call that could not be sent to an object.
type refusal struct {
	err error
	raw []byte // or the error of what it was called on
}

func (refusal) Quick() bool { return true }

func (r refusal) Invoke(in *Incoming) {
	if r.raw == nil {
		in.Refuse(r.err)
		return
	}
	if in.q == 0 {
		in.end(nil, nil)
		return
	}
	e := jelly.GetEncoder()
	e.Reset(in.b.config.Types, in.b.config.Refs)
	begin(e, 5, msgReturn, in.q)
	e.EncodeNil()
	at := e.Len()
	e.EncodeRaw(r.raw)
	raw := e.Buffer()[at:]
	e.EncodeInt(1)
	if !in.endError(e, raw) {
		jelly.PutEncoder(e)
	}
}

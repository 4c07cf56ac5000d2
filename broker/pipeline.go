package broker

import (
	"errors"

	"perspective/broker/message"
	"perspective/broker/promise"
	"perspective/jelly"
)

// OnAnswer calls f with the answer to the call q, encoded, at once or when it
// is there. f must not block. Only calls named in the arguments of in can be
// asked for.
func (in *Incoming) OnAnswer(q uint32, f func(raw []byte, failed bool)) error {
	if in.odd == nil {
		return ErrNoSuchObject
	}
	for _, h := range in.odd.holds {
		if h.q != q {
			continue
		}
		a := &in.b.answers
		a.mu.Lock()
		waits := h.promise.Await(holder(f)) // h has interest: in holds it
		a.mu.Unlock()
		if !waits {
			f(h.promise.Result())
		}
		return nil
	}
	return ErrNoSuchObject
}

// A holder is told the answer that stands in the arguments of its call.
type holder func(raw []byte, failed bool)

// Settled tells it.
func (f holder) Settled(p *promise.Promise) { f(p.Result()) }

// hold finds the answers that a call's arguments name, while it is certain
// that they are still there; they are kept for the call.
func (b *Broker) hold(in *Incoming, args []byte) error {
	return jelly.EachRef(args, func(r jelly.Ref) error {
		if r.Kind != jelly.RefAnswer && r.Kind != jelly.RefAnswerValue {
			return nil
		}
		b.answers.mu.Lock()
		defer b.answers.mu.Unlock()
		h := b.answers.at(uint32(r.ID)) //nolint:gosec // an id over 32 bits is refused below
		if h == nil || h == in || r.ID >= 1<<32 {
			return ErrNoSuchObject
		}
		h.want().holders++
		o := in.wantOdd()
		o.holds = append(o.holds, h)
		return nil
	})
}

// letGo gives up what hold found.
func (a *answers) letGo(o *oddments) {
	a.mu.Lock()
	defer a.mu.Unlock()
	holds := o.holds
	o.holds = nil
	for _, h := range holds {
		h.holders--
		if h.settled {
			a.drop(h)
		}
	}
}

// refusal answers a call that could not be sent to an object.
type refusal struct {
	err error
	raw []byte // or the error of what it was called on
}

func (r refusal) Invoke(in *Incoming) {
	if r.raw == nil {
		in.Refuse(r.err)
		return
	}
	if in.q == 0 {
		in.end(nil, nil, nil, NotExecuted, errBroken)
		return
	}
	if !in.b.lendAgain(r.raw) {
		in.Refuse(ErrNoSuchObject)
		return
	}
	e := jelly.GetEncoder()
	e.Reset(in.b.config.Types, in.b.config.Refs)
	failure := message.EncodeFailure(e, in.q, false, func(e *jelly.Encoder) { e.EncodeRaw(r.raw) })
	if !in.end(e, nil, failure, NotExecuted, errBroken) {
		in.b.takeBackAgain(r.raw)
		jelly.PutEncoder(e)
	}
}

// errBroken is what Config.Refused is told of a call on a failed one. The caller gets the error of
// that one, which OnEnd has told.
var errBroken = errors.New("broker: the call whose answer it is made on has failed")

// findRef follows path into a kept result and reads the reference there.
func findRef(b *Broker, kept []byte, path []string) (jelly.Ref, error) {
	d := jelly.GetDecoder()
	defer jelly.PutDecoder(d)
	d.Reset(b.config.Types, nil, kept, &b.limits.Values)
	for _, step := range path {
		if err := d.Enter(step); err != nil {
			return jelly.Ref{}, err
		}
	}
	if d.Peek() != jelly.KindRef {
		return jelly.Ref{}, errors.New("broker: the answer is no object that can be called")
	}
	return d.DecodeRef()
}

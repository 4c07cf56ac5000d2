package broker

import (
	"fmt"
	"sync"
	"time"

	"perspective/broker/message"
	"perspective/broker/wire"
	"perspective/jelly"
)

// place gives a CALL its place in the order. Afterwards it is in its object's
// queue, or waits on an answer, or is answered already because it was refused.
func (b *Broker) place(in *Incoming, d *jelly.Decoder, n, size int) error {
	var h message.CallHead
	if err := message.DecodeCall(d, n, &h); err != nil {
		return err
	}
	if err := h.CheckFlags(in.q); err != nil {
		return err
	}
	//nolint:gosec // checked, and within their limits
	in.flags, in.size = uint8(h.Flags), uint32(size)
	if !b.stranger() {
		in.depth = uint16(h.Depth) //nolint:gosec // checked by DecodeCall
	}
	if h.Trace != nil || h.Token != nil {
		o := in.wantOdd()
		o.trace, o.token = h.Trace, h.Token
	}
	if h.Deadline > 0 {
		t := time.Now().Add(h.Deadline)
		in.deadline = &t
	}
	if h.Answer != 0 {
		o := in.wantOdd()
		o.name, o.path = string(h.Method), h.Path
		in.target = h.Answer
	}
	in.arrived = b.clock.Load()
	wrong := b.aim(in, &h) // before the call is in the table, for a window may look
	ok, twice := b.answers.add(in)
	if twice {
		return askedTwice(in.q)
	}
	if !ok {
		in.shed = true
		in.Refuse(ErrOverloaded)
		return nil
	}
	switch {
	case b.away.Load():
		in.Refuse(ErrGoingAway)
	case h.Depth > b.limits.CallDepth:
		in.Refuse(ErrTooDeep)
	case wrong != nil:
		in.Refuse(wrong)
	}
	return nil
}

// aim finds what a call is made on, unless that is an answer.
func (b *Broker) aim(in *Incoming, h *message.CallHead) error {
	if h.Answer != 0 {
		return nil
	}
	e := b.exports.findAgain(h.Export)
	if e == nil {
		return fmt.Errorf("%w: %d", ErrNoSuchObject, h.Export)
	}
	return in.resolveMethod(e, h.Method)
}

func askedTwice(q uint32) error {
	return message.WrongValue(message.Call, 1, "q", "a number that is free",
		fmt.Sprintf("%d, which is asked: twice at once", q))
}

// resolveMethod finds what the call names in e.
func (in *Incoming) resolveMethod(e *export, name []byte) error {
	m, err := e.obj.Method(name)
	if err != nil {
		return err
	}
	in.export, in.method = e, m
	if uint64(in.flags)&FlagUnordered == 0 {
		in.queue = e.queue
	}
	return nil
}

// arrived takes in the arguments of a call, before which d stands, and lets it go. If they are
// owned the call keeps them.
func (b *Broker) arrived(in *Incoming, d *jelly.Decoder, refs, owned bool) error {
	args := d.Remaining()
	if n := arrayLen(args); n > b.limits.Arguments {
		in.refuseLater(fmt.Errorf("broker: call with %d arguments, at most %d are taken", n,
			b.limits.Arguments))
	}
	if refs && in.method != nil || refs && in.target != 0 {
		if err := b.hold(in, args); err != nil {
			in.refuseLater(err)
		}
	}
	in.owned, in.refs = owned, refs
	if ran, replaced := b.inline(in, d); replaced {
		return wire.ErrReplaced
	} else if ran {
		b.wire.Ran()
		return nil
	}
	in.store(args)
	if refs {
		in.pinned = b.exports.pin(in.stored.args)
	}
	if in.assembling {
		in.complete()
		return nil
	}
	b.queueUp(in)
	return nil
}

// queueUp puts the call where it will be started from.
func (b *Broker) queueUp(in *Incoming) {
	if in.target == 0 {
		b.start(in)
		return
	}
	if err := b.answers.call(in.target, in); err != nil {
		in.Refuse(err)
	}
}

// start lets the call take its turn.
func (b *Broker) start(in *Incoming) {
	if in.queue != nil {
		in.queue.push(in)
		return
	}
	b.startUnqueued(in)
}

// startUnqueued lets a call run beside all others, once its arguments are there.
func (b *Broker) startUnqueued(in *Incoming) {
	run := func() { b.runUnqueued(in) }
	if in.arrivedOr(run) {
		b.runner(run)
	}
}

func (b *Broker) runUnqueued(in *Incoming) {
	if b.permits.admit(in, func() { b.runUnqueued(in) }) {
		in.turn.Store(turnEnded) // it needs none
		in.invoke()
	}
}

func arrayLen(raw []byte) int {
	if len(raw) > 0 && raw[0]&0xf0 == 0x90 { // a short one, as nearly all are
		return int(raw[0] & 0x0f)
	}
	var d jelly.Decoder
	d.Reset(nil, nil, raw, nil)
	n, err := d.DecodeArrayLen()
	if err != nil {
		return 0
	}
	return n
}

// storeds holds nothing but bytes, so the pool may be the process's.
var storeds = sync.Pool{New: func() any { return new(stored) }}

// wantStored makes room for what a call needs that does not run as it comes.
func (in *Incoming) wantStored() *stored {
	if in.stored == nil {
		in.stored = storeds.Get().(*stored)
	}
	return in.stored
}

// store keeps the arguments until the call runs.
func (in *Incoming) store(args []byte) {
	s := in.wantStored()
	if !in.owned {
		s.b = append(s.b, args...)
		args = s.b
	}
	s.args = args
}

func putStored(s *stored) {
	b := s.b
	if cap(b) > wholeSize {
		b = nil
	}
	*s = stored{b: b[:0]}
	storeds.Put(s)
}

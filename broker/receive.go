package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	"perspective/jelly"
)

// message acts on one message, on the reader. The bytes are gone afterwards.
func (b *Broker) message(raw []byte) error {
	limits := &b.limits.Values
	sum, err := jelly.Scan(raw, limits)
	if err != nil {
		return b.refuseScan(raw, err)
	}
	d := b.dec
	d.Reset(b.config.Types, b.config.Refs, raw, limits)
	n, kind, q, err := decodeStart(d)
	if err != nil {
		return err
	}
	switch kind {
	case msgCall:
		in := &Incoming{b: b, q: q}
		if err := b.place(in, d, n, len(raw)); err != nil || in.answered.Load() {
			return err
		}
		return b.arrived(in, d.Remaining(), sum.Refs, nil)
	case msgReturn:
		return b.answer(d, n, q, raw)
	case msgPart:
		if n != 5 {
			return violation("PART of %d elements", n)
		}
		return b.parts.part(d)
	}
	return b.small(d, n, kind, q)
}

// decodeStart reads what every message begins with.
func decodeStart(d *jelly.Decoder) (n int, kind byte, q uint32, err error) {
	if n, err = d.DecodeArrayLen(); err != nil || n < 2 {
		return 0, 0, 0, violation("message is no array of at least 2")
	}
	k, err := d.DecodeUint()
	if err != nil || k == 0 || k > msgAbort {
		return 0, 0, 0, violation("unknown message type")
	}
	if q, err = decodeID(d); err != nil {
		return 0, 0, 0, violation("question number: %v", err)
	}
	return n, byte(k), q, nil
}

// small acts on the messages that are neither calls nor answers.
func (b *Broker) small(d *jelly.Decoder, n int, kind byte, q uint32) error {
	var v [2]uint64
	nums := func(want int) error {
		if n != 2+want {
			return violation("message of type %d with %d elements", kind, n)
		}
		for i := range want {
			var err error
			if v[i], err = d.DecodeUint(); err != nil {
				return violation("message of type %d: %v", kind, err)
			}
		}
		return nil
	}
	switch kind {
	case msgFinish:
		b.answers.finish(q)
		return nums(0)
	case msgNote:
		return b.note(d, n, q)
	case msgRelease:
		if err := nums(2); err != nil {
			return err
		}
		return b.exports.release(v[0], v[1])
	case msgCredit:
		if err := nums(2); err != nil {
			return err
		}
		b.load.Add(-int32(min(v[0], 1<<20))) //nolint:gosec // checked by returnOneway
		defer b.nudge()
		return b.questions.returnOneway(v[0], v[1])
	case msgStop:
		if err := nums(1); err != nil {
			return err
		}
		return b.streams.stopped(v[0])
	case msgPing:
		if err := errors.Join(nums(1), b.spend()); err != nil {
			return err
		}
		_, err := b.out.send(appendSmall(nil, msgPong, 0, v[0]), nil)
		return err
	case msgPong:
		if err := nums(1); err != nil {
			return err
		}
		b.syncs.pong(v[0])
		return nil
	case msgGoAway:
		b.peerGoesAway()
		return nums(0)
	case msgAbort:
		s, _ := d.DecodeString()
		if len(s) > 256 {
			s = s[:256]
		}
		return &AbortError{Reason: s}
	case msgResolve:
		return nil // no promised references are sent by this side; nothing waits for one
	}
	return violation("unknown message type %d", kind)
}

func (b *Broker) note(d *jelly.Decoder, n int, q uint32) error {
	if n != 3 {
		return violation("NOTE of %d elements", n)
	}
	noter, err := b.questions.noted(q)
	if err == nil && noter != nil {
		noter.Note(d)
	}
	return err
}

// place gives a CALL its place in the order. Afterwards it is in its object's
// queue, or waits on an answer, or is answered already because it was refused.
func (b *Broker) place(in *Incoming, d *jelly.Decoder, n, size int) error {
	var h callHead
	if err := decodeCallHead(d, n, &h); err != nil {
		var p *ProtocolError
		if errors.As(err, &p) {
			return err
		}
		return violation("CALL: %v", err)
	}
	if oneway := h.flags&FlagOneway != 0; oneway != (in.q == 0) || h.flags&^flagsKnown != 0 {
		return violation("CALL with question %d and flags %#x", in.q, h.flags)
	}
	in.flags, in.depth, in.size = h.flags, h.depth, size
	in.trace, in.token = h.trace, h.token
	if h.deadline > 0 {
		in.deadline = time.Now().Add(h.deadline)
	}
	if h.answer != 0 {
		in.name = string(h.method)
	}
	in.path = h.path
	b.stats.received.Add(1)
	b.load.Add(1)
	if in.q != 0 && b.answers.find(in.q) != nil {
		return violation("question %d asked twice", in.q)
	}
	if !b.answers.add(in) {
		in.shed = true
		in.Refuse(ErrOverloaded)
		return nil
	}
	switch {
	case b.away.Load():
		in.Refuse(ErrGoingAway)
	case h.depth > b.limits.CallDepth:
		in.Refuse(ErrTooDeep)
	case h.answer == 0:
		e := b.exports.find(h.export)
		if e == nil {
			in.Refuse(fmt.Errorf("%w: %d", ErrNoSuchObject, h.export))
			return nil
		}
		if err := in.resolveMethod(e, h.method); err != nil {
			in.Refuse(err)
		}
	default:
		in.target = h.answer
	}
	return nil
}

// resolveMethod finds what the call names in e.
func (in *Incoming) resolveMethod(e *export, name []byte) error {
	m, err := e.obj.Method(name)
	if err != nil {
		return err
	}
	in.export, in.method = e, m
	if in.flags&FlagUnordered == 0 {
		in.queue = e.queue
	}
	return nil
}

// arrived takes in the arguments of a call and lets it go. owned, if not nil,
// is memory that the call may keep; args lies in it.
func (b *Broker) arrived(in *Incoming, args []byte, refs bool, owned []byte) error {
	if n := arrayLen(args); n > b.limits.Arguments {
		in.refuseLater(fmt.Errorf("broker: call with %d arguments, at most %d are taken", n, b.limits.Arguments))
	}
	if refs && in.method != nil || refs && in.target != 0 {
		if err := b.hold(in, args); err != nil {
			in.refuseLater(err)
		}
	}
	if owned == nil {
		in.buffer = getBuffer()
		in.buffer.b = append(in.buffer.b, args...)
		args = in.buffer.b
	}
	in.args = args
	if in.assembling {
		in.complete()
		return nil
	}
	return b.queueUp(in)
}

// queueUp puts the call where it will be started from.
func (b *Broker) queueUp(in *Incoming) error {
	if in.target == 0 {
		b.start(in)
		return nil
	}
	if err := b.answers.call(in.target, in); err != nil {
		in.Refuse(err)
	}
	return nil
}

// start lets the call take its turn.
func (b *Broker) start(in *Incoming) {
	if in.queue != nil {
		in.queue.push(in)
		return
	}
	if !in.hasArrived() {
		return // complete starts it
	}
	b.runner(func() { b.runUnqueued(in) })
}

func (b *Broker) runUnqueued(in *Incoming) {
	if b.slots.admit(in, func() { b.runUnqueued(in) }) {
		in.invoke()
	}
}

// answer acts on a RETURN.
func (b *Broker) answer(d *jelly.Decoder, n int, q uint32, raw []byte) error {
	if n < 3 || n > 5 {
		return violation("RETURN of %d elements", n)
	}
	question, err := b.returned(q)
	if err != nil {
		return err
	}
	b.load.Add(-1)
	defer b.nudge()
	if n > 3 {
		return b.answerError(d, n, question)
	}
	if !question.Pure() {
		own := append([]byte(nil), raw[len(raw)-len(d.Remaining()):]...)
		b.runner(func() { // ends when the result is decoded
			d := jelly.GetDecoder()
			defer jelly.PutDecoder(d)
			d.Reset(b.config.Types, b.config.Refs, own, &b.limits.Values)
			question.Finish(Executed, question.DecodeResult(d))
		})
		return nil
	}
	question.Finish(Executed, question.DecodeResult(d))
	return nil
}

func (b *Broker) answerError(d *jelly.Decoder, n int, question Question) error {
	if err := d.DecodeNil(); err != nil {
		return violation("RETURN with both a value and an error")
	}
	failure := b.config.Errors.DecodeError(d)
	outcome := Executed
	if n == 5 {
		if v, err := d.DecodeUint(); err != nil || v != 1 {
			return violation("RETURN with an unknown outcome")
		}
		outcome = NotExecuted
	}
	question.Finish(outcome, failure)
	return nil
}

// whole acts on a long message that is complete.
func (b *Broker) whole(raw []byte, in *Incoming) error {
	if in == nil {
		return b.message(raw)
	}
	sum, err := jelly.Scan(raw, &b.limits.Values)
	if err != nil {
		in.refuseLater(err)
		in.complete()
		return nil
	}
	d := b.dec
	d.Reset(b.config.Types, b.config.Refs, raw, &b.limits.Values)
	n, _, _, err := decodeStart(d)
	if err == nil {
		err = decodeCallHead(d, n, new(callHead))
	}
	if err != nil {
		return err
	}
	b.answers.resize(in, len(raw))
	return b.arrived(in, d.Remaining(), sum.Refs, raw)
}

// peekHead reads type and question of a message that may be cut off or
// malformed behind them.
func peekHead(raw []byte) (kind byte, q uint32, err error) {
	d := new(jelly.Decoder)
	d.Reset(nil, nil, raw, nil)
	_, kind, q, err = decodeStart(d)
	return kind, q, err
}

// refuseScan answers a message whose values are over a limit; one that is not
// MessagePack at all ends the connection.
func (b *Broker) refuseScan(raw []byte, err error) error {
	var s *jelly.ScanError
	if !errors.As(err, &s) || !s.Limit {
		return violation("%v", err)
	}
	return b.refuse(raw, err)
}

// refuseLarge answers a message that was thrown away for its size.
func (b *Broker) refuseLarge(beginning []byte) error { return b.refuse(beginning, ErrTooLarge) }

// refuse fails the call that a message begins, or the question it answers.
func (b *Broker) refuse(raw []byte, reason error) error {
	kind, q, err := peekHead(raw)
	if err != nil {
		return err
	}
	switch kind {
	case msgReturn:
		question, err := b.returned(q)
		if err != nil {
			return err
		}
		b.load.Add(-1)
		question.Finish(Executed, reason)
		return nil
	case msgCall:
		in := &Incoming{b: b, q: q, shed: true}
		b.load.Add(1)
		if q != 0 && b.answers.find(q) != nil {
			return violation("question %d asked twice", q)
		}
		in.Refuse(reason)
		return nil
	case msgNote:
		return nil
	}
	return violation("message of type %d: %v", kind, reason)
}

// refuseAssembly fails a long message that grew too large.
func (b *Broker) refuseAssembly(a *assembly) error {
	if a.call == nil {
		return b.refuse(appendSmall(nil, a.kind, a.q)[lengthSize:], ErrTooLarge)
	}
	b.answers.resize(a.call, a.size)
	a.call.refuseLater(ErrTooLarge)
	a.call.complete()
	return nil
}

// overloadError is ErrOverloaded as it stands on the wire.
func (b *Broker) overloadError() []byte {
	e := jelly.GetEncoder()
	defer jelly.PutEncoder(e)
	e.Reset(b.config.Types, b.config.Refs)
	b.config.Errors.EncodeError(e, ErrOverloaded)
	return append([]byte(nil), e.Buffer()...)
}

// forwarder is an object of the peer's that the peer calls through us.
func (b *Broker) forwarder(id uint64) *export {
	if b.config.Forward == nil {
		return nil
	}
	obj := b.config.Forward(id)
	if obj == nil {
		return nil
	}
	return b.newExport(0, obj, obj)
}

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

func arrayLen(raw []byte) int {
	var d jelly.Decoder
	d.Reset(nil, nil, raw, nil)
	n, err := d.DecodeArrayLen()
	if err != nil {
		return 0
	}
	return n
}

// validText is s without what must not reach a log or a terminal.
func validText(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// buffers of calls' arguments. They hold nothing but bytes, so the pool may be
// the process's.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

type buffer struct{ b []byte }

func getBuffer() *buffer { return buffers.Get().(*buffer) }

func putBuffer(b *buffer) {
	if cap(b.b) <= wholeSize {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

var _ context.Context = (*Incoming)(nil)

package broker

import (
	"errors"

	"perspective/broker/message"
	"perspective/jelly"
)

// whole acts on a long call whose last piece has come.
func (b *Broker) whole(d *jelly.Decoder, raw []byte, in *Incoming) error {
	if in.answered.Load() { // it was refused when it began
		b.settleMentions(raw, false)
		b.creditRefused(in, len(raw))
		return nil
	}
	sum, err := jelly.Scan(raw, &b.limits.Values)
	if err != nil {
		var s *jelly.ScanError
		if !errors.As(err, &s) || !s.Limit {
			return message.Malformed(raw, err)
		}
		b.settleMentions(raw, false)
		b.answers.resize(in, len(raw))
		in.refuseLater(err)
		in.complete()
		return nil
	}
	d.Reset(b.config.Types, b.config.Refs, raw, &b.limits.Values)
	h, err := message.DecodeHead(d)
	if err == nil {
		err = message.DecodeCall(d, h.Elements, new(message.CallHead))
	}
	if err != nil {
		return err
	}
	if !b.answers.resize(in, len(raw)) {
		b.settleMentions(raw, false)
		in.refuseLater(ErrOverloaded)
		in.complete()
		return nil
	}
	return b.arrived(in, d, sum.Refs, true)
}

// creditRefused gives credit for a long oneway call back that was refused when it began: its size
// is known now.
func (b *Broker) creditRefused(in *Incoming, size int) {
	if in.q == 0 {
		b.creditOneway(size)
	}
}

// begin takes in the first piece of a long message: a CALL has its place in the order here.
func (b *Broker) begin(d *jelly.Decoder, h message.Head, size int) (in *Incoming, err error) {
	if h.Kind == message.Return {
		if !b.questions.isAsked(h.Q) {
			return nil, message.FirstPiece(notAsked(message.Return, h.Q))
		}
		return nil, nil
	}
	if b.peerAway.Load() {
		return nil, errAskedAfter
	}
	in = &Incoming{b: b, q: h.Q, assembling: true, long: true, stored: new(stored)}
	if err := b.place(in, d, h.Elements, size); err != nil {
		return nil, message.FirstPiece(err)
	}
	if !in.answered.Load() {
		b.queueUp(in)
	}
	return in, nil
}

// over fails a long message that grew too large or, if full is set, found no room.
func (b *Broker) over(h message.Head, size int, in *Incoming, full bool) error {
	if in != nil && in.answered.Load() { // it was refused when it began
		b.creditRefused(in, size)
		return nil
	}
	reason := b.tooLarge(h.Kind, size)
	if full {
		reason = ErrOverloaded
	}
	if in == nil {
		return b.refuse(message.Small(h.Kind, h.Q)[message.LengthSize:], size, reason)
	}
	b.answers.resize(in, size)
	in.refuseLater(reason)
	in.complete()
	return nil
}

// refuseScanned answers a message whose values are over a limit.
func (b *Broker) refuseScanned(raw []byte, size int, reason error) error {
	b.settleMentions(raw, false)
	return b.refuse(raw, size, reason)
}

// refuse fails the call that a message of size bytes begins with raw, or the
// question it answers.
func (b *Broker) refuse(raw []byte, size int, reason error) error {
	h, err := message.PeekHead(raw)
	if err != nil {
		return err
	}
	switch h.Kind {
	case message.Return:
		question, streams, err := b.returned(h.Q)
		if err != nil {
			return err
		}
		defer b.finished()
		b.wire.FailStreams(streams)
		question.Finish(Executed, reason)
		return nil
	case message.Call:
		//nolint:gosec // Limits.Message is under 4 GiB
		in := &Incoming{b: b, q: h.Q, size: uint32(size), shed: true}
		if h.Q != 0 && b.answers.find(h.Q) != nil {
			return askedTwice(h.Q)
		}
		if b.config.Refused != nil {
			b.identify(in, raw)
		}
		in.Refuse(reason)
		return nil
	case message.Note:
		return nil
	default:
	}
	return message.Violation("message of type %d: %v", h.Kind, reason)
}

// identify finds out for Config.Refused what a refused call is made on, as far as raw tells.
func (b *Broker) identify(in *Incoming, raw []byte) {
	d := jelly.GetDecoder()
	defer jelly.PutDecoder(d)
	d.Reset(nil, nil, raw, nil)
	var c message.CallHead
	if h, err := message.DecodeHead(d); err != nil || message.DecodeCall(d, h.Elements, &c) != nil {
		return
	}
	if c.Trace != nil {
		in.wantOdd().trace = c.Trace
	}
	_ = b.aim(in, &c) // the call is refused already
}

// tooLarge is the error for a message from the peer that this side does not
// take: our caller reads it of a RETURN, the peer's of a CALL.
func (b *Broker) tooLarge(kind message.Kind, size int) error {
	limit := b.messageLimit()
	switch {
	case kind == message.Return:
		return tooLarge(size, "an answer", "this side", limit, "Limits.Message")
	case b.stranger():
		return tooLarge(size, "a call", "the peer", limit,
			"its Limits.LoginMessage, until the login")
	}
	return tooLarge(size, "a call", "the peer", limit, "its Limits.Message")
}

// overloadError is ErrOverloaded as it stands on the wire.
func (b *Broker) overloadError() []byte {
	e := jelly.GetEncoder()
	defer jelly.PutEncoder(e)
	e.Reset(b.config.Types, b.config.Refs)
	b.config.Errors.EncodeError(e, ErrOverloaded)
	return append([]byte(nil), e.Buffer()...)
}

package broker

import (
	"errors"

	"perspective/broker/message"
	"perspective/jelly"
)

// whole acts on a long message that is complete.
func (b *Broker) whole(raw []byte, in *Incoming) error {
	if in == nil {
		return b.message(raw, true)
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
	d := b.dec
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
	return b.arrived(in, d.Remaining(), sum.Refs, true)
}

// refuseScan answers a message whose values are over a limit; one that is not
// MessagePack at all ends the connection.
func (b *Broker) refuseScan(raw []byte, err error) error {
	var s *jelly.ScanError
	if !errors.As(err, &s) || !s.Limit {
		return message.Malformed(raw, err)
	}
	b.settleMentions(raw, false)
	return b.refuse(raw, len(raw), err)
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
		b.streams.callFailed(streams)
		question.Finish(Executed, reason)
		b.nudge()
		return nil
	case message.Call:
		in := &Incoming{b: b, q: h.Q, size: uint32(size), shed: true} //nolint:gosec // Limits.Message is under 4 GiB
		if h.Q != 0 && b.answers.find(h.Q) != nil {
			return askedTwice(h.Q)
		}
		in.Refuse(reason)
		return nil
	case message.Note:
		return nil
	default:
	}
	return message.Violation("message of type %d: %v", h.Kind, reason)
}

// refuseAssembly fails a long message that grew too large.
func (b *Broker) refuseAssembly(a *assembly) error {
	reason := b.tooLarge(a.kind, a.size)
	if a.full {
		reason = ErrOverloaded
	}
	if a.call == nil {
		return b.refuse(message.Small(a.kind, a.q)[message.LengthSize:], a.size, reason)
	}
	b.answers.resize(a.call, a.size)
	a.call.refuseLater(reason)
	a.call.complete()
	return nil
}

// tooLarge is the error for a message from the peer that this side does not
// take: our caller reads it of a RETURN, the peer's of a CALL.
func (b *Broker) tooLarge(kind message.Kind, size int) error {
	limit := b.messageLimit()
	switch {
	case kind == message.Return:
		return tooLarge(size, "an answer", "this side", limit, "Limits.Message")
	case b.stranger():
		return tooLarge(size, "a call", "the peer", limit, "its Limits.LoginMessage, until the login")
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

package broker

import (
	"errors"

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
			return malformed(raw, err)
		}
		b.settleMentions(raw, false)
		b.answers.resize(in, len(raw))
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
	if !b.answers.resize(in, len(raw)) {
		b.settleMentions(raw, false)
		in.refuseLater(ErrOverloaded)
		in.complete()
		return nil
	}
	return b.arrived(in, d.Remaining(), sum.Refs, true)
}

// malformed is the broken rule of a message that is not well formed, as Scan says in err. It names the message if that can
// be read.
func malformed(raw []byte, err error) error {
	name := "message"
	if kind, _, unread := peekHead(raw); unread == nil {
		name = messageNames[kind]
	}
	if s, ok := errors.AsType[*jelly.ScanError](err); ok {
		return violation("%s: want MessagePack as section 4 says, got at byte %d: %s", name, s.Offset, s.Reason)
	}
	return violation("%s: %v", name, err)
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
		return malformed(raw, err)
	}
	b.settleMentions(raw, false)
	return b.refuse(raw, len(raw), err)
}

// refuse fails the call that a message of size bytes begins with raw, or the
// question it answers.
func (b *Broker) refuse(raw []byte, size int, reason error) error {
	kind, q, err := peekHead(raw)
	if err != nil {
		return err
	}
	switch kind {
	case msgReturn:
		question, streams, err := b.returned(q)
		if err != nil {
			return err
		}
		b.streams.callFailed(streams)
		question.Finish(Executed, reason)
		b.nudge()
		return nil
	case msgCall:
		in := &Incoming{b: b, q: q, size: uint32(size), shed: true} //nolint:gosec // Limits.Message is under 4 GiB
		if q != 0 && b.answers.find(q) != nil {
			return askedTwice(q)
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
	reason := b.tooLarge(a.kind, a.size)
	if a.full {
		reason = ErrOverloaded
	}
	if a.call == nil {
		return b.refuse(smallMessage(a.kind, a.q)[lengthSize:], a.size, reason)
	}
	b.answers.resize(a.call, a.size)
	a.call.refuseLater(reason)
	a.call.complete()
	return nil
}

// tooLarge is the error for a message from the peer that this side does not
// take: our caller reads it of a RETURN, the peer's of a CALL.
func (b *Broker) tooLarge(kind byte, size int) error {
	limit := b.messageLimit()
	switch {
	case kind == msgReturn:
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

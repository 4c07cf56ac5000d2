package broker

import (
	"perspective/broker/message"
	"perspective/broker/wire"
	"perspective/internal/guard"
	"perspective/jelly"
)

// deliver acts on one message, on the reader. d stands behind its head.
func (b *Broker) deliver(d *jelly.Decoder, h message.Head, m wire.Scanned) error {
	if (h.Kind == message.Call || h.Kind == message.Return) && len(m.Raw) > b.messageLimit() {
		defer b.settleMentions(m.Raw, false)
		return b.refuse(m.Raw, len(m.Raw), b.tooLarge(h.Kind, len(m.Raw)))
	}
	switch h.Kind {
	case message.Call:
		if b.peerAway.Load() {
			return errAskedAfter
		}
		in := &Incoming{b: b, q: h.Q}
		if err := b.place(in, d, h.Elements, len(m.Raw)); err != nil {
			return err
		}
		if in.answered.Load() {
			if m.Refs {
				b.settleMentions(m.Raw, false)
			}
			return nil
		}
		return b.arrived(in, d, m.Refs, m.Owned)
	case message.Return:
		return b.answer(d, h, m.Refs, m.Owned)
	case message.Note:
		return b.note(d, h, m.Refs)
	default:
	}
	if m.Refs {
		b.settleMentions(m.Raw, false)
	}
	return b.small(d, h)
}

var errAskedAfter = message.Violation("CALL: want none after GOAWAY, got one")

// small acts on the messages that are neither calls nor answers.
func (b *Broker) small(d *jelly.Decoder, h message.Head) error {
	switch h.Kind {
	case message.Abort:
		return &AbortError{Reason: message.DecodeAbort(d)}
	case message.Resolve:
		_, err := message.DecodeResolve(d, h)
		return err // no promised references are sent by this side: nothing waits for one
	default:
	}
	v, err := message.DecodeSmall(d, h)
	if err != nil {
		return err
	}
	switch h.Kind {
	case message.Finish:
		b.answers.finish(h.Q)
	case message.Release:
		b.exports.last = nil // it may be what is let go
		return b.exports.release(v[0], v[1])
	case message.Credit:
		if err := b.questions.returnOneway(v[0], v[1]); err != nil {
			return err
		}
		b.nudge()
	case message.Stop:
		return b.wire.StreamStopped(v[0])
	case message.Ping:
		b.wire.After(message.Small(message.Pong, 0, v[0]))
	case message.Pong:
		b.syncs.pong(v[0])
	case message.GoAway:
		b.peerGoesAway()
	default: // DecodeSmall knows no other
	}
	return nil
}

func (b *Broker) note(d *jelly.Decoder, h message.Head, refs bool) error {
	if err := message.CheckNote(h.Elements); err != nil {
		return err
	}
	noter, err := b.questions.noted(h.Q)
	if err == nil && noter != nil {
		noter.Note(d)
	}
	if refs {
		b.settleMentions(d.Scanned(), noter != nil)
	}
	return err
}

// answer acts on a RETURN.
func (b *Broker) answer(d *jelly.Decoder, h message.Head, refs, owned bool) error {
	failed, err := message.CheckReturn(h.Elements)
	if err != nil {
		return err
	}
	question, streams, err := b.returned(h.Q)
	if err != nil {
		return err
	}
	if failed {
		defer b.finished()
		outcome, failure, err := b.answerError(d, h.Elements)
		b.wire.FailStreams(streams)
		if refs {
			b.settleMentions(d.Scanned(), true)
		}
		question.Finish(outcome, failure)
		return err
	}
	if !question.Pure() {
		own := d.Remaining()
		if !owned {
			own = append([]byte(nil), own...)
		}
		pinned := refs && b.exports.pin(own)
		decode := func() { // ends when the result is decoded
			if pinned {
				defer b.exports.unpin(own)
			}
			d := jelly.GetDecoder()
			defer jelly.PutDecoder(d)
			d.Reset(b.config.Types, b.config.Refs, own, &b.limits.Values)
			d.Own()
			b.finish(question, d, refs)
		}
		if !b.runner(decode) {
			decode() // the connection is over, so the reader is of no use to others
		}
		return nil
	}
	if owned {
		d.Own()
	}
	b.finish(question, d, refs)
	return nil
}

// finish ends a question with the result that stands in d.
func (b *Broker) finish(question Question, d *jelly.Decoder, refs bool) {
	end := func(err error) {
		if refs {
			b.settleMentions(d.Scanned(), err == nil)
		}
		question.Finish(Executed, err)
	}
	defer b.finished()
	end(guard.Call(func() error { return question.DecodeResult(d) }, end))
}

// answerError reads the error of a RETURN. One that breaks the rules is the
// question's answer too: nothing else will finish it.
func (b *Broker) answerError(d *jelly.Decoder, n int) (outcome Outcome, failure, err error) {
	executed, failure, err := message.DecodeFailure(d, n, b.config.Errors.DecodeError)
	switch {
	case err != nil:
		return Executed, err, err
	case executed:
		return Executed, failure, nil
	}
	return NotExecuted, failure, nil
}

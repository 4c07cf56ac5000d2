package broker

import (
	"strings"
	"unicode"

	"perspective/jelly"
)

// message acts on one message, on the reader. The bytes are gone afterwards,
// unless they are owned: then nobody uses them again.
func (b *Broker) message(raw []byte, owned bool) error {
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
	if (kind == msgCall || kind == msgReturn) && len(raw) > b.messageLimit() {
		defer b.settleMentions(raw, false)
		return b.refuse(raw, len(raw), b.tooLarge(kind, len(raw)))
	}
	if kind != msgReturn {
		b.in.score = 0
	}
	switch kind {
	case msgCall:
		in := &Incoming{b: b, q: q}
		if err := b.place(in, d, n, len(raw)); err != nil {
			return err
		}
		if in.answered.Load() {
			if sum.Refs {
				b.settleMentions(raw, false)
			}
			return nil
		}
		return b.arrived(in, d.Remaining(), sum.Refs, owned)
	case msgReturn:
		return b.answer(d, n, q, sum.Refs, owned)
	case msgPart:
		if n != 5 {
			return violation("PART of %d elements", n)
		}
		return b.parts.part(d)
	case msgNote:
		return b.note(d, n, q, sum.Refs)
	}
	if sum.Refs {
		b.settleMentions(raw, false)
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
	case msgRelease:
		if err := nums(2); err != nil {
			return err
		}
		b.exports.last = nil // it may be what is let go
		return b.exports.release(v[0], v[1])
	case msgCredit:
		if err := nums(2); err != nil {
			return err
		}
		if err := b.questions.returnOneway(v[0], v[1]); err != nil {
			return err
		}
		b.nudge()
		return nil
	case msgStop:
		if err := nums(1); err != nil {
			return err
		}
		return b.streams.stopped(v[0])
	case msgPing:
		if err := nums(1); err != nil {
			return err
		}
		b.out.sendAfter(smallMessage(msgPong, 0, v[0]))
		return nil
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

func (b *Broker) note(d *jelly.Decoder, n int, q uint32, refs bool) error {
	if n != 3 {
		return violation("NOTE of %d elements", n)
	}
	noter, err := b.questions.noted(q)
	if err == nil && noter != nil {
		noter.Note(d)
	}
	if refs {
		b.settleMentions(d.Scanned(), noter != nil)
	}
	return err
}

// answer acts on a RETURN.
func (b *Broker) answer(d *jelly.Decoder, n int, q uint32, refs, owned bool) error {
	if n < 3 || n > 5 {
		return violation("RETURN of %d elements", n)
	}
	question, streams, err := b.returned(q)
	if err != nil {
		return err
	}
	defer b.nudge()
	if n > 3 {
		outcome, failure, err := b.answerError(d, n)
		b.streams.callFailed(streams)
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
		decode := func() { // ends when the result is decoded
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
	err := question.DecodeResult(d)
	if refs {
		b.settleMentions(d.Scanned(), err == nil)
	}
	question.Finish(Executed, err)
}

// answerError reads the error of a RETURN. One that breaks the rules is the
// question's answer too: nothing else will finish it.
func (b *Broker) answerError(d *jelly.Decoder, n int) (outcome Outcome, failure, err error) {
	if d.DecodeNil() != nil {
		err = violation("RETURN with both a value and an error")
		return Executed, err, err
	}
	failure = b.config.Errors.DecodeError(d)
	if n < 5 {
		return Executed, failure, nil
	}
	if v, derr := d.DecodeUint(); derr != nil || v != 1 {
		err = violation("RETURN with an unknown outcome")
		return Executed, err, err
	}
	return NotExecuted, failure, nil
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

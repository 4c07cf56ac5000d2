package broker

import (
	"strconv"
	"strings"
	"unicode"

	"perspective/internal/guard"
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
		if b.peerAway.Load() {
			return errAskedAfter
		}
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
			return wrongCount(kind, "5", n)
		}
		if q != 0 {
			return wrongQ(kind, q)
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

var errAskedAfter = violation("CALL: want none after GOAWAY, got one")

// decodeStart reads what every message begins with.
func decodeStart(d *jelly.Decoder) (n int, kind byte, q uint32, err error) {
	if n, err = d.DecodeArrayLen(); err != nil {
		return 0, 0, 0, violation("message: want array [type, q, …], got %s", standing(d))
	}
	if n < 2 {
		return 0, 0, 0, violation("message: want array [type, q, …], got array of %d", n)
	}
	k, err := d.DecodeUint()
	if err != nil || k == 0 || k > msgAbort {
		got := standing(d)
		if err == nil {
			got = strconv.FormatUint(k, 10)
		}
		return 0, 0, 0, violation("message: element 0, message type: want 1 to %d, got %s", msgAbort, got)
	}
	if q, err = decodeID(d, byte(k), 1, "q"); err != nil {
		return 0, 0, 0, err
	}
	return n, byte(k), q, nil
}

// wrongQ is the broken rule of a message that has no question.
func wrongQ(kind byte, q uint32) error { return wrongValue(kind, 1, "q", "0", q) }

// small acts on the messages that are neither calls nor answers.
func (b *Broker) small(d *jelly.Decoder, n int, kind byte, q uint32) error {
	switch kind {
	case msgAbort: // however it is made, the peer means the end
		s, _ := d.DecodeString()
		if len(s) > maxReason {
			s = s[:maxReason]
		}
		return &AbortError{Reason: validText(s)}
	case msgFinish:
		if q == 0 {
			return wrongValue(kind, 1, "q", "a question, not 0", q)
		}
	default:
		if q != 0 {
			return wrongQ(kind, q)
		}
	}
	if kind == msgResolve {
		return resolved(d, n)
	}
	names := numbers[kind]
	if n != 2+len(names) {
		return wrongCount(kind, strconv.Itoa(2+len(names)), n)
	}
	var v [2]uint64
	for i, name := range names {
		var err error
		if v[i], err = decodeUint(d, kind, 2+i, name); err != nil {
			return err
		}
	}
	switch kind {
	case msgFinish:
		b.answers.finish(q)
	case msgRelease:
		b.exports.last = nil // it may be what is let go
		return b.exports.release(v[0], v[1])
	case msgCredit:
		if err := b.questions.returnOneway(v[0], v[1]); err != nil {
			return err
		}
		b.nudge()
	case msgStop:
		return b.streams.stopped(v[0])
	case msgPing:
		b.out.sendAfter(smallMessage(msgPong, 0, v[0]))
	case msgPong:
		b.syncs.pong(v[0])
	case msgGoAway:
		b.peerGoesAway()
	}
	return nil
}

// numbers are the names of the elements of the messages that are made of numbers.
var numbers = [msgAbort + 1][]string{
	msgRelease: {"export", "count"},
	msgCredit:  {"calls", "bytes"},
	msgStop:    {"stream"},
	msgPing:    {"number"},
	msgPong:    {"number"},
}

// resolved looks at a RESOLVE. No promised references are sent by this side;
// nothing waits for one.
func resolved(d *jelly.Decoder, n int) error {
	if n != 4 && n != 5 {
		return wrongCount(msgResolve, "4 or 5", n)
	}
	if _, err := decodeUint(d, msgResolve, 2, "export"); err != nil {
		return err
	}
	if n == 4 && d.Peek() != jelly.KindRef {
		return wrongElement(msgResolve, 3, "ref", "a reference", d)
	}
	if n == 5 && d.Peek() != jelly.KindNil {
		return wrongElement(msgResolve, 3, "ref", "nil beside an error", d)
	}
	return nil
}

func (b *Broker) note(d *jelly.Decoder, n int, q uint32, refs bool) error {
	if n != 3 {
		return wrongCount(msgNote, "3", n)
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
		return wrongCount(msgReturn, "3 to 5", n)
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
	end := func(err error) {
		if refs {
			b.settleMentions(d.Scanned(), err == nil)
		}
		question.Finish(Executed, err)
	}
	end(guard.Call(func() error { return question.DecodeResult(d) }, end))
}

// answerError reads the error of a RETURN. One that breaks the rules is the
// question's answer too: nothing else will finish it.
func (b *Broker) answerError(d *jelly.Decoder, n int) (outcome Outcome, failure, err error) {
	if d.DecodeNil() != nil {
		err = wrongElement(msgReturn, 2, "value", "nil beside an error", d)
		return Executed, err, err
	}
	failure = b.config.Errors.DecodeError(d)
	if n < 5 {
		return Executed, failure, nil
	}
	if v, derr := d.DecodeUint(); derr != nil || v != 1 {
		got := standing(d)
		if derr == nil {
			got = strconv.FormatUint(v, 10)
		}
		err = wrongValue(msgReturn, 4, "not begun", "1", got)
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

package broker

import (
	"errors"
	"perspective/jelly"
)

// What a message mentions, objects and byte streams, is settled when the message is
// done with: once its values are decoded, or when it is dropped, wherever that is.
// What the program here holds by then is counted for the handle, and goes back with it;
// everything else is given back at once. Decoding itself counts nothing, so that a
// value may be decoded twice, or half, or not at all.

// settleMentions settles the message or the part of one that raw is. kept is false
// if nothing of it is: it was refused, or could not be decoded.
func (b *Broker) settleMentions(raw []byte, kept bool) {
	s := settler{b: b, kept: kept}
	var f jelly.Finder
	f.Find(raw, s.settle)
	s.flush()
}

// settler gives back what one message mentions, and what it mentions several times
// in a row with one RELEASE.
type settler struct {
	b    *Broker
	kept bool
	in   *Incoming // the call that the message is, if its method is about to begin
	id   uint64
	n    uint64 // times that id is to be given back
}

func (s *settler) settle(r jelly.Ref) {
	if r.Kind == jelly.RefStream {
		if s.b.wire.SettleStream(r.ID, s.kept) && s.in != nil {
			s.in.addStream(r.ID)
		}
		return
	}
	if r.ID < firstExport || s.kept && s.b.imports.counted(r.ID) {
		return
	}
	if !s.kept {
		s.b.imports.givenBack(r.ID)
	}
	if s.n > 0 && s.id != r.ID {
		s.flush()
	}
	s.id = r.ID
	s.n++
}

func (s *settler) flush() {
	if s.n > 0 {
		s.b.sendRelease(s.id, s.n)
		s.n = 0
	}
}

var errUnsent = errors.New("broker: the message that mentions the byte stream was not sent")

// takeBack uncounts what e lends, for a message that will not be sent.
func (b *Broker) takeBack(e *jelly.Encoder) {
	b.takeBackUnsent(e)
	for _, r := range e.Sent() {
		b.takeBackRef(r)
	}
}

// takeBackUnsent uncounts what was encoded into e and cut off again: it is not in the
// message that is about to leave.
func (b *Broker) takeBackUnsent(e *jelly.Encoder) {
	for _, r := range e.Unsent() {
		b.takeBackRef(r)
	}
}

func (b *Broker) takeBackRef(r jelly.Ref) {
	switch {
	case r.Kind == jelly.RefExport && r.ID >= firstExport:
		_ = b.exports.release(r.ID, 1) // counted by Export a moment ago
	case r.Kind == jelly.RefStream:
		b.wire.EndStreams([]uint64{r.ID}, errUnsent)
	}
}

// lendAgain counts what raw, a part of an earlier message of this side's, lends as
// sent once more. It is false, and nothing is counted, if not all of it is lent still.
func (b *Broker) lendAgain(raw []byte) bool {
	var ids []uint64
	var f jelly.Finder
	f.Find(raw, func(r jelly.Ref) {
		if r.Kind == jelly.RefExport && r.ID >= firstExport {
			ids = append(ids, r.ID)
		}
	})
	for i, id := range ids {
		if !b.exports.sendAgain(id) {
			for _, id := range ids[:i] {
				_ = b.exports.release(id, 1) // counted a moment ago
			}
			return false
		}
	}
	return true
}

// takeBackAgain takes back what lendAgain counted.
func (b *Broker) takeBackAgain(raw []byte) {
	var f jelly.Finder
	f.Find(raw, func(r jelly.Ref) {
		if r.Kind == jelly.RefExport && r.ID >= firstExport {
			_ = b.exports.release(r.ID, 1) // counted by lendAgain
		}
	})
}

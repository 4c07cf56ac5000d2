package link

import (
	"encoding/binary"
	"errors"
	"io"

	"perspective/broker/message"
	"perspective/broker/wire"
)

// How the pieces of long messages are read: from the connection into the
// memory of the message, without the read buffer between.

const (
	// directMin is what must be missing of a piece for it to be read directly.
	directMin = 4 << 10
	// ownMin is the length from which a message that is not all there gets
	// memory of its own, which the values in it may then keep.
	ownMin = 16 << 10
	// modestRead is how much is read into the buffer while pieces come: the
	// beginning of the next one, whose rest can be read directly.
	modestRead = 4 << 10
	// modestTimes is how many reads after a piece are modest.
	modestTimes = 8
)

// piece is the PART that is being read, or the message. The zero value is none.
type piece struct {
	a     *assembly
	left  int  // bytes of it still to come
	last  bool // of a long message
	whole bool // a message that is not in pieces
}

// begins looks whether a large message begins that is not all there. If so it
// is read into memory of its own from here on: the rest of a long message's
// piece into that message, any other message where it stays.
func (s *inbound) begins() (bool, error) {
	p, cut := s.rest, len(s.whole)
	if cut > 0 && cut < message.MaxPartHead { // in its very head
		p = append(s.whole, p[:min(len(p), message.MaxPartHead-cut)]...)
	}
	if len(p) < message.MaxPartHead || cut >= message.MaxPartHead {
		return false, nil
	}
	l := int(binary.BigEndian.Uint32(p))
	if l < directMin || l > wholeSize {
		return false, nil
	}
	n, last, head, size := message.PartHead(p[message.LengthSize:])
	a := s.l.parts.byN[n]
	switch {
	case head > 0 && head+size == l && a != nil:
		if err := s.l.parts.goesOn(a); err != nil {
			return false, err
		}
		if err := s.l.parts.expect(a, size); err != nil {
			return false, err
		}
		s.piece = piece{a: a, left: size, last: last}
		s.modest = modestTimes
	case l >= ownMin && !s.l.stranger():
		s.piece = piece{a: &assembly{data: make([]byte, 0, l)}, left: l, whole: true}
		head = 0
	default:
		return false, nil
	}
	used := message.LengthSize + head
	if used < cut {
		s.piece.a.take(s.l, s.whole[used:])
		s.piece.left -= cut - used
		used = cut
	}
	s.rest = s.rest[used-cut:]
	s.whole = s.whole[:0]
	return true, nil
}

// take adds what came to the message, for which there is room.
func (a *assembly) take(l *Link, p []byte) {
	if a.over {
		l.session.Drop(&a.rest, p)
		return
	}
	a.data = append(a.data, p...)
}

// takePiece takes in what rest has of the piece.
func (s *inbound) takePiece(me *reader) error {
	k := min(s.piece.left, len(s.rest))
	s.piece.a.take(s.l, s.rest[:k])
	s.rest = s.rest[k:]
	return s.pieceCame(me, k)
}

func (s *inbound) pieceCame(me *reader, k int) error {
	if s.piece.left -= k; s.piece.left > 0 {
		return nil
	}
	p := s.piece
	s.piece = piece{}
	var err error
	switch {
	case p.whole:
		err = s.l.deliver(p.a.data, true)
	case p.last:
		err = s.l.parts.finish(p.a)
	}
	if err != nil {
		return err
	}
	if me.lost {
		return errLeft
	}
	return nil
}

// direct reads what the frame has of the piece into its message, if that is
// worth it. The buffer must be empty.
func (s *inbound) direct(me *reader) (done bool, err error) {
	size := min(s.piece.left, s.left)
	a := s.piece.a
	if size < directMin || a.over {
		return false, nil
	}
	s.i, s.n = 0, 0
	s.l.Flush()
	s.armStall()
	k, err := s.readTo(a.data[len(a.data) : len(a.data)+size])
	s.stall.Stop()
	if s.l.over.Load() {
		return true, wire.ErrClosed
	}
	if k > 0 {
		s.l.heard.Store(true)
	}
	s.n = max(k-size, 0) // the rest is behind the piece
	k -= s.n
	a.data = a.data[:len(a.data)+k]
	s.left -= k
	s.giveBack(k)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return true, err
	}
	return true, s.pieceCame(me, k)
}

// readTo reads once into p and, where that can be done, what comes behind into
// the buffer.
func (s *inbound) readTo(p []byte) (int, error) {
	if s.raw != nil {
		return s.raw.readTo(p)
	}
	return s.r.Read(p)
}

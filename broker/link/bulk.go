package link

import (
	"time"

	"perspective/broker/message"
	"perspective/jelly"
)

// How long messages are sent: in pieces that a write takes from where they
// lie, be that the caller's memory.
//
// The memory is lent until the socket has the bytes. Its owner waits for that,
// in recall, but not for long: then the rest is copied. So that it can be
// copied at any moment nothing reads lent memory but a system call that does
// not wait (vec.busy says so), and the holder of out.mu.

const (
	// LendMin is the length from which bytes are lent and not copied into the
	// message.
	LendMin = 8 << 10
	// lendTime is how long their owner waits for a peer that is slow.
	lendTime = 5 * time.Millisecond
	// batchSize is how much of long messages one write takes, so that a message
	// that comes meanwhile does not wait long.
	batchSize = 64 << 10
	// startBytes are those of the first lent slice that go with what is before
	// it: then a slice of 64 KiB makes two pieces, not three.
	startBytes = 1 << 10
	// batchPieces is how many pieces one write takes at most.
	batchPieces = 8
)

// longMessage is a message that goes in pieces.
type longMessage struct {
	n     uint32
	left  int
	segs  [][]byte // what is left
	room  [3][]byte
	after []byte // messages that must come after the last piece

	lent  bool          // segs are a caller's, which waits for them
	under int           // bytes in the write under way, of what is lent
	freed chan struct{} // if not nil, closed when nothing is lent any more
}

// free lets go of what was lent. Needs mu.
func (m *longMessage) free() {
	m.lent = false
	if m.freed != nil {
		close(m.freed)
	}
}

// cutOff takes up to k bytes from the front.
func (m *longMessage) cutOff(k int) []byte {
	s := m.segs[0]
	if len(s) > k {
		m.segs[0] = s[k:]
		return s[:k:k]
	}
	m.segs[0] = nil
	m.segs = m.segs[1:]
	return s
}

// vec is a write under way that has several slices.
type vec struct {
	segs [][]byte       // not written yet
	of   []*longMessage // whose lent memory segs[i] is; nil: ours
	busy bool           // a system call, which does not wait, reads segs
	room *vecRoom       // nil until a long message was sent
}

// vecRoom is the memory of most vecs.
type vecRoom struct {
	segs  [24][]byte
	of    [24]*longMessage
	heads [batchPieces * message.MaxPartHead]byte // of the pieces; segs point here
}

// begin begins a write with b, which may be put there later. It is true for the
// first one.
func (v *vec) begin(b []byte) (first bool) {
	if v.room == nil {
		v.room, first = new(vecRoom), true
	}
	v.segs, v.of = append(v.room.segs[:0], b), append(v.room.of[:0], nil)
	return first
}

func (v *vec) add(s []byte, m *longMessage) {
	v.segs, v.of = append(v.segs, s), append(v.of, m)
	if m != nil {
		m.under += len(s)
	}
}

// advance takes off the first k bytes, which were written. Needs out.mu.
func (v *vec) advance(k int) {
	i := 0
	for ; i < len(v.segs) && k >= len(v.segs[i]); i++ {
		k -= len(v.segs[i])
		v.wrote(v.of[i], len(v.segs[i]))
		v.segs[i], v.of[i] = nil, nil
	}
	v.segs, v.of = v.segs[i:], v.of[i:]
	if k > 0 {
		v.wrote(v.of[0], k)
		v.segs[0] = v.segs[0][k:]
	}
}

func (*vec) wrote(m *longMessage, k int) {
	if m == nil {
		return
	}
	if m.under -= k; m.under == 0 && m.left == 0 {
		m.free()
	}
}

// drop forgets the write.
func (v *vec) drop() {
	clear(v.segs)
	clear(v.of)
	v.segs, v.of = nil, nil
}

// lend is put for a message that lies in several places. Of a short one nothing
// is kept. A long one is returned: what it lies in belongs to the connection
// until recall returns. Needs mu.
func (o *outbound) lend(e *jelly.Encoder, at *uint64) (*longMessage, error) {
	size := e.Size()
	message.PutLength(e.Buffer(), size)
	if err := o.refuses(); err != nil {
		return nil, err
	}
	if at != nil {
		*at = o.appended + 1
	}
	defer o.pause()
	if size-message.LengthSize <= wholeSize {
		var room [4][]byte
		for _, s := range e.Segments(room[:0]) {
			o.buf = append(o.buf, s...)
		}
		o.appended += uint64(size) //nolint:gosec // not negative
		return nil, nil
	}
	m := &longMessage{left: size - message.LengthSize, lent: true}
	m.segs = e.Segments(m.room[:0])
	m.segs[0] = m.segs[0][message.LengthSize:]
	o.addLong(m, len(m.segs[0])+startBytes)
	return m, nil
}

// addLong gives a long message its place: its first start bytes, about, go with
// the short messages. Needs mu.
func (o *outbound) addLong(m *longMessage, start int) {
	o.longSeq++
	m.n = o.longSeq
	o.long = append(o.long, m)
	k := min(start, startPiece, m.left)
	m.left -= k
	o.longLeft += m.left
	before := len(o.buf)
	o.buf = message.AppendPartHead(o.buf, m.n, false, k)
	for k > 0 {
		s := m.cutOff(k)
		o.buf = append(o.buf, s...)
		k -= len(s)
	}
	o.appended += uint64(len(o.buf) - before) //nolint:gosec // it has grown
}

// recall returns when nothing reads any more what was lent for m: it is with
// the socket or, if given is closed or the peer is slow, copied.
func (o *outbound) recall(given <-chan struct{}, m *longMessage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if m.lent && o.err == nil {
		m.freed = make(chan struct{})
		o.mu.Unlock()
		t := time.NewTimer(lendTime)
		select {
		case <-m.freed:
		case <-t.C:
		case <-given:
		}
		t.Stop()
		o.mu.Lock()
	}
	for m.lent && o.vec.busy {
		o.recalls++
		o.changed.Wait()
		o.recalls--
	}
	if !m.lent || o.err != nil {
		return
	}
	m.freed = nil
	m.lent = false
	own := make([]byte, 0, m.left+m.under)
	keep := func(s []byte) []byte {
		at := len(own)
		own = append(own, s...)
		return own[at:len(own):len(own)]
	}
	for i, x := range o.vec.of {
		if x == m {
			o.vec.segs[i], o.vec.of[i] = keep(o.vec.segs[i]), nil
		}
	}
	for i, s := range m.segs {
		m.segs[i] = keep(s)
	}
	m.under = 0
}

// compose adds pieces of the long messages to the write that begins with size
// bytes of messages, and gives the bytes of messages that it has then. Needs mu.
func (o *outbound) compose(size int) int {
	room := int(min(o.credit, int64(size+batchSize)))
	v := &o.vec
	heads := v.room.heads[:0]
	for range batchPieces {
		if len(o.long) == 0 {
			break
		}
		m := o.long[0]
		whole := min(m.left, pieceSize)
		k := min(whole, room-size-message.MaxPartHead)
		if k <= 0 || k < whole && len(heads) > 0 {
			break // the next write has it in one
		}
		at := len(heads)
		heads = message.AppendPartHead(heads, m.n, k == m.left, k)
		v.add(heads[at:], nil)
		size += len(heads) - at + k
		o.appended += uint64(len(heads) - at + k) //nolint:gosec // not negative
		m.left -= k
		o.longLeft -= k
		lender := m
		if !m.lent {
			lender = nil
		}
		for k > 0 {
			s := m.cutOff(k)
			v.add(s, lender)
			k -= len(s)
		}
		if m.left == 0 {
			o.longGone(m)
		}
	}
	return size
}

// longGone says that the first long message has its last piece in a write.
// Needs mu.
func (o *outbound) longGone(m *longMessage) {
	o.buf = append(o.buf, m.after...)
	o.appended += uint64(len(m.after))
	m.after = nil
	o.long[0] = nil
	if o.long = o.long[1:]; len(o.long) == 0 {
		o.long = nil
	}
	o.longDone.Store(m.n)
}

// beginVec lends the write under way to a system call; nil if the connection
// has ended. endVec must follow.
func (o *outbound) beginVec() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		o.vec.drop()
		return nil
	}
	o.vec.busy = true
	return o.vec.segs
}

// endVec says how much of it the system call has taken; done is true if that
// was all, or the connection has ended.
func (o *outbound) endVec(n int) (done bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.vec.busy = false
	o.vec.advance(max(n, 0))
	if o.err != nil {
		o.vec.drop()
	}
	if o.recalls > 0 {
		o.changed.Broadcast()
	}
	return len(o.vec.segs) == 0
}

// vecUnderWay reports whether there is one. The writer calls it.
func (o *outbound) vecUnderWay() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.vec.segs) > 0
}

// pushVec writes what the socket takes of the write under way at once. It is
// false if drain goes on with the rest, or the connection has ended.
func (o *outbound) pushVec() bool {
	done, err := o.raw.tryVec()
	if err != nil {
		o.l.writeFailed(err)
		return false
	}
	if done {
		return true
	}
	o.mu.Lock()
	if o.err == nil {
		o.startDrain(nil)
	}
	o.mu.Unlock()
	return false
}

// drainVec writes the write under way, waiting for the peer. What it waits with
// is not lent any more, or may be copied meanwhile.
func (o *outbound) drainVec() error {
	if o.raw != nil && !o.raw.seals() {
		o.armStall()
		err := o.raw.waitVec()
		o.stall.Stop()
		return err
	}
	own := readBuffers.Get().(*[readBufferMax]byte)
	defer readBuffers.Put(own)
	for {
		k := o.copyVec(own[:blockSize])
		if k == 0 {
			return nil
		}
		if err := o.block(own[:k]); err != nil {
			return err
		}
	}
}

// copyVec takes what fits into p off the write under way.
func (o *outbound) copyVec(p []byte) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.vec.segs {
		n += copy(p[n:], s)
	}
	o.vec.advance(n)
	return n
}

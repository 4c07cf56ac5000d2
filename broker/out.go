package broker

import (
	"encoding/binary"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// out is the sending half of a connection: messages wait in one buffer and
// leave as one frame and one write.
//
// Invariants, for who edits this file:
//   - Whoever set flushing may write to the connection, and nobody else; the
//     role ends in take (nothing left) or with the connection.
//   - Nothing here blocks but drain, which has a goroutine of its own, and
//     foreign, which the yamux session's sender waits in.
//   - buf always begins with headerSize bytes for the frame's header.
//   - A long message's pieces leave in the order of the long messages, one
//     message at a time after its first piece, so that what is said after a
//     message (RELEASE, FINISH) can wait for its last piece in after.
type out struct {
	b   *Broker
	w   io.Writer
	raw *rawWriter // nil where the connection has no descriptor of its own

	mu       sync.Mutex
	role     sync.Cond // on mu: flushing became false, or frames were taken
	buf      []byte
	spare    []byte
	first    []byte // the preface, before everything
	control  []byte // whole frames that are not the call stream's data
	frames   []byte // whole frames of byte streams; they leave before the messages that mention them
	long     []*longMessage
	longSeq  uint32
	longLeft int
	credit   int64 // what the peer lets us send on the call stream
	open     bool  // the call stream may be written to
	flushing bool
	taken    int    // bytes in the write under way
	appended uint64 // bytes of messages ever put into buf
	handed   uint64 // of these, given to a write
	err      error
	stall    *time.Timer
	paused   atomic.Bool // too much waits: the peer's calls are not started
}

// longMessage is a message that goes in pieces.
type longMessage struct {
	n     uint32
	rest  []byte
	after []byte // messages that must come after the last piece
}

func (o *out) init(b *Broker, w io.Writer) {
	o.b, o.w, o.raw = b, w, newRawWriter(w)
	o.role.L = &o.mu
	o.buf = make([]byte, headerSize, 1<<10)
	o.credit = yamuxWindow
}

// waiting is how many bytes of messages are not written yet.
func (o *out) waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.backlog()
}

// backlog needs mu.
func (o *out) backlog() int { return len(o.buf) - headerSize + o.taken + o.longLeft }

// send puts a message, 4 bytes for its length in front, at the end of what
// waits. It keeps msg only if the message is long, and says so. at, if not nil,
// gets 1 + the message's position in the stream of all messages.
func (o *out) send(msg []byte, at *atomic.Uint64) (kept bool, err error) {
	binary.BigEndian.PutUint32(msg, uint32(len(msg)-4)) //nolint:gosec // messages are at most 4 GiB: Limits.Message is checked
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return false, o.err
	}
	if at != nil {
		at.Store(o.appended + 1)
	}
	if len(msg)-4 <= wholeSize {
		o.buf = append(o.buf, msg...)
		o.appended += uint64(len(msg))
		return false, nil
	}
	o.longSeq++
	m := &longMessage{n: o.longSeq, rest: msg[4:]}
	o.long = append(o.long, m)
	o.longLeft += len(m.rest)
	o.piece(m, startPiece)
	return true, nil
}

// sendAfter puts a message after the last piece of every long one that waits.
// It causes no write.
func (o *out) sendAfter(msg []byte) {
	binary.BigEndian.PutUint32(msg, uint32(len(msg)-4)) //nolint:gosec // a few bytes
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.long); n > 0 {
		o.long[n-1].after = append(o.long[n-1].after, msg...)
		return
	}
	o.buf = append(o.buf, msg...)
	o.appended += uint64(len(msg))
}

// piece moves up to size bytes of m into buf as a PART. Needs mu.
func (o *out) piece(m *longMessage, size int) {
	k := min(size, len(m.rest))
	before := len(o.buf)
	o.buf = appendPart(o.buf, m.n, k == len(m.rest), m.rest[:k])
	m.rest = m.rest[k:]
	o.longLeft -= k
	o.appended += uint64(len(o.buf) - before)
}

// refill moves pieces of the first long messages into buf. Needs mu.
func (o *out) refill() {
	for len(o.long) > 0 && len(o.buf) < wholeSize {
		m := o.long[0]
		o.piece(m, pieceSize)
		if len(m.rest) > 0 {
			continue
		}
		o.buf = append(o.buf, m.after...)
		o.appended += uint64(len(m.after))
		o.long[0] = nil
		o.long = o.long[1:]
	}
}

// frame puts a whole frame, not of the call stream's data, to leave with the
// next flush.
func (o *out) frame(h header) {
	o.mu.Lock()
	o.control = appendHeader(o.control, h)
	o.mu.Unlock()
}

// grant takes in n bytes more that the peer lets us send.
func (o *out) grant(n uint32) error {
	o.mu.Lock()
	o.credit += int64(n)
	over := o.credit > 1<<32
	o.mu.Unlock()
	if over {
		return violation("window grants of over 4 GiB")
	}
	o.flush()
	return nil
}

// opened lets the call stream be written to.
func (o *out) opened() {
	o.mu.Lock()
	o.open = true
	o.mu.Unlock()
}

// ready reports whether there is something that may be written. Needs mu.
func (o *out) ready() bool {
	return len(o.first) > 0 || len(o.control) > 0 || len(o.frames) > 0 || o.open && o.credit > 0 && (len(o.buf) > headerSize || len(o.long) > 0)
}

// flush writes what waits, or sees to it that somebody does. It never blocks.
func (o *out) flush() {
	o.mu.Lock()
	if o.flushing || o.err != nil || !o.ready() {
		o.mu.Unlock()
		return
	}
	o.flushing = true
	if o.raw == nil {
		o.startDrain(nil)
		o.mu.Unlock()
		return
	}
	o.mu.Unlock()
	if o.b.busy() {
		runtime.Gosched() // others that are about to send then share this write
	}
	o.push()
}

// flushSoon has what waits written by another goroutine, for a caller with
// more to do.
func (o *out) flushSoon() {
	o.mu.Lock()
	if !o.flushing && o.err == nil && o.ready() {
		o.flushing = true
		o.startDrain(nil)
	}
	o.mu.Unlock()
}

// push writes without blocking until nothing is left, or hands what the
// socket does not take to drain. The caller has the flushing role.
func (o *out) push() {
	for {
		o.mu.Lock()
		b := o.take()
		o.mu.Unlock()
		if b == nil {
			o.b.unpause()
			return
		}
		n, err := o.raw.try(b)
		if err != nil {
			o.b.end(writeError(err))
			return
		}
		if n < len(b) {
			o.mu.Lock()
			if o.err == nil {
				o.startDrain(b[n:])
			}
			o.mu.Unlock()
			return
		}
	}
}

// startDrain needs mu, the flushing role and a living connection.
func (o *out) startDrain(rest []byte) {
	o.b.wg.Go(func() { o.drain(rest) }) // ends when nothing is left to write, or the connection ends
}

// drain writes rest and then all that waits, blocking.
func (o *out) drain(rest []byte) {
	for {
		if len(rest) == 0 {
			if o.b.busy() {
				runtime.Gosched()
			}
			o.mu.Lock()
			rest = o.take()
			o.mu.Unlock()
			if rest == nil {
				o.b.unpause()
				return
			}
		}
		for len(rest) > 0 {
			k := min(len(rest), yamuxWindow)
			if err := o.block(rest[:k]); err != nil {
				o.b.end(writeError(err))
				return
			}
			rest = rest[k:]
		}
	}
}

// block writes b; the connection ends if the peer takes none of it in time.
// The caller has the flushing role.
func (o *out) block(b []byte) error {
	if o.stall == nil {
		o.stall = time.AfterFunc(o.b.limits.WriteStall, func() { o.b.end(ErrSlowReader) })
	} else {
		o.stall.Reset(o.b.limits.WriteStall)
	}
	_, err := o.w.Write(b)
	o.stall.Stop()
	return err
}

// take gives the next bytes to write, or nil and ends the flushing role. The
// slice is valid until the next take. Needs mu.
func (o *out) take() []byte {
	if o.taken > 0 || o.err != nil {
		o.taken = 0
	}
	if o.err != nil || !o.ready() {
		o.flushing = false
		o.role.Broadcast()
		return nil
	}
	n := 0
	if o.open {
		o.refill()
		n = int(min(int64(len(o.buf)-headerSize), o.credit))
	}
	b := o.buf
	next := append(o.spare[:0], zeroHeader[:]...)
	next = append(next, b[headerSize+n:]...)
	if n > 0 {
		putHeader(b, header{kind: frameData, stream: callStream, length: uint32(n)}) //nolint:gosec // n <= credit
		b = b[:headerSize+n]
		o.credit -= int64(n)
		o.handed += uint64(n)
		o.taken = n
	} else {
		b = b[:0]
	}
	if len(o.frames) > 0 {
		b = append(o.frames, b...)
		o.frames = nil
		o.role.Broadcast()
	}
	b = append(b, o.control...)
	o.control = o.control[:0]
	if len(o.first) > 0 {
		b = append(o.first, b...)
		o.first = nil
	}
	o.buf, o.spare = next, nil
	if cap(b) <= 4*wholeSize {
		o.spare = b
	}
	return b
}

var zeroHeader [headerSize]byte

// foreign puts a frame of a byte stream to leave with the next write. It waits
// while streamBatch of such frames do, so that messages never stand behind
// more than that; only the yamux session's sender may wait here.
func (o *out) foreign(head, body []byte) error {
	o.mu.Lock()
	for len(o.frames) >= streamBatch && o.err == nil {
		o.role.Wait()
	}
	if o.err != nil {
		defer o.mu.Unlock()
		return o.err
	}
	o.frames = append(append(o.frames, head...), body...)
	o.mu.Unlock()
	o.flush()
	return nil
}

// fail ends the sending half.
func (o *out) fail(err error) {
	o.mu.Lock()
	if o.err == nil {
		o.err = err
	}
	o.role.Broadcast()
	o.mu.Unlock()
}

// wasHanded reports whether a byte of the message at pos was given to a write.
func (o *out) wasHanded(pos uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.handed > pos
}

package link

import (
	"runtime"
	"time"

	"perspective/broker/wire"
)

// Who writes.
//
// One goroutine at a time is the writer of a link: it alone writes to the connection. Any goroutine
// that has put something may become it, and writes what others put meanwhile, too.
//
//	          claim                         take: nothing is left
//	nobody ───────────▶ the one that put ──────────────────────────▶ nobody
//	                      │
//	                      │ startDrain: the socket is full, or it has written pushRounds times
//	                      ▼ for others, or the connection has no descriptor
//	                    drain's goroutine ──── take: nothing is left ──▶ nobody
//
//  1. flushing says that there is a writer. It is set by claim and FlushSoon, and cleared by take,
//     all under mu: what is put before is seen by the writer, what is put after finds no writer.
//  2. Between the two the writer owns the bytes that take gave it, vec and the descriptor. It holds
//     mu for none of the system calls.
//  3. Before it takes, it lets others put that are about to (gather), for they share the write.
//  4. At the end of the connection the writer finds err set, in take, and stops.

// Flush writes what waits, or leaves it to the goroutine that writes already. It never blocks.
func (l *Link) Flush() {
	o := &l.out
	o.mu.Lock()
	mine := o.claim()
	o.mu.Unlock()
	if mine {
		o.lead()
	}
}

// Written waits until the connection has taken what was put before: it was written, or the
// connection has ended, which is the error.
func (l *Link) Written() error {
	o := &l.out
	o.mu.Lock()
	defer o.mu.Unlock()
	//nolint:gosec // taken is a length
	for at := o.appended; o.err == nil && o.handed-uint64(o.taken) < at; {
		o.waiters++
		o.changed.Wait()
		o.waiters--
	}
	return o.err
}

// claim makes the caller the writer if there is something to write and no writer. It is false too
// where the writing is drain's, which it starts. Needs mu.
func (o *outbound) claim() bool {
	if o.flushing || o.err != nil || !o.ready() {
		return false
	}
	o.flushing = true
	if o.raw == nil {
		o.startDrain(nil)
		return false
	}
	return true
}

// lead writes what waits, with the messages of others that are about to send.
// The caller is the writer.
func (o *outbound) lead() {
	o.gather()
	o.push()
}

// gatherRounds is how often others are let go first, at most.
const gatherRounds = 8

// gather lets others that are about to send go first, for as long as some do: they
// share the write.
func (o *outbound) gather() {
	if !o.l.session.Busy() {
		return
	}
	for before, n := uint64(0), gatherRounds; n > 0; n-- {
		o.mu.Lock()
		now := o.appended
		o.mu.Unlock()
		if now == before {
			return
		}
		before = now
		runtime.Gosched()
	}
}

// FlushSoon has what waits written by another goroutine, for a caller with more to do.
func (l *Link) FlushSoon() {
	o := &l.out
	o.mu.Lock()
	if !o.flushing && o.err == nil && o.ready() {
		o.flushing = true
		o.startDrain(nil)
	}
	o.mu.Unlock()
}

// pushRounds is how many writes one flush does for others before a goroutine
// of its own goes on: the caller has work of its own.
const pushRounds = 8

// push writes without blocking until nothing is left, or hands what the
// socket does not take to drain. The caller has the flushing role.
func (o *outbound) push() {
	for range pushRounds {
		b, vec := o.next()
		if b == nil {
			return
		}
		if vec {
			if !o.pushVec() {
				return
			}
			continue
		}
		n, all, err := o.raw.try(b)
		if err != nil {
			o.l.writeFailed(err)
			return
		}
		if !all {
			o.mu.Lock()
			if o.err == nil {
				o.startDrain(b[n:])
			}
			o.mu.Unlock()
			return
		}
	}
	o.mu.Lock()
	if o.err == nil {
		o.startDrain(nil)
	}
	o.mu.Unlock()
}

// next gives the next bytes to write, or nil and ends the flushing role. vec is
// true if they are only the first of those in o.vec.
func (o *outbound) next() (b []byte, vec bool) {
	o.mu.Lock()
	b, vec = o.take(), len(o.vec.segs) > 0
	resume := o.paused.Load() && o.backlog() <= pauseQueued/2
	if resume {
		o.paused.Store(false)
	}
	o.mu.Unlock()
	if resume {
		o.l.session.Resume()
	}
	return b, vec
}

// startDrain needs mu, the flushing role and a living connection.
func (o *outbound) startDrain(rest []byte) {
	// ends when nothing is left to write, or the connection ends
	o.l.wg.Go(func() { o.drain(rest) })
}

// blockSize is how much of what waits must be taken within Limits.WriteStall.
const blockSize = 64 << 10

// drain writes rest and then all that waits, blocking.
func (o *outbound) drain(rest []byte) {
	if o.raw.holds() {
		if err := o.block(nil); err != nil {
			o.l.writeFailed(err)
			return
		}
	}
	for {
		vec := len(rest) == 0 && o.vecUnderWay()
		if len(rest) == 0 && !vec {
			o.gather()
			if rest, vec = o.next(); rest == nil {
				return
			}
		}
		if vec {
			if err := o.drainVec(); err != nil {
				o.l.writeFailed(err)
				return
			}
			rest = nil
			continue
		}
		for len(rest) > 0 {
			k := min(len(rest), blockSize)
			if err := o.block(rest[:k]); err != nil {
				o.l.writeFailed(err)
				return
			}
			rest = rest[k:]
		}
	}
}

// block writes b; the connection ends if the peer takes none of it in time.
// The caller is the writer.
func (o *outbound) block(b []byte) error {
	o.armStall()
	_, err := o.w.Write(b)
	o.stall.Stop()
	return err
}

// armStall ends the connection if the peer takes nothing for Limits.WriteStall
// from now on.
func (o *outbound) armStall() {
	if o.stall == nil {
		o.stall = time.AfterFunc(o.l.limits.WriteStall,
			func() { o.l.session.End(wire.ErrSlowReader) })
		return
	}
	o.stall.Reset(o.l.limits.WriteStall)
}

// take gives the next bytes to write, or nil and ends the flushing role. The
// slice is valid until the next take. Needs mu.
func (o *outbound) take() []byte {
	if o.taken > 0 || o.err != nil {
		o.taken = 0
	}
	if o.err != nil || !o.ready() {
		o.watchWindow()
		o.flushing = false
		if o.tally.Counted() {
			o.count()
		}
		o.changed.Broadcast()
		return nil
	}
	n, long := 0, false
	if o.open {
		n = int(min(int64(len(o.buf)-headerSize), o.credit))
		long = len(o.long) > 0 && n == len(o.buf)-headerSize
	}
	b := o.cut(n)
	if long {
		b, n = o.withLong(b, n)
	}
	if n > 0 {
		putHeader(b, header{kind: frameData, stream: callStream, length: uint32(n)})
		o.credit -= int64(n)
		o.handed += uint64(n)
		o.taken = n
	}
	if !long {
		b = append(b, o.control...)
		o.control = o.control[:0]
	}
	o.spare = nil
	if cap(b) <= 4*wholeSize {
		o.spare = b
	}
	if o.tally.Counted() {
		o.count()
	}
	if o.waiters > 0 {
		o.changed.Broadcast() // there may be room now
	}
	if len(o.frames) > 0 {
		b = append(o.frames, b...)
		o.frames, o.spareF = o.spareF, nil
		if cap(b) <= 4*wholeSize {
			o.spareF = b[:0]
		}
		o.changed.Broadcast()
	}
	if len(o.first) > 0 {
		b = append(o.first, b...)
		o.first = nil
	}
	if long {
		o.vec.segs[0] = b
	}
	if o.owed = false; b == nil {
		b = nothing // and yet something: crypto/tls has written
	}
	return b
}

var nothing = []byte{}

// owe has what crypto/tls wrote while it read leave: n bytes wait of that.
func (o *outbound) owe(n int) {
	if n > o.l.queuedLimit() {
		o.l.session.End(wire.ErrSlowReader)
		return
	}
	o.mu.Lock()
	o.owed = true
	mine := o.claim()
	o.mu.Unlock()
	if mine {
		o.lead()
	}
}

// withLong is the part of take for long messages: what follows b, which begins
// with n bytes of messages behind their header, comes into vec. Needs mu.
func (o *outbound) withLong(b []byte, n int) ([]byte, int) {
	if n == 0 {
		b = append(b, zeroHeader[:]...)
	}
	if o.vec.begin(b) && o.raw != nil {
		o.raw.forVec(o)
	}
	if n = o.compose(n); n == 0 {
		b = b[:0] // there is no window; something else is to be written
	}
	if len(o.control) > 0 {
		o.vec.add(o.control, nil)
		o.control, o.spareC = o.spareC[:0], o.control
	}
	return b, n
}

// cut takes the first n bytes of the messages out of buf, with room for a
// header before them; if n is 0, nothing. What is left is not copied however
// much it is: the header of the next frame goes over bytes that were taken.
func (o *outbound) cut(n int) []byte {
	rest := len(o.buf) - headerSize - n
	switch {
	case n == 0:
		return o.spare[:0]
	case rest == 0:
		b := o.buf
		//nolint:gocritic // what was spare is the next buf
		o.buf = append(o.spare[:0], zeroHeader[:]...)
		return b
	}
	b := append(o.spare[:0], o.buf[:headerSize+n]...) //nolint:gocritic // a copy of what is taken
	o.buf = o.buf[n:]
	return b
}

// watchWindow ends the connection if the peer takes the bytes but gives no
// window for more: it reads, and does not go on. Needs mu.
func (o *outbound) watchWindow() {
	if o.err != nil || !o.open || o.worth() || o.shut != nil || o.backlog() == 0 {
		return
	}
	o.granted = 0
	// stopped by grant and fail
	o.shut = time.AfterFunc(o.l.limits.WriteStall, func() { o.l.session.End(wire.ErrSlowReader) })
}

var zeroHeader [headerSize]byte

// foreign puts a frame of a byte stream to leave with the next write. It waits
// while streamBatch of such frames do, so that messages never stand behind
// more than that; only the yamux session's sender may wait here.
func (o *outbound) foreign(head, body []byte) error {
	o.mu.Lock()
	for len(o.frames) >= streamBatch && o.err == nil {
		o.changed.Wait()
	}
	if o.err != nil {
		defer o.mu.Unlock()
		return o.err
	}
	o.frames = append(append(o.frames, head...), body...)
	o.mu.Unlock()
	o.l.Flush()
	return nil
}

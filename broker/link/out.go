package link

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"perspective/broker/budget"
	"perspective/broker/message"
	"perspective/broker/wire"
	"perspective/jelly"
)

// outbound is the sending half of a connection: messages wait in one buffer and
// leave as one frame and one write.
//
// Invariants:
//   - The goroutine that set flushing is the writer: it alone may write to the connection. The role
//     ends in take (nothing left) or with the connection.
//   - Nothing here blocks but drain, which has a goroutine of its own, and
//     foreign, which the yamux session's sender waits in.
//   - buf always begins with headerSize bytes for the frame's header.
//   - What a caller has lent for a long message is read only as bulk.go says.
//   - A long message's pieces leave in the order of the long messages, one
//     message at a time after its first piece, so that what is said after a
//     message (RELEASE, FINISH) can wait for its last piece in after.
type outbound struct {
	l   *Link
	w   io.Writer
	raw *rawWriter // nil where the connection has no descriptor of its own

	mu      sync.Mutex
	changed sync.Cond // on mu: flushing became false, or frames were taken
	buf     []byte
	spare   []byte
	first   []byte // the preface, before everything
	control []byte // whole frames that are not the call stream's data
	// frames are whole frames of byte streams. They leave before the messages that mention them.
	frames   []byte
	spareF   []byte
	spareC   []byte
	vec      vec // a write under way with pieces of long messages
	recalls  int // callers that wait for a system call to be done with lent memory
	long     []*longMessage
	longSeq  uint32
	longLeft int
	// longDone is of the last long message that is wholly in buf, with what had to wait for it.
	longDone atomic.Uint32
	credit   int64  // what the peer lets us send on the call stream
	widest   widest // that credit was
	open     bool   // the call stream may be written to
	owed     bool   // crypto/tls has written while it read, and that waits
	flushing bool
	granted  int64  // window, since it ran out
	taken    int    // bytes in the write under way
	appended uint64 // bytes of messages ever put into buf
	handed   uint64 // of these, given to a write
	answers  uint64 // RETURNs sent, ever
	away     bool   // GOAWAY is in buf, or came: no CALL may follow
	last     error  // if not nil, the last message is in buf, and why: none may follow
	err      error
	stall    *time.Timer  // of the write under way
	shut     *time.Timer  // runs while the peer's window is all that is waited for
	looked   atomic.Bool  // a goroutine is looking whether too much waits
	waiters  int          // goroutines that wait for room; under mu
	hinted   int          // hint, under mu
	hint     atomic.Int64 // backlog, as it was at the last send; 0 if it was under flushSize
	tally    budget.Tally // of what waits; under mu
	paused   atomic.Bool  // too much waits: the peer's calls are not started; set under mu
}

func (o *outbound) init(l *Link, w io.Writer) {
	o.l, o.w, o.raw = l, w, newRawWriter(&l.in, w)
	o.changed.L = &o.mu
	o.buf = make([]byte, headerSize, 1<<10)
	o.credit = yamuxWindow
}

// Waiting is how many bytes of messages are not written yet.
func (l *Link) Waiting() int {
	o := &l.out
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.backlog()
}

// shorts is how many bytes wait of messages that are not long.
func (o *outbound) shorts() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.buf) - headerSize
}

// backlog needs mu.
func (o *outbound) backlog() int { return len(o.buf) - headerSize + o.taken + o.longLeft }

// Send puts a short message, LengthSize bytes for its length in front, at the end of what waits.
func (l *Link) Send(msg []byte) error {
	o := &l.out
	o.mu.Lock()
	defer o.mu.Unlock()
	_, err := o.put(msg, nil)
	return err
}

// Call puts a CALL and flushes, with one look at the lock. What e lends is read until Call
// returns. at, if not nil, is as in put.
func (l *Link) Call(ctx context.Context, e *jelly.Encoder, at *uint64) (kept bool, err error) {
	o := &l.out
	o.mu.Lock()
	if o.away {
		o.mu.Unlock()
		return false, wire.ErrGoingAway
	}
	var m *longMessage
	if lends(e) {
		m, err = o.lend(e, at)
	} else {
		kept, err = o.put(e.Buffer(), at)
	}
	mine := o.claim()
	o.mu.Unlock()
	if mine {
		o.lead()
	}
	if m != nil {
		o.recall(ctx.Done(), m)
	}
	return kept, err
}

// lends reports whether e has bytes that are not in its buffer.
func lends(e *jelly.Encoder) bool { return e.Size() > e.Len() }

// Answer puts a RETURN, and does not flush. If it may wait it does so until no more than
// Limits.Queued waits, for no credit bounds the answers of methods: between the look and the
// message nobody else's comes, and a peer that takes nothing ends the connection meanwhile.
// counted says that Answers counts it. What e lends is read until Answer returns.
func (l *Link) Answer(e *jelly.Encoder, wait, counted bool) (kept bool, err error) {
	o := &l.out
	o.mu.Lock()
	var m *longMessage
	if lends(e) {
		if wait {
			o.room(l.limits.Queued)
		}
		m, err = o.lend(e, nil)
	} else {
		if wait {
			limit := l.queuedLimit()
			// it must not be over the limit itself, which would be the peer's end: see crowded
			if n := e.Len(); n-message.LengthSize <= wholeSize {
				limit = max(limit-n, 0)
			}
			o.room(limit)
		}
		kept, err = o.put(e.Buffer(), nil)
	}
	if counted {
		o.answers++
	}
	mine := m != nil && o.claim()
	o.mu.Unlock()
	if mine {
		o.lead()
	}
	if m != nil {
		o.recall(nil, m)
	}
	return kept, err
}

// Answers is how many RETURNs were put and counted, ever.
func (l *Link) Answers() uint64 {
	o := &l.out
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.answers
}

// put is send for a message of any length. It keeps msg only if the message is
// long, and says so. at, if not nil, gets 1 + the message's position in the stream
// of all messages. Needs mu.
func (o *outbound) put(msg []byte, at *uint64) (kept bool, err error) {
	message.PutLength(msg, len(msg))
	if err := o.refuses(); err != nil {
		return false, err
	}
	if at != nil {
		*at = o.appended + 1
	}
	if len(msg)-4 <= wholeSize {
		o.buf = append(o.buf, msg...)
		o.appended += uint64(len(msg))
		o.pause()
		return false, nil
	}
	m := &longMessage{left: len(msg) - message.LengthSize}
	m.segs = append(m.room[:0], msg[message.LengthSize:])
	o.addLong(m, startPiece)
	o.pause()
	return true, nil
}

// refuses is why no message may be put any more. Needs mu.
func (o *outbound) refuses() error {
	if o.err != nil {
		return o.err
	}
	return o.last
}

// AwaitRoom waits until no more than limit waits, or the connection has ended.
func (l *Link) AwaitRoom(limit int) {
	o := &l.out
	if o.hint.Load() <= int64(limit) {
		return // since then it has only become less
	}
	o.mu.Lock()
	o.room(limit)
	o.mu.Unlock()
}

// room is AwaitRoom. Needs mu.
func (o *outbound) room(limit int) {
	o.waiters++
	for !o.roomy(limit) {
		o.changed.Wait()
	}
	o.waiters--
}

// roomy reports that nobody has to wait for room. Needs mu.
func (o *outbound) roomy(limit int) bool {
	return o.err != nil ||
		o.backlog() <= limit && (o.backlog() <= budget.Floor || !o.l.account.Crowded())
}

// HasRoom is AwaitRoom without waiting.
func (l *Link) HasRoom(limit int) bool {
	o := &l.out
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.roomy(limit)
}

// crowded ends the connection, soon, if too many short messages wait that
// nobody waits with: refusals, pongs, credits. Needs mu.
func (o *outbound) crowded() {
	if len(o.buf) <= o.l.queuedLimit() || o.err != nil || o.looked.Swap(true) {
		return
	}
	o.l.wg.Go(func() { // ends at once
		o.l.session.Crowded(o.shorts())
		o.looked.Store(false)
	})
}

// pause stops the peer's calls from being started while much waits to be
// written to it. Needs mu.
func (o *outbound) pause() {
	n := o.backlog()
	if n < flushSize && o.hinted == 0 {
		return
	}
	if n < flushSize {
		n = 0
	}
	o.hinted = n
	o.hint.Store(int64(n))
	o.crowded()
	o.count()
	if n > pauseQueued || n > budget.Floor && o.l.account.Crowded() {
		o.paused.Store(true)
	}
}

// count has what waits in the account. Needs mu.
func (o *outbound) count() { o.tally.Force(o.l.account, int64(o.backlog())*budget.Times) }

// After puts a message after the last piece of every long one that waits. It causes no write. long
// is 0, or the long message that goes before: until LastLong says so, this message has not taken
// its place.
func (l *Link) After(msg []byte) (long uint32) {
	o := &l.out
	message.PutLength(msg, len(msg))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refuses() != nil {
		return 0
	}
	if n := len(o.long); n > 0 {
		m := o.long[n-1]
		m.after = append(m.after, msg...)
		return m.n
	}
	o.buf = append(o.buf, msg...)
	o.appended += uint64(len(msg))
	o.crowded()
	return 0
}

// LastLong is the last long message that has wholly left.
func (l *Link) LastLong() uint32 { return l.out.longDone.Load() }

// Much reports whether so much waits that it is worth a write of its own, as it was at the last
// message.
func (l *Link) Much() bool { return l.out.hint.Load() >= flushSize }

// Paused reports whether too much waits for calls of the peer's to begin.
func (l *Link) Paused() bool { return l.out.paused.Load() }

// frame puts a whole frame, not of the call stream's data, to leave with the
// next flush.
func (o *outbound) frame(h header) {
	o.mu.Lock()
	if o.err == nil {
		o.control = appendHeader(o.control, h)
	}
	o.mu.Unlock()
}

// grant takes in n bytes more that the peer lets us send.
// idle says that the peer gives little where it had not to: the window gets larger than it ever
// was.
func (o *outbound) grant(n uint32) (idle bool, err error) {
	o.mu.Lock()
	o.credit += int64(n)
	idle = o.widest.grow(o.credit, int64(n))
	o.granted += int64(n)
	if o.shut != nil && o.granted >= worthwhile {
		o.shut.Stop()
		o.shut = nil
	}
	over := o.credit > 1<<32
	o.mu.Unlock()
	if over {
		return false, message.Violation("window grants of over 4 GiB")
	}
	o.l.Flush()
	return idle, nil
}

// A widest is the most that the peer ever let us send at a time, over yamux's window.
type widest int64

// grow takes in what it lets us send now that it has given n bytes more, and reports whether that
// is little and makes it more than ever.
func (w *widest) grow(credit, n int64) bool {
	if credit <= max(int64(*w), yamuxWindow) {
		return false
	}
	*w = widest(credit)
	return n < littleGrant
}

// littleGrant is less than any honest peer gives that makes a window larger.
const littleGrant = 4 << 10

// opened lets the call stream be written to.
func (o *outbound) opened() {
	o.mu.Lock()
	o.open = true
	o.mu.Unlock()
}

// worth reports whether the window is worth a frame: what the peer gives in
// drops is gathered. Needs mu.
func (o *outbound) worth() bool {
	return o.credit >= worthwhile ||
		o.credit > 0 && int64(o.backlog()+len(o.long)*message.MaxPartHead) <= o.credit
}

// worthwhile is the window that a peer must give within Limits.WriteStall
// once it has let it run out: a byte now and then is no reading.
const worthwhile = 16 << 10

// ready reports whether there is something that may be written. Needs mu.
func (o *outbound) ready() bool {
	return o.owed || len(o.first) > 0 || len(o.control) > 0 || len(o.frames) > 0 ||
		o.open && o.worth() && (len(o.buf) > headerSize || len(o.long) > 0)
}

// failed reports whether the sending half has ended.
func (o *outbound) failed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err != nil
}

// fail ends the sending half.
func (o *outbound) fail(err error) {
	o.mu.Lock()
	if o.err == nil {
		o.err = err
		o.long, o.longLeft, o.control, o.frames = nil, 0, nil, nil
		if !o.vec.busy {
			o.vec.drop()
		}
		o.buf, o.spare, o.taken = make([]byte, headerSize), nil, 0
		o.count()
	}
	if o.shut != nil {
		o.shut.Stop()
	}
	o.changed.Broadcast()
	o.mu.Unlock()
}

// WasPut reports whether the message that Call gave *at for waits to be written, or was.
func (l *Link) WasPut(at *uint64) bool {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	return *at != 0
}

// WasHanded reports whether a byte of the message that Call gave *at for was given to a write.
func (l *Link) WasHanded(at *uint64) bool {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	return *at != 0 && l.out.handed >= *at
}

// GoAway puts GOAWAY, after which no CALL is sent.
func (l *Link) GoAway() {
	o := &l.out
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = o.put(message.Small(message.GoAway, 0), nil) // an error is the connection's end
	o.away = true
}

// NoCalls has no CALL sent from now on.
func (l *Link) NoCalls() {
	l.out.mu.Lock()
	l.out.away = true
	l.out.mu.Unlock()
}

// LastWords puts a message after which none is sent, and waits for d at most until it is written.
// What was to follow of long messages is dropped.
func (l *Link) LastWords(msg []byte, reason error, d time.Duration) {
	if !l.out.lastWords(msg, reason) {
		return
	}
	l.Flush()
	l.Drain(d)
}

// lastWords is false if the sending half has ended.
func (o *outbound) lastWords(msg []byte, reason error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refuses() != nil {
		return false
	}
	_, _ = o.put(msg, nil) // a short one, which is not kept
	o.last = reason
	o.long, o.longLeft = nil, 0
	// a preface that was refused stands before the opening, which is there all the same
	o.open = true
	return true
}

// Drain waits until everything is written, for d at most.
func (l *Link) Drain(d time.Duration) {
	o := &l.out
	var late bool
	o.mu.Lock()
	defer o.mu.Unlock()
	t := time.AfterFunc(d, func() {
		o.mu.Lock()
		late = true
		o.changed.Broadcast()
		o.mu.Unlock()
	})
	defer t.Stop()
	for (o.flushing || o.backlog() > 0) && !late && o.err == nil {
		o.changed.Wait()
	}
}

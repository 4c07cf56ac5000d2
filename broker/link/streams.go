package link

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"

	"perspective/broker/budget"
	"perspective/broker/message"
	"perspective/broker/wire"

	"github.com/hashicorp/yamux"
)

// streams are the byte streams of a connection, beside the call stream. The
// yamux session that carries them is made when the first one is opened, here
// or by the peer. The guard's table (guard.go) sees every frame both ways.
//
// Lock order: a Stream's own locks, then mu, then those of mux and out.
type streams struct {
	l *Link

	mu       sync.Mutex
	byID     map[uint32]*entry
	session  *yamux.Session
	mux      *muxConn
	opening  int                 // places taken for streams about to be opened
	fresh    *entry              // the one opened last
	ourNext  uint32              // no stream of ours has had this id or a higher one
	peerNext uint32              // the same of the peer's
	skipped  map[uint32]struct{} // of the peer's ids below it: not opened yet
	held     int64               // bytes that came and were not read, of all streams
	high     int64               // the sum of the most that was unread in each
	tally    budget.Tally        // of high, beyond one window
	// late is how many bytes may still come for streams that were reset: the windows they had.
	late     int64
	crossing int         // frames and STOPs that may still come for streams that have ended
	claims   *time.Timer // looks for streams that nobody claims
	err      error

	turn     chan struct{} // held while a stream is opened, so that ids leave in order
	called   bool          // the session's stream 1 is behind us; under turn
	accepter sync.WaitGroup

	// of the reader alone: the data frame under way
	part    []byte // its header and what came of its payload
	left    int
	discard bool
}

func (s *streams) init(l *Link) {
	s.l = l
	s.byID = make(map[uint32]*entry)
	s.turn = make(chan struct{}, 1)
	s.ourNext, s.peerNext = 2, 3
	if l.dialer {
		s.ourNext, s.peerNext = 3, 2
	}
}

// OpenStream opens a byte stream to the peer. It must be mentioned to the peer afterwards, by its
// ID, or the peer resets it after a while. An error means that nothing was opened:
// ErrTooManyStreams comes at once when Limits.Streams, of either side, is reached.
func (l *Link) OpenStream(ctx context.Context) (wire.Stream, error) {
	s, err := l.streams.open(ctx)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *streams) open(ctx context.Context) (*Stream, error) {
	session, err := s.reserve()
	if err != nil {
		return nil, err
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		s.unreserve()
		return nil, context.Cause(ctx)
	}
	defer func() { <-s.turn }()
	if s.l.dialer && !s.called {
		if _, err := session.OpenStream(); err != nil {
			s.unreserve()
			return nil, s.sessionError(err)
		}
		s.called = true
	}
	ys, err := session.OpenStream()
	if err != nil {
		s.unreserve()
		return nil, s.sessionError(err)
	}
	s.mu.Lock()
	e := s.fresh
	s.fresh = nil
	e.mux = ys
	close(e.arrived)
	s.mu.Unlock()
	return &Stream{s: s, e: e}, nil
}

// reserve takes a place for a stream and makes the session if there is none.
func (s *streams) reserve() (*yamux.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.l.limits.Streams
	if p := s.l.Peer(); p != nil {
		limit = min(limit, p.Streams)
	}
	if s.err == nil && s.full(limit) {
		return nil, wire.ErrTooManyStreams
	}
	if err := s.start(); err != nil {
		return nil, err
	}
	s.opening++
	return s.session, nil
}

// full reports whether there is no place for one more stream. One that is over on the
// wire and only waits for yamux to hand it out has none for the peer, which may open
// another; there are at most as many of those again. Needs mu.
func (s *streams) full(limit int) bool {
	n := len(s.byID) + s.opening
	if n < limit || n >= 2*limit {
		return n >= limit
	}
	for _, e := range s.byID {
		if e.closed && !e.handed {
			n--
		}
	}
	return n >= limit
}

// unreserve gives a place back whose stream was not opened; the session is of
// no use any more, or will be soon.
func (s *streams) unreserve() {
	s.mu.Lock()
	s.opening = max(s.opening-1, 0)
	s.mu.Unlock()
}

// sessionError ends the connection: what yamux says it did not write may have
// been written all the same.
func (s *streams) sessionError(err error) error {
	s.l.session.End(unheard(fmt.Errorf("%w: %w", wire.ErrPeerClosed, err)))
	return s.l.session.Err()
}

// start makes the session if there is none. Needs mu.
func (s *streams) start() error {
	if s.err != nil || s.session != nil {
		return s.err
	}
	m := &muxConn{s: s}
	m.more.L = &m.mu
	session, err := newMux(m, s.l.log, s.l.dialer, 2*s.l.limits.Streams)
	if err != nil {
		return err
	}
	s.session, s.mux = session, m
	s.accepter.Go(s.accept) // ends with the session
	return nil
}

// accept takes what yamux hands out, so that its backlog is always empty.
func (s *streams) accept() {
	for {
		ys, err := s.session.AcceptStream()
		if err != nil {
			s.broken()
			return
		}
		s.mu.Lock()
		if e := s.byID[ys.StreamID()]; e != nil {
			e.mux, e.handed = ys, true
			close(e.arrived)
			s.forget(e)
		}
		s.mu.Unlock()
	}
}

// ClaimStream gives the stream that the peer opened and mentioned as id. It
// does not wait. A stream can be claimed once; one that nobody claims is reset
// about Limits.Handshake after it was opened.
func (l *Link) ClaimStream(id uint64) (wire.Stream, error) {
	s := &l.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	if id >= 1<<32 {
		return nil, fmt.Errorf("%w: %d", wire.ErrNoSuchStream, id)
	}
	e := s.byID[uint32(id)]
	if e == nil || e.ours || e.claimed {
		return nil, fmt.Errorf("%w: %d", wire.ErrNoSuchStream, id)
	}
	e.claimed = true
	return &Stream{s: s, e: e}, nil
}

// watchClaims sees to it that unclaimed streams are looked for. Needs mu.
func (s *streams) watchClaims() {
	if s.claims == nil && s.err == nil {
		s.claims = time.AfterFunc(s.l.limits.Handshake, s.resetUnclaimed) // stopped by end
	}
}

func (s *streams) resetUnclaimed() {
	defer s.l.Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims = nil
	again := false
	for _, e := range s.byID {
		switch {
		case (e.claimed || e.ours) && !e.leaving || e.closed && !e.reading:
		case time.Since(e.opened) >= s.l.limits.Handshake/2:
			s.reset(e)
		default:
			again = true
		}
	}
	if again {
		s.watchClaims()
	}
}

// SettleStream settles a stream of the peer's that a message of its mentioned. It is reset unless
// the session has claimed it and keeps it.
func (l *Link) SettleStream(id uint64, kept bool) bool {
	s := &l.streams
	s.mu.Lock()
	e := s.byID[uint32(id)] //nolint:gosec // looked at
	if id >= 1<<32 || s.err != nil || e == nil || e.ours {
		s.mu.Unlock()
		return false
	}
	if kept && e.claimed {
		s.mu.Unlock()
		return true
	}
	s.reset(e)
	s.mu.Unlock()
	l.Flush()
	return false
}

// StreamWaits has w asked before a goroutine waits in the stream.
func (l *Link) StreamWaits(id uint64, w wire.Waiter) {
	s := &l.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byID[uint32(id)]; e != nil { //nolint:gosec // an id of the peer's that was settled
		e.waiter = w
	}
}

// EndStreams gives streams up on both sides: the programs that use them here get cause. What a
// program has ended itself goes its way.
func (l *Link) EndStreams(ids []uint64, cause error) {
	l.streams.giveUp(ids, cause, func(*entry) bool { return true })
}

// FailStreams ends the streams that went with a call that has failed. What the peer has ended
// before is read to its end. Those of a call that succeeded are ended by the peer, for a method
// may answer before it returns.
func (l *Link) FailStreams(ids []uint64) {
	l.streams.giveUp(ids, errCallOver, func(e *entry) bool { return !e.peerFIN })
}

// giveUp gives those up that the program has not ended, if also says so of them.
func (s *streams) giveUp(ids []uint64, cause error, also func(*entry) bool) {
	if len(ids) == 0 {
		return
	}
	s.mu.Lock()
	for _, id := range ids {
		//nolint:gosec // of a stream that was there
		if e := s.byID[uint32(id)]; e != nil && s.err == nil && !e.ended && also(e) {
			e.giveUp(cause)
			s.reset(e)
		}
	}
	s.mu.Unlock()
	s.l.Flush()
}

// CancelStreams ends the streams that went with a call that is given up, here alone: the peer
// resets them when it learns of that. It must not be told of the streams' end before it is of the
// call's, which its method is to see as the reason. One that does not reset them has them reset by
// resetUnclaimed.
func (l *Link) CancelStreams(ids []uint64) {
	s := &l.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		e := s.byID[uint32(id)] //nolint:gosec // an id of ours
		if e == nil || s.err != nil || e.ended {
			continue
		}
		e.giveUp(context.Canceled)
		e.leaving, e.opened = true, time.Now()
		// they wake the goroutines that wait, and never block or fail
		_ = e.mux.SetReadDeadline(longAgo)
		_ = e.mux.SetWriteDeadline(longAgo)
		s.watchClaims()
	}
}

var errCallOver = fmt.Errorf("%w: the call that it went with has failed", wire.ErrStreamReset)

// giveUp says that the stream goes no further. Needs mu of streams.
func (e *entry) giveUp(cause error) {
	if e.cause == nil && !e.ended {
		e.cause = cause
	}
	e.over = true
	closeOnce(e.gone)
	closeOnce(e.stop)
}

// closeOnce closes c if that is there and not closed. Needs mu of streams.
func closeOnce(c chan struct{}) {
	if c == nil {
		return
	}
	select {
	case <-c:
	default:
		close(c)
	}
}

// reset ends a stream on both sides at once, with the next flush. Needs mu.
func (s *streams) reset(e *entry) {
	e.reading = false
	e.giveUp(nil)
	if e.closed {
		s.forget(e)
		return
	}
	s.closeWire(e, false)
	s.l.out.frame(header{kind: frameWindow, flags: flagRST, stream: e.id})
	flags := uint16(flagRST)
	if e.ours && !e.acked {
		flags |= flagACK // see incomingEnd
	}
	s.mux.deliver(appendHeader(nil, header{kind: frameWindow, flags: flags, stream: e.id}), nil)
}

// frame takes in the header of a frame of the peer's that is not the call
// stream's. The payload of a data frame follows.
func (s *streams) frame(h header) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	v, rst, err := s.incoming(&h)
	if err != nil {
		return err
	}
	if rst {
		s.reset(s.byID[h.stream])
	}
	s.left, s.discard = 0, v == drop
	if h.kind == frameData {
		s.left = int(h.length)
	}
	if v == drop {
		return nil
	}
	if err := s.start(); err != nil {
		return err
	}
	s.part = appendHeader(s.part[:0], h)
	if s.left == 0 {
		return s.deliver(nil)
	}
	return nil
}

// payload takes in the next bytes of the data frame under way.
func (s *streams) payload(p []byte) error {
	s.left -= len(p)
	if s.discard {
		return nil
	}
	if s.left > 0 {
		s.part = append(s.part, p...)
		return nil
	}
	err := s.deliver(p)
	if err == nil && s.mux.lags() {
		runtime.Gosched()
	}
	return err
}

// deliver hands the frame, which is whole with p, to yamux.
func (s *streams) deliver(p []byte) error {
	ok := s.mux.deliver(s.part, p)
	if cap(s.part) > wholeSize {
		s.part = nil
	}
	if !ok {
		return message.Violation("byte streams faster than they can be sorted")
	}
	return nil
}

// StreamStopped takes in a STOP: the peer reads no more of the stream.
func (l *Link) StreamStopped(id uint64) error {
	s := &l.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	if id <= callStream || id > math.MaxUint32 ||
		s.byID[uint32(id)] == nil && !s.wasUsed(uint32(id)) {
		return message.WrongValue(message.Stop, 2, "stream", "a byte stream that was opened", id)
	}
	e := s.byID[uint32(id)]
	if e == nil || e.stopped {
		return s.crossed()
	}
	e.stopped = true
	closeOnce(e.stop)
	if e.mux != nil {
		return e.mux.SetWriteDeadline(longAgo) // wakes the writer; never blocks
	}
	return nil
}

// marked takes note that the peer's end mark was read, the last of n bytes: what comes behind it
// breaks a rule.
func (s *streams) marked(e *entry, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.marked = true
	if behind := e.arrivals - n; behind > 0 {
		return behindMark(e, behind)
	}
	return nil
}

func behindMark(e *entry, n int64) error {
	return message.Violation("stream %d: want nothing behind the end mark, got %d bytes", e.id, n)
}

// longAgo as a deadline ends whatever waits.
var longAgo = time.Unix(1, 0)

// broken ends the connection when the yamux session has ended by itself. Where
// that came of a write that failed, the reader may still find the reason.
func (s *streams) broken() {
	if !s.l.out.failed() {
		s.l.session.End(unheard(
			fmt.Errorf("%w: its byte streams broke down", wire.ErrPeerClosed)))
	}
}

// shut resets every stream, here alone, and returns when the session knows. It comes before
// anything else that would end the session: a goroutine that waits in one of its streams when it
// ends spins until yamux gets to that stream.
func (s *streams) shut(reason error) {
	s.mu.Lock()
	s.err = reason
	if s.claims != nil {
		s.claims.Stop()
	}
	session := s.session
	s.mu.Unlock()
	if session != nil {
		s.mux.shut(s.resets())
		<-session.CloseChan() // its receiver has come to the end
	}
}

// resets are frames that tell the session of the end of every stream.
func (s *streams) resets() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b []byte
	for _, e := range s.byID {
		e.giveUp(nil)
		b = appendHeader(b, header{kind: frameWindow, flags: flagRST, stream: e.id})
	}
	return b
}

// end waits for the session's goroutines, after shut.
func (s *streams) end() {
	if s.session != nil {
		_ = s.session.Close() // it says nothing
		s.accepter.Wait()
	}
	s.mu.Lock()
	for _, e := range s.byID {
		if e.mux != nil {
			e.mux = noStream{} // as in forget
		}
	}
	clear(s.byID)
	s.opening, s.held, s.high = 0, 0, 0
	s.tally.Shrink(s.l.account, 0)
	s.mu.Unlock()
}

// CountStreams is how many there are, and the bytes that came over them and were not read.
func (l *Link) CountStreams() (open, unread int) {
	s := &l.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID) + s.opening, int(s.held)
}

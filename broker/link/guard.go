package link

import (
	"time"

	"perspective/broker/budget"
	"perspective/broker/message"
	"perspective/broker/wire"
)

// grantLimit is how much the peer may let this side send on one byte stream
// at a time. yamux adds grants up in 32 bits and does not look for overflow.
const grantLimit = 16 << 20

// entry is what the guard knows of one byte stream. All of it is under
// streams.mu. An entry lives until the stream is over on the wire, yamux has
// handed it out, and nobody reads from it any more; it counts against
// Limits.Streams as long.
type entry struct {
	id       uint32
	ours     bool
	acked    bool  // the peer has taken our stream
	closed   bool  // no frame of it may come or go any more
	peerFIN  bool  // the peer sends no more data
	ourFIN   bool  // this side sends no more data
	handed   bool  // yamux has handed it out
	reading  bool  // a method may still read what has come
	claimed  bool  // the layer above has it
	refused  bool  // the peer reset it before it took it
	stopped  bool  // the peer reads no more
	marked   bool  // the peer's end mark was read
	window   int64 // what the peer may still send
	unread   int64 // what came and was not read
	high     int64 // the most that unread was, for which yamux keeps the memory
	credit   int64 // what this side may still send
	widest   widest
	opened   time.Time
	waiter   wire.Waiter   // nil: no session is told
	arrivals int64         // bytes of data that came, ever
	ended    bool          // it is done with here: both end marks have been seen to
	cause    error         // why it was given up here, if it was
	over     bool          // it was given up, by either side
	leaving  bool          // given up here, and the peer will reset it
	gone     chan struct{} // if not nil, closed when the stream was given up, by either side
	stop     chan struct{} // if not nil, closed then, and when the peer reads no more
	arrived  chan struct{} // closed when yamux has handed it out
	mux      muxStream     // valid from then on
}

// verdict says what becomes of a frame.
type verdict uint8

const (
	pass verdict = iota // on to yamux, or to the wire
	drop                // nowhere, its payload neither
)

// incoming judges a frame of the peer's for a byte stream; it may change the
// flags. rst asks for the stream to be reset on both sides. Needs mu.
func (s *streams) incoming(h *header) (v verdict, rst bool, err error) {
	if h.stream == 0 {
		return drop, false, message.Violation("frame of type %d on stream 0", h.kind)
	}
	if h.kind == frameData && h.length > yamuxWindow {
		return drop, false, message.Violation("frame of %d bytes, the window being %d",
			h.length, yamuxWindow)
	}
	if h.flags&flagSYN != 0 {
		return s.incomingSYN(h)
	}
	e := s.byID[h.stream]
	if e == nil || e.closed {
		if e == nil && !s.wasUsed(h.stream) {
			return drop, false, message.Violation("frame for stream %d, which was never opened",
				h.stream)
		}
		if n := int64(h.length); h.kind == frameData && 0 < n && n <= s.late {
			s.late -= n
			return drop, false, nil
		}
		return drop, false, s.crossed()
	}
	if h.flags&flagACK != 0 {
		if !e.ours || e.acked {
			return drop, false,
				message.Violation("stream %d is acknowledged twice, or by who opened it", e.id)
		}
		e.acked = true
	}
	// of ours there are as many as we open
	if h.flags == 0 && h.length == 0 || h.flags&flagRST != 0 && !e.ours {
		if err := s.l.spend(); err != nil {
			return drop, false, err
		}
	}
	if h.flags&flagRST != 0 && !e.ours { // opened for nothing
		if err := s.l.spend(); err != nil {
			return drop, false, err
		}
	}
	over, err := s.account(e, h)
	if err != nil || over {
		return drop, over, err
	}
	s.incomingEnd(e, h)
	return pass, false, nil
}

// account keeps both windows; over says that the streams together hold more
// than Limits.StreamBytes. Needs mu.
func (s *streams) account(e *entry, h *header) (over bool, err error) {
	n := int64(h.length)
	if h.kind == frameWindow {
		e.credit += n
		if e.credit > grantLimit {
			return false, message.Violation("stream %d: grants of %d bytes", e.id, e.credit)
		}
		if e.widest.grow(e.credit, n) {
			return false, s.l.spend()
		}
		return false, nil
	}
	if e.peerFIN {
		return false, message.Violation("stream %d: data after its end", e.id)
	}
	if e.marked && n > 0 {
		return false, behindMark(e, n)
	}
	if n > e.window {
		return false, message.Violation("stream %d: frame of %d bytes, the window being %d",
			e.id, n, e.window)
	}
	e.window -= n
	e.arrivals += n
	e.unread += n
	s.held += n
	if e.unread > e.high {
		s.high += e.unread - e.high
		e.high = e.unread
	}
	return s.held > int64(s.l.limits.StreamBytes) ||
		!s.tally.Take(s.l.account, (s.high-yamuxWindow)*budget.StreamTimes), nil
}

// incomingEnd acts on FIN and RST. Needs mu.
func (s *streams) incomingEnd(e *entry, h *header) {
	switch {
	case h.flags&flagRST != 0:
		if e.ours && !e.acked {
			e.acked, e.refused = true, true
			h.flags |= flagACK // yamux forgets a stream that was never acknowledged only half
		}
		e.reading = false
		e.giveUp(nil)
		s.closeWire(e, true)
	case h.flags&flagFIN != 0:
		e.peerFIN = true
		if e.ourFIN {
			s.closeWire(e, false)
		}
	}
}

// incomingSYN judges the opening of a stream. Needs mu.
func (s *streams) incomingSYN(h *header) (verdict, bool, error) {
	if h.stream&1 == s.parity() || h.flags&flagACK != 0 {
		return drop, false, message.Violation("stream %d opened by the wrong side", h.stream)
	}
	if err := s.peerID(h.stream); err != nil {
		return drop, false, err
	}
	// A stream that finds a place costs that place; only others cost a token.
	if h.flags&flagRST != 0 {
		return drop, false, s.l.spend()
	}
	if s.l.stranger() || s.full(s.l.limits.Streams) ||
		h.kind == frameData && s.held+int64(h.length) > int64(s.l.limits.StreamBytes) {
		if err := s.l.spend(); err != nil {
			return drop, false, err
		}
		s.l.out.frame(header{kind: frameWindow, flags: flagRST, stream: h.stream})
		return drop, false, nil
	}
	e := s.add(h.stream)
	if _, err := s.account(e, h); err != nil {
		return drop, false, err
	}
	e.peerFIN = h.flags&flagFIN != 0
	s.watchClaims()
	return pass, false, nil
}

// peerID takes note of an id that the peer opens a stream with. Ids grow, but
// openings may overtake each other by a little in the peer's sender. Needs mu.
func (s *streams) peerID(id uint32) error {
	if id < s.peerNext {
		if _, ok := s.skipped[id]; !ok {
			return message.Violation("stream %d opened twice", id)
		}
		delete(s.skipped, id)
		return nil
	}
	if int64(len(s.skipped))+int64(id-s.peerNext)/2 > int64(s.l.limits.Streams) {
		return message.Violation("stream %d opened after %d", id, s.peerNext)
	}
	for ; s.peerNext < id; s.peerNext += 2 {
		if s.skipped == nil {
			s.skipped = make(map[uint32]struct{})
		}
		s.skipped[s.peerNext] = struct{}{}
	}
	s.peerNext += 2
	return nil
}

// wasUsed reports whether a stream of this id was opened, ever. Needs mu.
func (s *streams) wasUsed(id uint32) bool {
	if id&1 == s.parity() {
		return id < s.ourNext
	}
	_, skipped := s.skipped[id]
	return id < s.peerNext && !skipped
}

// parity is the lowest bit of the ids that this side opens streams with.
func (s *streams) parity() uint32 {
	if s.l.dialer {
		return 1
	}
	return 0
}

// outgoing judges a frame of yamux's. Needs mu.
func (s *streams) outgoing(h header) verdict {
	if h.kind > frameWindow {
		return drop // pings are answered elsewhere; the connection is ended by ABORT
	}
	e := s.byID[h.stream]
	if h.flags&flagSYN != 0 && e == nil {
		e = s.add(h.stream)
		e.ours, e.handed, e.claimed = true, true, true
		s.opening--
		s.ourNext = h.stream + 2
		s.fresh = e
	}
	if e == nil || e.closed {
		return drop
	}
	switch h.kind {
	case frameData:
		e.credit -= int64(h.length)
	case frameWindow:
		e.window += int64(h.length)
	}
	switch {
	case h.flags&flagRST != 0:
		s.closeWire(e, false)
	case h.flags&flagFIN != 0:
		e.ourFIN = true
		if e.peerFIN {
			s.closeWire(e, false)
		}
	}
	return pass
}

// add makes the entry of a stream. Needs mu.
func (s *streams) add(id uint32) *entry {
	e := &entry{
		id:      id,
		window:  yamuxWindow,
		credit:  yamuxWindow,
		reading: true,
		opened:  time.Now(),
		arrived: make(chan struct{}),
	}
	s.byID[id] = e
	return e
}

// closeWire ends the stream on the wire; reset says that the peer did, and sends nothing more for
// it. Needs mu.
func (s *streams) closeWire(e *entry, reset bool) {
	if !e.closed && !e.peerFIN {
		s.late = min(s.late+e.window, int64(s.l.limits.Streams)*yamuxWindow)
	}
	e.closed = true
	if !reset {
		s.crossing = min(s.crossing+crossingEach, s.l.limits.Streams*crossingEach)
	}
	s.forget(e)
}

// crossingEach is how many frames and STOPs may still come for a stream that has ended here.
const crossingEach = 4

// crossed takes in one of those: it crossed with the stream's end, if the peer is honest. Needs mu.
func (s *streams) crossed() error {
	if s.crossing > 0 {
		s.crossing--
		return nil
	}
	return s.l.spend()
}

// forget drops an entry that nothing needs any more. Needs mu.
func (s *streams) forget(e *entry) {
	if e.closed && e.handed && !e.reading && s.byID[e.id] == e {
		delete(s.byID, e.id)
		// a method may keep its stream for long, and the memory behind it is not counted any more
		e.mux = noStream{}
		s.held -= e.unread
		e.unread = 0
		s.lower(e)
		s.l.session.StreamForgotten()
	}
}

// lower says that no memory is kept for e but for what is unread. Needs mu.
func (s *streams) lower(e *entry) {
	s.high -= e.high - e.unread
	e.high = e.unread
	s.tally.Shrink(s.l.account, max(s.high-yamuxWindow, 0)*budget.StreamTimes)
}

// took notes that n bytes of e were read. Where that was the last of much, yamux lets go of the
// memory.
func (s *streams) took(e *entry, y muxStream, n int64) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	if s.byID[e.id] != e { // forgotten, with what was unread
		s.mu.Unlock()
		return
	}
	e.unread -= n
	s.held -= n
	let := e.unread == 0 && e.high >= yamuxWindow/2
	s.mu.Unlock()
	if !let {
		return
	}
	y.Shrink()
	s.mu.Lock()
	if e.unread == 0 && s.byID[e.id] == e { // what came meanwhile came to the old memory, or to new
		s.lower(e)
	}
	s.mu.Unlock()
}

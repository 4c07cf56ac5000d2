package link

import (
	"encoding/binary"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"perspective/broker/message"
	"perspective/broker/wire"
	"perspective/jelly"
)

const (
	readBufferMin = 4 << 10
	readBufferMax = 64 << 10
)

// inbound is the receiving half of a connection: one goroutine reads frames, hands
// whole messages to the session and everything that is not the call stream to
// the streams. It never waits for a method, a caller or a write.
type inbound struct {
	l    *Link
	r    io.Reader
	raw  *rawReader // nil where the connection has no descriptor of its own
	buf  []byte     // borrowed while there is something to read, if raw is set
	i, n int        // buf[i:n] is read and not yet used
	rest []byte     // of the payload at hand; it ends at i
	dec  *jelly.Decoder
	role
	me      atomic.Pointer[reader] // the loop's
	caller  reader                 // the caller that reads
	awaited any                    // the call whose answer it reads for
	interruption

	head   header // the frame under way
	left   int    // bytes of its payload still to come
	window int64  // what the peer may still send on the call stream
	owed   int    // of that window, used and not yet given back
	widest int    // the window when nothing is owed
	opened bool   // the peer has opened or acknowledged the call stream

	whole   []byte // a message cut across reads or frames, its length first
	stall   *time.Timer
	flushed int  // where in buf what is answered had been written, the last time
	full    bool // the last read filled the buffer
	piece   piece
	modest  int // so many reads into the buffer are to be short
}

func (s *inbound) init(l *Link, r io.Reader) {
	s.l, s.r = l, r
	if s.raw = newRawReader(s, r); s.raw == nil {
		s.buf = make([]byte, readBufferMin)
	}
	s.window, s.widest = yamuxWindow, yamuxWindow
	s.dec = newDecoder()
	s.me.Store(new(reader))
	s.role.init()
}

// fill reads until need bytes stand at i. need is at most the buffer's size.
func (s *inbound) fill(need int) error {
	for s.n-s.i < need {
		if s.i == s.n {
			s.i, s.n = 0, 0
			if s.raw == nil && s.full && len(s.buf) < readBufferMax {
				s.buf = make([]byte, 2*len(s.buf))
			}
		} else if len(s.buf)-s.i < need {
			s.n = copy(s.buf, s.buf[s.i:s.n])
			s.i = 0
		}
		s.l.Flush()
		inFrame := s.left > 0 || s.n > s.i
		if inFrame {
			s.armStall()
		}
		k, err := s.read()
		if inFrame {
			s.stall.Stop()
		}
		if k > 0 {
			s.l.heard.Store(true)
		}
		if s.l.over.Load() {
			return wire.ErrClosed // nothing is acted on after the end
		}
		s.n += k
		s.flushed, s.me.Load().lately = s.i, 0
		s.full = s.n == len(s.buf)
		if err != nil {
			if err == io.EOF && (inFrame || k > 0) { //nolint:errorlint // a Reader gives it bare
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// read reads once into what is free of the buffer.
func (s *inbound) read() (int, error) {
	if s.raw != nil {
		return s.raw.read()
	}
	return s.r.Read(s.free())
}

// free is where the next read goes.
func (s *inbound) free() []byte {
	if s.modest > 0 {
		s.modest--
		return s.buf[s.n:min(len(s.buf), s.n+modestRead)]
	}
	return s.buf[s.n:]
}

// readBuffers are lent to readers that have something to read: an idle
// connection has none. They are plain memory, so the pool may be the process's.
var readBuffers = sync.Pool{New: func() any { return new([readBufferMax]byte) }}

func (s *inbound) borrow() { s.buf = readBuffers.Get().(*[readBufferMax]byte)[:] }

// giveBuffer ends a loan.
func (s *inbound) giveBuffer() {
	readBuffers.Put((*[readBufferMax]byte)(s.buf))
	s.buf = nil
}

// armStall ends the connection if a frame that was begun brings no byte for
// Limits.FrameStall.
func (s *inbound) armStall() {
	d := s.l.limits.FrameStall
	if s.stall == nil {
		s.stall = time.AfterFunc(d,
			func() { s.l.session.End(message.Violation("a frame stood still for %v", d)) })
		return
	}
	s.stall.Reset(d)
}

// run reads until the connection ends, or me is not the reader any more: then
// nothing of s may be touched.
func (s *inbound) run(me *reader) error {
	if s.l.peer.Load() == nil {
		if err := s.l.readPreface(s); err != nil {
			return err
		}
	}
	for {
		if err := s.payload(me); err != nil {
			return err
		}
		if s.left == 0 {
			if s.i == s.n && s.score > 0 && s.vacate() {
				return errVacant
			}
			if err := s.next(); err != nil {
				return err
			}
			continue
		}
		if s.i == s.n {
			// else a byte stream's frame came between
			if s.piece.left > 0 && s.head.stream == callStream {
				if done, err := s.direct(me); err != nil {
					return err
				} else if done {
					continue
				}
			}
			if err := s.fill(1); err != nil {
				return err
			}
		}
		p := s.buf[s.i:min(s.n, s.i+s.left)]
		s.i += len(p)
		s.left -= len(p)
		if s.head.stream != callStream {
			if err := s.l.streams.payload(p); err != nil {
				return err
			}
			continue
		}
		s.rest = p
		s.giveBack(len(p))
	}
}

// next reads a frame's header and acts on it.
func (s *inbound) next() error {
	if err := s.fill(headerSize); err != nil {
		return err
	}
	raw := s.buf[s.i : s.i+headerSize]
	h, err := parseHeader(raw)
	if err != nil {
		return err
	}
	s.i += headerSize
	s.head = h
	switch {
	case h.kind == framePing:
		return s.ping(h)
	case h.kind == frameGoAway:
		if h.stream != 0 {
			return message.Violation("yamux go away: want stream 0, got %d", h.stream)
		}
		if h.length == 0 {
			if again := s.l.session.PeerGoesAway(); again { // it says nothing new
				return s.l.spend()
			}
			return nil
		}
		return message.Violation("yamux go away with code %d", h.length)
	case h.stream == callStream:
		return s.callFrame(h)
	}
	if h.kind == frameData {
		s.left = int(h.length) // at most the window: guarded below
	}
	return s.l.streams.frame(h)
}

func (s *inbound) ping(h header) error {
	if err := s.l.spend(); err != nil {
		return err
	}
	switch {
	case h.stream != 0:
		return message.Violation("ping on stream %d", h.stream)
	case h.flags == flagSYN:
		s.l.out.frame(header{kind: framePing, flags: flagACK, length: h.length})
		return nil
	case h.flags == flagACK:
		return nil // nobody asked; it cost a token
	}
	return message.Violation("ping with flags %#x", h.flags)
}

// callFrame acts on a frame of the call stream. SYN and ACK may stand on data
// and on window frames alike.
func (s *inbound) callFrame(h header) error {
	if h.flags&(flagFIN|flagRST) != 0 {
		return wire.ErrCallStreamClosed
	}
	if want := s.l.peerFlag(); h.flags != 0 && (h.flags != want || s.opened) {
		return message.Violation("call stream with flags %#x", h.flags)
	}
	if h.flags != 0 {
		s.opened = true
		if !s.l.dialer {
			s.l.out.opened()
			s.l.out.frame(header{kind: frameWindow, flags: flagACK, stream: callStream})
		}
	}
	if !s.opened && !s.l.dialer {
		return message.Violation("call stream used before it was opened")
	}
	if h.kind == frameWindow {
		if h.length == 0 && h.flags == 0 {
			return s.l.spend()
		}
		idle, err := s.l.out.grant(h.length)
		if idle && err == nil {
			err = s.l.spend()
		}
		return err
	}
	if int64(h.length) > s.window {
		return message.Violation("frame of %d bytes, the window being %d", h.length, s.window)
	}
	if h.length == 0 && h.flags == 0 {
		return s.l.spend()
	}
	s.window -= int64(h.length)
	s.left = int(h.length)
	return nil
}

// giveBack returns credit for n bytes of the call stream that were read. A peer
// that makes use of the window gets more, if it is no stranger: what it sends
// is read at once, so this bounds only what is on its way.
func (s *inbound) giveBack(n int) {
	s.owed += n
	if s.owed < s.widest/2 {
		return
	}
	if s.widest < largeWindow && !s.l.stranger() {
		s.owed += largeWindow - s.widest
		s.widest = largeWindow
	}
	s.window += int64(s.owed)
	//nolint:gosec // at most the window
	s.l.out.frame(header{kind: frameWindow, stream: callStream, length: uint32(s.owed)})
	s.owed = 0
	s.l.Flush()
}

// payload cuts the call stream into messages. What is handed to the session is
// taken from rest before: the method that it calls may cost me the role.
func (s *inbound) payload(me *reader) error {
	for len(s.rest) > 0 {
		p := s.rest
		if s.piece.left > 0 {
			if err := s.takePiece(me); err != nil {
				return err
			}
			continue
		}
		// nearly each message goes through here: no call more
		if len(s.whole) == 0 && len(p) >= message.LengthSize {
			l := binary.BigEndian.Uint32(p)
			if l > wholeSize {
				return wrongLength(l)
			}
			if end := message.LengthSize + int(l); end <= len(p) {
				s.rest = p[end:]
				if err := s.l.deliver(p[message.LengthSize:end], false); err != nil {
					return err
				}
				if me.lost {
					return errLeft
				}
				continue
			}
		}
		if err := s.gather(me); err != nil {
			return err
		}
	}
	return nil
}

// gather adds to the message that is cut, and handles it when it is whole.
func (s *inbound) gather(me *reader) error {
	p := s.rest
	if begun, err := s.begins(); begun || err != nil {
		return err
	}
	if k := message.LengthSize - len(s.whole); k > 0 {
		k = min(k, len(p))
		s.whole = append(s.whole, p[:k]...)
		p = p[k:]
		if len(s.whole) < message.LengthSize {
			s.rest = p
			return nil
		}
	}
	l := binary.BigEndian.Uint32(s.whole)
	if l > wholeSize {
		return wrongLength(l)
	}
	k := min(message.LengthSize+int(l)-len(s.whole), len(p))
	s.whole = append(s.whole, p[:k]...)
	s.rest = p[k:]
	if len(s.whole) < message.LengthSize+int(l) {
		return nil
	}
	whole := s.whole
	s.whole = nil
	if err := s.l.deliver(whole[message.LengthSize:], false); err != nil {
		return err
	}
	if me.lost {
		return errLeft
	}
	if cap(whole) <= readBufferMax/4 {
		s.whole = whole[:0]
	}
	return nil
}

// wrongLength is the broken rule of a message of l bytes that should have come in
// pieces, or begins elsewhere.
func wrongLength(l uint32) error {
	if r := bits.ReverseBytes32(l); r <= wholeSize {
		return message.Violation("message: length: want at most %d, got %d (%d with the bytes "+
			"the other way: it is big-endian)", wholeSize, l, r)
	}
	return message.Violation("message: length: want at most %d, longer ones go in PARTs; got %d",
		wholeSize, l)
}

func newDecoder() *jelly.Decoder { return new(jelly.Decoder) }

// peerFlag is what the peer's first frame of the call stream carries.
func (l *Link) peerFlag() uint16 {
	if l.dialer {
		return flagACK
	}
	return flagSYN
}

package link

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"perspective/broker/message"
	"perspective/broker/wire"
	"perspective/jelly"

	"github.com/hashicorp/yamux"
)

// A Stream is a byte stream to the peer, beside the messages: both directions
// at once, each with its own end. What is written crosses in chunks, then an
// end mark that says whether the bytes are all there. OpenStream and
// ClaimStream make it. One goroutine may read while another writes; of several
// that write, or read, one goes at a time. Deadlines, CloseRead and Close work
// beside both. The holder of a Stream must Close it.
type Stream struct {
	s *streams
	e *entry

	write struct {
		sync.Mutex        // held while writing: a chunk is not cut by another
		rest       []byte // of a chunk or an end mark that a deadline cut
		marked     bool   // the end mark is sent, or what is left of it in rest
		err        error  // why nothing can be written any more
	}
	read struct {
		sync.Mutex
		r    *bufio.Reader
		left int    // bytes of the chunk under way
		took int64  // bytes read from yamux
		mark []byte // of the error under way
		want int    // bytes of the error still to come
		err  error  // the end
	}

	mu        sync.Mutex
	writeOver bool // nothing is written any more
	readOver  bool // nothing is read any more
	finished  bool // the stream was closed on the wire, or will be
}

// The values on a byte stream: chunks are bin, the end mark is nil or an array
// of one bin that holds the encoded error.
const (
	markEnd   = 0xc0
	markError = 0x91
	markBin8  = 0xc4
	markBin16 = 0xc5
	markBin32 = 0xc6
)

var errMalformed = errors.New("broker: byte stream carries what is neither a chunk nor an end mark")

// ID is the number that the stream is mentioned by.
func (s *Stream) ID() uint64 { return uint64(s.e.id) }

// mux is the yamux stream; a claimed one may have to wait a moment for it.
func (s *Stream) mux() (muxStream, error) {
	select {
	case <-s.e.arrived:
		s.s.mu.Lock()
		defer s.s.mu.Unlock()
		return s.e.mux, nil
	case <-s.s.l.done:
		return nil, s.s.l.session.Err()
	}
}

// Write sends p; it waits while the peer's window is full. ErrStopped means
// that the peer reads no more. After a deadline n counts what will be sent,
// and writing may go on when the deadline is moved.
func (s *Stream) Write(p []byte) (n int, err error) {
	s.write.Lock()
	defer s.write.Unlock()
	if s.write.marked && s.write.err == nil {
		return 0, errEnded
	}
	if err := s.sendRest(); err != nil {
		return 0, err
	}
	for n < len(p) {
		k := min(len(p)-n, chunkSize)
		buf := chunks.Get().(*chunk)
		buf.b = appendBin(buf.b[:0], p[n:n+k])
		whole := buf.b
		if err := s.send(whole); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && len(s.write.rest) < len(whole) {
				return n + k, err // its beginning has left, so the rest will
			}
			s.write.rest = nil
			return n, err
		}
		n += k
		chunks.Put(buf)
	}
	return n, nil
}

// chunks are buffers for one chunk each. They hold nothing but bytes, so the pool
// may be the process's.
var chunks = sync.Pool{New: func() any { return new(chunk) }}

type chunk struct{ b []byte }

func appendBin(b, p []byte) []byte {
	if len(p) < 1<<8 {
		b = append(b, markBin8, byte(len(p))) //nolint:gosec // looked at above
	} else {
		//nolint:gosec // of a chunk, which is shorter
		b = append(b, markBin16, byte(len(p)>>8), byte(len(p)))
	}
	return append(b, p...)
}

// sendRest sends what a deadline left over. Needs write.
func (s *Stream) sendRest() error {
	if s.write.err != nil {
		return s.write.err
	}
	if len(s.write.rest) == 0 {
		return nil
	}
	return s.send(s.write.rest)
}

// send writes b to yamux and keeps what is left of it in rest. Needs write.
func (s *Stream) send(b []byte) error {
	s.write.rest = b
	y, err := s.mux()
	if err == nil {
		err = s.cause()
	}
	if err == nil && s.isStopped() {
		err = wire.ErrStopped
	}
	if err == nil {
		var n int
		back := s.aside(s.mustWaitToWrite, len(b))
		n, err = y.Write(b)
		back()
		s.write.rest = b[n:]
		if err == nil {
			s.write.rest = nil
			return nil
		}
	}
	err = s.explain(err, &s.writeOver)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		s.write.err = err
	}
	return err
}

// explain says what an error of yamux's means to the reader or writer; over
// says whether that direction was ended here meanwhile.
func (s *Stream) explain(err error, over *bool) error {
	s.mu.Lock()
	closed := *over
	s.mu.Unlock()
	cause := s.cause()
	switch {
	case cause != nil && !closed:
		return cause
	case over == &s.writeOver && s.isStopped() && !errors.Is(err, yamux.ErrConnectionReset):
		return wire.ErrStopped
	case errors.Is(err, yamux.ErrTimeout):
		if closed {
			return os.ErrClosed
		}
		return os.ErrDeadlineExceeded
	case s.s.l.session.Err() != nil:
		return s.s.l.session.Err()
	case errors.Is(err, yamux.ErrConnectionReset):
		s.s.mu.Lock()
		defer s.s.mu.Unlock()
		if s.e.refused {
			return wire.ErrTooManyStreams
		}
		return wire.ErrStreamReset
	case errors.Is(err, yamux.ErrStreamClosed):
		return os.ErrClosed
	}
	return s.s.sessionError(err) // the bytes may have left or not: the stream can not go on
}

// isOver reports whether the stream was given up, by either side: there is nobody to
// be told of its end.
func (s *Stream) isOver() bool {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	return s.e.over
}

// cause is why the stream was given up here, if it was.
func (s *Stream) cause() error {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	return s.e.cause
}

// Err says why the stream broke off; nil unless Gone is closed.
func (s *Stream) Err() error {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	switch {
	case s.e.cause != nil:
		return s.e.cause
	case s.s.err != nil:
		return fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, s.s.err)
	case s.e.over:
		return fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, wire.ErrStreamReset)
	}
	return nil
}

// Gone is closed when the stream breaks off: either side has given it up, the call
// that it went with is over, or the connection. It stays open if both directions end
// by their end marks.
func (s *Stream) Gone() <-chan struct{} {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	return told(&s.e.gone, s.e.over || s.s.err != nil)
}

// Stopped is closed when nothing that is written has a reader any more: the peer
// said so, or the stream is Gone.
func (s *Stream) Stopped() <-chan struct{} {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	return told(&s.e.stop, s.e.stopped || s.e.over || s.s.err != nil)
}

// told makes a channel of an entry's when it is first asked for. Needs mu of streams.
func told(c *chan struct{}, already bool) chan struct{} {
	if *c == nil {
		*c = make(chan struct{})
		if already {
			close(*c)
		}
	}
	return *c
}

func (s *Stream) isStopped() bool {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	return s.e.stopped
}

// CloseWrite ends what is written: the peer reads io.EOF after the last byte
// if err is nil, else err as it crosses by Config.Errors. Only the first call
// counts. It waits as Write does.
func (s *Stream) CloseWrite(err error) error {
	s.write.Lock()
	defer s.write.Unlock()
	if s.write.err != nil {
		if errors.Is(s.write.err, errEnded) {
			return nil
		}
		s.over(&s.writeOver)
		return s.write.err
	}
	werr := s.sendRest()
	if werr == nil && !s.write.marked {
		s.write.marked = true
		werr = s.send(s.endMark(err))
	}
	switch {
	case errors.Is(werr, os.ErrDeadlineExceeded):
		return werr
	case werr == nil:
		s.write.err = errEnded
	}
	s.over(&s.writeOver)
	return werr
}

// errEnded is what Write gives after CloseWrite.
var errEnded = fmt.Errorf("broker: write to a byte stream after its end: %w", os.ErrClosed)

func (s *Stream) endMark(err error) []byte {
	if err == nil {
		return []byte{markEnd}
	}
	l := s.s.l
	e := jelly.GetEncoder()
	defer jelly.PutEncoder(e)
	e.Reset(l.config.Types, nil)
	l.config.Errors.EncodeError(e, err)
	if e.Len() > chunkSize {
		e.Reset(l.config.Types, nil)
		l.config.Errors.EncodeError(e, wire.ErrTooLarge)
	}
	return appendBin([]byte{markError}, e.Buffer())
}

// CloseRead tells the peer that nobody reads any more: its Write fails with
// ErrStopped. What has come and was not read is gone.
func (s *Stream) CloseRead() error {
	s.mu.Lock()
	over := s.readOver
	s.mu.Unlock()
	if over {
		return nil
	}
	l := s.s.l
	if s.isOver() {
		s.over(&s.readOver)
		return nil
	}
	if err := l.Send(message.Small(message.Stop, 0, uint64(s.e.id))); err == nil {
		l.Flush()
	}
	if y, err := s.mux(); err == nil {
		_ = y.SetReadDeadline(longAgo) // wakes a reader; it can not fail
	}
	s.over(&s.readOver)
	return nil
}

// closeTime is how long Close waits for room for the end mark.
const closeTime = 10 * time.Second

// Close ends both directions, what is written as CloseWrite(nil) does, within
// 10 s: a stream whose end mark the peer does not take by then is reset, so
// that the peer does not take what it has for the whole.
func (s *Stream) Close() error {
	_ = s.CloseRead() // it does not fail
	s.mu.Lock()
	over := s.writeOver
	s.mu.Unlock()
	if over {
		return nil
	}
	// at the connection's end there is none to set
	_ = s.SetWriteDeadline(time.Now().Add(closeTime))
	err := s.CloseWrite(nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.reset()
		s.over(&s.writeOver)
	}
	if errors.Is(err, wire.ErrStopped) {
		err = nil // nobody was to read it
	}
	return err
}

// reset gives the stream up on both sides.
func (s *Stream) reset() {
	s.s.mu.Lock()
	if s.s.err == nil {
		s.s.reset(s.e)
	}
	s.s.mu.Unlock()
	s.s.l.Flush()
}

// over ends one direction; when both have ended the stream is closed on the
// wire. Before, the other direction goes on: the end marks close halves.
func (s *Stream) over(direction *bool) {
	s.mu.Lock()
	*direction = true
	readOver := s.readOver
	last := s.readOver && s.writeOver && !s.finished
	s.finished = s.finished || last
	s.mu.Unlock()
	over := s.isOver()
	if last && !over {
		s.s.mu.Lock()
		s.e.ended = true
		s.s.mu.Unlock()
	}
	if readOver {
		s.s.mu.Lock()
		s.e.reading = false
		s.s.forget(s.e)
		s.s.mu.Unlock()
	}
	if !last || over {
		return
	}
	if y, err := s.mux(); err == nil {
		_ = y.Close() // a failure to send FIN is the session's end
	}
}

// SetDeadline sets the deadline of reading and writing; zero is none.
func (s *Stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline sets when waiting for bytes ends with os.ErrDeadlineExceeded.
func (s *Stream) SetReadDeadline(t time.Time) error {
	y, err := s.mux()
	if err != nil {
		return err
	}
	err = y.SetReadDeadline(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readOver {
		return y.SetReadDeadline(longAgo)
	}
	return err
}

// SetWriteDeadline sets when waiting for the peer's window ends with
// os.ErrDeadlineExceeded.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	y, err := s.mux()
	if err != nil {
		return err
	}
	err = y.SetWriteDeadline(t)
	if s.isStopped() {
		return y.SetWriteDeadline(longAgo)
	}
	return err
}

package distrib

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// streamChunk is the most that one record holds with its head: what the connection reads at once.
const streamChunk = 32 << 10

// smallChunk is the memory of a record at first: many streams only ever send a line now and then.
const smallChunk = 1 << 10

var errUnread = errors.New("distrib: the client has gone")

// A responseStream is the body of a response that takes a stream. The handler writes records into
// it; the connection reads them, at the pace of the client.
type responseStream struct {
	w  *responseWriter
	pr *io.PipeReader
	pw *io.PipeWriter

	// writing: two goroutines of a handler that write at once spoil their body, but not its
	// records.
	writing sync.Mutex
	chunk   []byte // the record under way: room for its head, then data
	// flushed: nothing was written since the last flush, which a second one would only repeat.
	flushed bool

	mu    sync.Mutex
	timer *time.Timer // the write deadline; nil: none
	taken bool        // the front has asked for the body
}

func newResponseStream(w *responseWriter) *responseStream {
	s := &responseStream{w: w, chunk: make([]byte, recordHead, smallChunk)}
	s.pr, s.pw = io.Pipe()
	return s
}

// claim is true once.
func (s *responseStream) claim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.taken
	s.taken = true
	return first
}

// Read is the connection's.
func (s *responseStream) Read(p []byte) (int, error) { return s.pr.Read(p) }

// Close is called by the connection when it reads no more.
func (s *responseStream) Close() error {
	s.abandon()
	return nil
}

// abandon fails the handler's next write, and ends its context.
func (s *responseStream) abandon() {
	_ = s.pr.CloseWithError(errUnread) // never fails
	s.w.ctx.end(context.Canceled)
}

func (s *responseStream) write(p []byte) (n int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.put(p)
}

// put is write. Needs writing.
func (s *responseStream) put(p []byte) (n int, err error) {
	for len(p) > 0 {
		k := min(len(p), streamChunk-len(s.chunk))
		if len(s.chunk)+k > smallChunk && cap(s.chunk) < streamChunk {
			s.chunk = append(make([]byte, 0, streamChunk+2*recordHead), s.chunk...)
		}
		s.chunk = append(s.chunk, p[:k]...)
		p, n = p[k:], n+k
		if len(s.chunk) == streamChunk {
			if err := s.send(nil); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// send hands over the record under way, and tail behind it. Needs writing.
func (s *responseStream) send(tail []byte) error {
	b := s.chunk
	if n := len(b) - recordHead; n > 0 {
		appendRecordHead(b[:0], recordData, n)
		s.flushed = false
	} else {
		b = b[:0]
	}
	s.chunk = s.chunk[:recordHead]
	if b = append(b, tail...); len(b) == 0 {
		return nil
	}
	_, err := s.pw.Write(b)
	return err
}

func (s *responseStream) flush() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.flushed && len(s.chunk) == recordHead {
		return nil
	}
	var tail [recordHead]byte
	err := s.send(appendRecordHead(tail[:0], recordFlush, 0))
	s.flushed = true
	return err
}

// finish ends the body.
func (s *responseStream) finish(trailer []string) {
	s.writing.Lock()
	if err := s.send(appendEnd(nil, trailer)); err == nil {
		_ = s.pw.Close() // never fails
	}
	s.writing.Unlock()
	s.deadline(time.Time{})
}

// fail ends the body before it is whole.
func (s *responseStream) fail(err error) {
	_ = s.pw.CloseWithError(err) // never fails
	s.awaitWriter()
	s.deadline(time.Time{})
}

// awaitWriter waits for a reader of the request's body that is giving the answer. It ends with the
// pipe.
func (s *responseStream) awaitWriter() {
	s.writing.Lock()
	defer s.writing.Unlock()
}

// deadline makes writing fail after t; zero: never.
func (s *responseStream) deadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if !t.IsZero() {
		s.timer = time.AfterFunc(time.Until(t),
			func() { _ = s.pr.CloseWithError(os.ErrDeadlineExceeded) })
	}
}

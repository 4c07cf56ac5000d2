package link

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"perspective/jelly"
)

// Read gives what the peer writes; then io.EOF, or the error that the peer
// ended with, or one that is io.ErrUnexpectedEOF if the stream or the
// connection broke off before.
func (s *Stream) Read(p []byte) (int, error) {
	s.read.Lock()
	defer s.read.Unlock()
	if s.read.err == nil && len(p) == 0 {
		return 0, nil
	}
	s.mu.Lock()
	if s.readOver && s.read.err == nil {
		s.read.err = os.ErrClosed
	}
	s.mu.Unlock()
	if s.read.err == nil {
		if err := s.cause(); err != nil {
			s.endRead(err)
		}
	}
	for s.read.err == nil {
		if s.read.left > 0 {
			n, err := s.read.r.Read(p[:min(len(p), s.read.left)])
			s.read.left -= n
			if n > 0 {
				return n, nil
			}
			if err = s.readFailed(err); err != nil {
				return 0, err
			}
			continue
		}
		if err := s.readFailed(s.head()); err != nil {
			return 0, err
		}
	}
	return 0, s.read.err
}

// waiting reads from yamux. A method that has to wait there gives its turn away.
type waiting struct{ s *Stream }

func (w waiting) Read(p []byte) (int, error) {
	y, err := w.s.mux()
	if err != nil {
		return 0, err
	}
	back := w.s.aside(w.s.mustWaitToRead, 0)
	n, err := y.Read(p)
	back()
	w.s.read.took += int64(n)
	w.s.s.took(w.s.e, y, int64(n))
	return n, err
}

// aside says that a method waits, if the stream came with a call and must says that
// there is something to wait for; until back.
func (s *Stream) aside(must func(n int) bool, n int) (back func()) {
	s.s.mu.Lock()
	w := s.e.waiter
	waits := w != nil && !s.e.over && !s.e.closed && must(n)
	s.s.mu.Unlock()
	if waits {
		return w.Aside()
	}
	return func() {}
}

// mustWaitToRead needs mu of streams, and read.
func (s *Stream) mustWaitToRead(int) bool { return s.e.arrivals <= s.read.took && !s.e.peerFIN }

// mustWaitToWrite needs mu of streams.
func (s *Stream) mustWaitToWrite(n int) bool { return s.e.credit < int64(n) && !s.e.stopped }

// readFailed sorts what reading met: it returns a deadline, which changes
// nothing, and makes anything else the end. Needs read.
func (s *Stream) readFailed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	case errors.Is(err, errMalformed):
		s.reset()
	default:
		if err = s.explain(err, &s.readOver); errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if !errors.Is(err, os.ErrClosed) && s.cause() == nil {
			err = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
		}
	}
	s.endRead(err)
	return nil
}

// endRead needs read.
func (s *Stream) endRead(err error) {
	s.read.err, s.read.r, s.read.mark = err, nil, nil
	s.over(&s.readOver)
}

// head reads the head of the next chunk or the end mark. Needs read.
func (s *Stream) head() error {
	if s.read.r == nil {
		s.read.r = bufio.NewReaderSize(waiting{s}, 512)
	}
	r := s.read.r
	if s.read.mark != nil {
		return s.readMark()
	}
	c, err := r.Peek(1)
	if err != nil {
		return err
	}
	switch c[0] {
	case markEnd:
		_, _ = r.Discard(1) // it is there
		s.marked(io.EOF)
		return nil
	case markError:
		n, err := peekBin(r, 1)
		if err != nil {
			return err
		}
		if n > wholeSize {
			return errMalformed
		}
		s.read.mark, s.read.want = make([]byte, 0, n), n
		return s.readMark()
	}
	s.read.left, err = peekBin(r, 0)
	return err
}

// peekBin takes skip bytes and the head of a bin from r, or nothing.
func peekBin(r *bufio.Reader, skip int) (int, error) {
	c, err := r.Peek(skip + 1)
	if err != nil {
		return 0, err
	}
	var width int
	switch c[skip] {
	case markBin8:
		width = 1
	case markBin16:
		width = 2
	case markBin32:
		width = 4
	default:
		return 0, errMalformed
	}
	if c, err = r.Peek(skip + 1 + width); err != nil {
		return 0, err
	}
	n := 0
	for _, x := range c[skip+1:] {
		n = n<<8 | int(x)
	}
	_, _ = r.Discard(len(c)) // they are there
	return n, nil
}

// readMark reads the error that the peer ended with. Needs read.
func (s *Stream) readMark() error {
	for s.read.want > 0 {
		at := len(s.read.mark)
		n, err := s.read.r.Read(s.read.mark[at : at+s.read.want])
		s.read.mark, s.read.want = s.read.mark[:at+n], s.read.want-n
		if err != nil && n == 0 {
			return err
		}
	}
	l := s.s.l
	if _, err := jelly.Scan(s.read.mark, &l.limits.Values); err != nil {
		return errMalformed
	}
	d := jelly.GetDecoder()
	defer jelly.PutDecoder(d)
	d.Reset(l.config.Types, nil, s.read.mark, &l.limits.Values)
	err := l.config.Errors.DecodeError(d)
	if err == nil {
		return errMalformed
	}
	s.marked(err)
	return nil
}

// marked ends reading with what the end mark says, the mark being the last that was read. Needs
// read.
func (s *Stream) marked(end error) {
	if err := s.s.marked(s.e, s.read.took-int64(s.read.r.Buffered())); err != nil {
		s.s.l.session.End(err)
		end = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
	}
	s.endRead(end)
}

//go:build unix

package link

import (
	"io"
	"net"
	"syscall"
)

// rawWriter writes to a socket's descriptor without ever waiting for room.
type rawWriter struct {
	conn syscall.RawConn
	fn   func(fd uintptr) bool
	buf  []byte
	n    int
	err  error

	// of the vec of o
	o      *outbound
	tryFn  func(fd uintptr) bool
	waitFn func(fd uintptr) bool
	done   bool
	since  int // bytes taken since the stall timer was set

	sealed *sealed // nil: what is written is plain
	polled Polled  // nil: conn is a descriptor
}

// Polled is what is used as a descriptor is and has none: what SyscallConn gives may be one. Read
// and Write of the RawConn call their function until it is true, as those of a socket do, and the
// function calls TryRead and TryWrite where it makes a system call else. They never wait, and give
// syscall.EAGAIN instead.
type Polled interface {
	syscall.RawConn
	TryRead(to [][]byte) (int, error)
	TryWrite(from [][]byte) (int, error)
}

// descriptor is nil for anything but a TCP or unix connection, what is Polled, or TLS over one that
// was made for it: others must see every byte themselves.
func descriptor(c any) syscall.RawConn {
	var sc syscall.Conn
	switch c := c.(type) {
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	case *sealed:
		return descriptor(c.under.Conn)
	case syscall.Conn:
		if rc, err := c.SyscallConn(); err == nil {
			if p, ok := rc.(Polled); ok {
				return p
			}
		}
		return nil
	default:
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return rc
}

// rawReader waits for something to read without a buffer in its hand.
type rawReader struct {
	conn syscall.RawConn
	fn   func(fd uintptr) bool
	to   [2][]byte // the piece that is read directly, and the buffer; nil: only the buffer
	n    int
	err  error

	sealed *sealed  // nil: what is read is plain
	s      *inbound // of sealed
	polled Polled   // nil: conn is a descriptor
}

func newRawReader(s *inbound, c io.Reader) *rawReader {
	rc := descriptor(c)
	if rc == nil {
		return nil
	}
	r := &rawReader{conn: rc}
	r.polled, _ = rc.(Polled)
	if r.sealed, _ = c.(*sealed); r.sealed != nil {
		r.s, r.fn = s, r.readBox
		return r
	}
	r.fn = func(fd uintptr) bool {
		if s.buf == nil {
			s.borrow()
		}
		for {
			if r.to[0] == nil {
				r.n, r.err = r.now(fd, s.free())
			} else {
				r.to[1] = s.buf[:modestRead]
				r.n, r.err = r.vecNow(fd)
			}
			switch r.err {
			case syscall.EINTR: //nolint:errorlint // a system call gives bare numbers
				continue
			case syscall.EAGAIN:
				if s.n == 0 {
					s.giveBuffer()
				}
				return false
			}
			return true
		}
	}
	return r
}

// now reads what is there.
func (r *rawReader) now(fd uintptr, b []byte) (int, error) {
	if r.polled != nil {
		return r.polled.TryRead([][]byte{b})
	}
	return readNow(fd, b)
}

// vecNow reads what is there into the piece, and what is behind it into the buffer.
func (r *rawReader) vecNow(fd uintptr) (int, error) {
	if r.polled != nil {
		return r.polled.TryRead(r.to[:])
	}
	return readv(int(fd), r.to[:])
}

// readTo reads into p and, what comes behind it, into the buffer, which is
// empty.
func (r *rawReader) readTo(p []byte) (int, error) {
	if r.sealed != nil {
		return r.open(p)
	}
	r.to[0] = p
	n, err := r.read()
	r.to = [2][]byte{}
	return n, err
}

// read reads into the buffer of the in that r was made for.
func (r *rawReader) read() (int, error) {
	if r.sealed != nil {
		return r.open(nil)
	}
	if err := r.conn.Read(r.fn); err != nil {
		return 0, err
	}
	if r.err != nil {
		return 0, r.err
	}
	if r.n == 0 {
		return 0, io.EOF
	}
	return r.n, nil
}

// newRawWriter writes for the same broker that s reads for.
func newRawWriter(s *inbound, w io.Writer) *rawWriter {
	rc := descriptor(w)
	if rc == nil {
		return nil
	}
	r := &rawWriter{conn: rc}
	r.polled, _ = rc.(Polled)
	r.sealed, _ = w.(*sealed)
	r.fn = func(fd uintptr) bool {
		for {
			switch {
			case r.polled != nil:
				r.n, r.err = r.polled.TryWrite([][]byte{r.buf})
			case s.holder.Load() == loops:
				r.n, r.err = writeNow(fd, r.buf)
			default: // one caller alone is quicker so: docs/performance.md
				r.n, r.err = syscall.Write(int(fd), r.buf)
			}
			if r.err != syscall.EINTR { //nolint:errorlint // a system call gives bare numbers
				return true // also without room: the caller goes elsewhere with the rest
			}
		}
	}
	return r
}

// try writes what the socket takes at once. One caller at a time. all is false if more is to be
// written, of b or, sealed already, of what was before it.
func (r *rawWriter) try(b []byte) (n int, all bool, err error) {
	if r.sealed != nil {
		return r.trySealed(b)
	}
	n, err = r.tryPlain(b)
	return n, n == len(b), err
}

func (r *rawWriter) tryPlain(b []byte) (int, error) {
	r.buf = b
	err := r.conn.Write(r.fn)
	r.buf = nil
	if err != nil {
		return 0, err
	}
	switch r.err {
	case nil:
		return r.n, nil
	case syscall.EAGAIN: //nolint:errorlint // a system call gives bare numbers
		return 0, nil
	}
	return max(r.n, 0), r.err
}

// forVec makes r ready for the vecs of o.
func (r *rawWriter) forVec(o *outbound) {
	r.o = o
	r.tryFn = func(fd uintptr) bool {
		r.writeVec(fd)
		return true
	}
	r.waitFn = func(fd uintptr) bool {
		if r.since += r.writeVec(fd); r.since >= blockSize {
			r.since = 0
			o.armStall()
		}
		return r.done || r.err != nil
	}
}

// tryVec writes what the socket takes at once of the vec, and reports whether
// that was all.
func (r *rawWriter) tryVec() (done bool, err error) {
	if r.sealed != nil {
		return r.tryVecSealed()
	}
	return r.vec(r.tryFn)
}

// waitVec writes the vec. The stall timer runs, and begins anew whenever the
// socket has taken blockSize.
func (r *rawWriter) waitVec() error {
	r.since = 0
	_, err := r.vec(r.waitFn)
	return err
}

func (r *rawWriter) vec(f func(fd uintptr) bool) (done bool, err error) {
	r.err, r.done = nil, false
	if err := r.conn.Write(f); err != nil {
		return false, err
	}
	return r.done, r.err
}

// writeVec writes until the socket takes no more.
func (r *rawWriter) writeVec(fd uintptr) (taken int) {
	for !r.done && r.err == nil {
		segs := r.o.beginVec()
		if segs == nil {
			r.err = net.ErrClosed
			return taken
		}
		var n int
		var err error
		if r.polled != nil {
			n, err = r.polled.TryWrite(segs)
		} else {
			n, err = writev(int(fd), segs)
		}
		r.done = r.o.endVec(n)
		taken += max(n, 0)
		switch err {
		case nil, syscall.EINTR: //nolint:errorlint // a system call gives bare numbers
		case syscall.EAGAIN:
			return taken
		default:
			r.err = err
		}
	}
	return taken
}

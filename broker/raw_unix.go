//go:build unix

package broker

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
}

// newRawWriter is nil for anything but a TCP or unix connection: others, TLS
// for one, must see every byte themselves.
func newRawWriter(w io.Writer) *rawWriter {
	var sc syscall.Conn
	switch c := w.(type) {
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	default:
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	r := &rawWriter{conn: rc}
	r.fn = func(fd uintptr) bool {
		for {
			r.n, r.err = syscall.Write(int(fd), r.buf)
			if r.err != syscall.EINTR {
				return true // also without room: the caller goes elsewhere with the rest
			}
		}
	}
	return r
}

// try writes what the socket takes at once. One caller at a time.
func (r *rawWriter) try(b []byte) (int, error) {
	r.buf = b
	err := r.conn.Write(r.fn)
	r.buf = nil
	if err != nil {
		return 0, err
	}
	switch r.err {
	case nil:
		return r.n, nil
	case syscall.EAGAIN:
		return 0, nil
	}
	return max(r.n, 0), r.err
}

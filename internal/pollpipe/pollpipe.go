// Package pollpipe is a pipe in memory that is used as a socket is: it is read and written without
// waiting, and waited for. So what the native wire does with sockets can be tested in bubbles of
// testing/synctest: methods that the reader runs, callers that read, gathered writes.
package pollpipe

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Conn is one end: a net.Conn and a syscall.Conn. Several goroutines may use it at once.
type Conn struct {
	in, out *line
	read    deadline
	write   deadline
}

var (
	_ net.Conn     = (*Conn)(nil)
	_ syscall.Conn = (*Conn)(nil)
)

// New gives the ends of a pipe that holds up to size bytes each way.
func New(size int) (*Conn, *Conn) {
	p := new(pipe)
	p.changed.L = &p.mu
	x, y := &line{p: p, size: size}, &line{p: p, size: size}
	a, b := &Conn{in: x, out: y}, &Conn{in: y, out: x}
	for _, c := range []*Conn{a, b} {
		c.read.p, c.write.p = p, p
	}
	return a, b
}

// pipe is both directions: one lock and one condition, for the few who wait.
type pipe struct {
	mu      sync.Mutex
	changed sync.Cond
}

// line is one direction. Its fields are under the pipe's lock.
type line struct {
	p            *pipe
	size         int
	buf          []byte
	wrote, taken bool // nobody writes any more; nobody reads any more
}

// deadline is a time after which waiting ends. Its fields are under the pipe's lock.
type deadline struct {
	p     *pipe
	timer *time.Timer
	past  bool
}

func (d *deadline) set(t time.Time) {
	d.p.mu.Lock()
	defer d.p.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.past = !t.IsZero() && !t.After(time.Now())
	if !t.IsZero() && !d.past {
		var timer *time.Timer
		timer = time.AfterFunc(time.Until(t), func() { // stopped by set and Close
			d.p.mu.Lock()
			defer d.p.mu.Unlock()
			if d.timer == timer {
				d.past = true
				d.p.changed.Broadcast()
			}
		})
		d.timer = timer
	}
	d.p.changed.Broadcast()
}

// poll calls f until it is true, and between until ready is. over says that this end is closed;
// both are looked at under the pipe's lock.
func (d *deadline) poll(over *bool, ready func() bool, f func(uintptr) bool) error {
	for {
		d.p.mu.Lock()
		closed, past := *over, d.past
		d.p.mu.Unlock()
		switch {
		case closed:
			return net.ErrClosed
		case past:
			return os.ErrDeadlineExceeded
		case f(0):
			return nil
		}
		d.p.mu.Lock()
		for !*over && !d.past && !ready() {
			d.p.changed.Wait()
		}
		d.p.mu.Unlock()
	}
}

// Raw is an end as a descriptor is used: a syscall.RawConn whose functions call TryRead and
// TryWrite instead of system calls.
type Raw struct{ c *Conn }

// SyscallConn gives c as a Raw.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return Raw{c}, nil }

// Control calls f.
func (Raw) Control(f func(uintptr)) error {
	f(0)
	return nil
}

// Read calls f until it is true, whenever there may be something to read.
func (r Raw) Read(f func(uintptr) bool) error {
	l := r.c.in
	return r.c.read.poll(&l.taken, func() bool { return len(l.buf) > 0 || l.wrote }, f)
}

// Write calls f until it is true, whenever there may be room.
func (r Raw) Write(f func(uintptr) bool) error {
	l := r.c.out
	return r.c.write.poll(&l.wrote, func() bool { return len(l.buf) < l.size || l.taken }, f)
}

// TryRead reads what is there into several slices, one after another. It gives syscall.EAGAIN if
// there is nothing, and 0 at the end.
func (r Raw) TryRead(to [][]byte) (n int, err error) {
	l := r.c.in
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if len(l.buf) == 0 {
		if l.wrote || l.taken {
			return 0, nil
		}
		return -1, syscall.EAGAIN
	}
	for _, p := range to {
		k := copy(p, l.buf)
		n, l.buf = n+k, l.buf[k:]
	}
	l.p.changed.Broadcast()
	return n, nil
}

// TryWrite writes what there is room for of several slices. It gives syscall.EAGAIN if there is no
// room, and syscall.EPIPE if nobody reads.
func (r Raw) TryWrite(from [][]byte) (n int, err error) {
	l := r.c.out
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if l.wrote || l.taken {
		return -1, syscall.EPIPE
	}
	for _, p := range from {
		k := min(len(p), l.size-len(l.buf))
		l.buf = append(l.buf, p[:k]...)
		n += k
	}
	if n == 0 {
		return -1, syscall.EAGAIN
	}
	l.p.changed.Broadcast()
	return n, nil
}

// Read waits until there is something.
func (c *Conn) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	r := Raw{c}
	werr := r.Read(func(uintptr) bool {
		n, err = r.TryRead([][]byte{p})
		return err != syscall.EAGAIN //nolint:errorlint // it is given bare
	})
	switch {
	case werr != nil:
		return 0, werr
	case err == nil && n == 0:
		return 0, io.EOF
	}
	return max(n, 0), err
}

// Write waits until there was room for all of p.
func (c *Conn) Write(p []byte) (n int, err error) {
	r := Raw{c}
	werr := r.Write(func(uintptr) bool {
		for err = nil; n < len(p) && err == nil; {
			var k int
			k, err = r.TryWrite([][]byte{p[n:]})
			n += max(k, 0)
		}
		return err != syscall.EAGAIN //nolint:errorlint // it is given bare
	})
	if werr != nil {
		err = werr
	}
	return n, err
}

// Close ends both directions: what waits to be read by the peer can still be read.
func (c *Conn) Close() error {
	c.read.set(time.Time{})
	c.write.set(time.Time{})
	c.in.p.mu.Lock()
	defer c.in.p.mu.Unlock()
	c.in.taken, c.out.wrote = true, true
	c.in.p.changed.Broadcast()
	return nil
}

// CloseWrite ends what is written: the peer reads io.EOF behind it.
func (c *Conn) CloseWrite() error {
	c.out.p.mu.Lock()
	defer c.out.p.mu.Unlock()
	c.out.wrote = true
	c.out.p.changed.Broadcast()
	return nil
}

// SetDeadline, SetReadDeadline and SetWriteDeadline are those of net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	c.read.set(t)
	c.write.set(t)
	return nil
}

// SetReadDeadline says when reading ends.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.read.set(t)
	return nil
}

// SetWriteDeadline says when writing ends.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.write.set(t)
	return nil
}

type addr struct{}

func (addr) Network() string { return "pipe" }
func (addr) String() string  { return "pipe" }

// LocalAddr and RemoteAddr are "pipe".
func (c *Conn) LocalAddr() net.Addr { return addr{} }

// RemoteAddr is "pipe".
func (c *Conn) RemoteAddr() net.Addr { return addr{} }

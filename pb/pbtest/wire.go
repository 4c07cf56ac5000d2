package pbtest

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// ErrCut is what both ends of a Wire that was cut get.
var ErrCut = errors.New("pbtest: the wire was cut")

// capacity is how many bytes lie in one direction of a wire before a writer
// waits: about what the buffers of a socket hold.
const capacity = 64 << 10

// A Wire is a connection in memory whose faults a test chooses while it is in
// use. Make it with NewWire. Its methods may be called by several goroutines
// at once. It has no goroutine of its own and needs no closing.
type Wire struct {
	mu      sync.Mutex
	changed sync.Cond // readers, writers and deadlines wait for it
	ends    [2]End
	lanes   [2]lane // bytes that end i has written
	delay   time.Duration
	piece   int // the most that one Read gives; 0: any number
	left    int // bytes until the cut; negative: no cut is planned
	stalled bool
	cut     bool
}

// lane is one direction.
type lane struct {
	chunks  []chunk
	size    int
	written int
	closed  bool // the writing end was closed
	deaf    bool // the reading end was closed
}

type chunk struct {
	bytes []byte
	due   time.Time
}

// NewWire makes a wire without faults.
func NewWire() *Wire {
	w := &Wire{left: -1}
	w.changed.L = &w.mu
	for i := range w.ends {
		w.ends[i] = End{wire: w, side: i}
	}
	return w
}

// Pipe gives the two ends of a new Wire that nobody disturbs. Unlike those of
// net.Pipe they buffer what is written, as sockets do.
func Pipe() (a, b net.Conn) { return NewWire().Ends() }

// Ends gives both ends. They are alike.
func (w *Wire) Ends() (a, b net.Conn) { return &w.ends[0], &w.ends[1] }

// Delay makes everything that is written from now on arrive d later.
func (w *Wire) Delay(d time.Duration) {
	w.change(func() { w.delay = d })
}

// Pieces makes each Read give at most n bytes, so that messages arrive broken
// at every place; 0 ends that.
func (w *Wire) Pieces(n int) {
	w.change(func() { w.piece = n })
}

// Stall stops all delivery: a writer waits when the buffer is full, as with a
// peer that does not read.
func (w *Wire) Stall() {
	w.change(func() { w.stalled = true })
}

// Resume ends a Stall.
func (w *Wire) Resume() {
	w.change(func() { w.stalled = false })
}

// Cut breaks the wire now. What is under way is lost, and both ends get ErrCut.
func (w *Wire) Cut() {
	w.change(func() {
		w.cut = true
		w.lanes[0].chunks, w.lanes[1].chunks = nil, nil
	})
}

// CutAfter breaks the wire when n more bytes have been written, by both ends
// together. Those bytes arrive.
func (w *Wire) CutAfter(n int) {
	w.change(func() { w.left = n })
}

// Written says how many bytes each end has written.
func (w *Wire) Written() (a, b int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lanes[0].written, w.lanes[1].written
}

func (w *Wire) change(f func()) {
	w.mu.Lock()
	f()
	w.mu.Unlock()
	w.changed.Broadcast()
}

func (w *Wire) wake() { w.change(func() {}) }

// An End is one end of a Wire.
type End struct {
	wire        *Wire
	side        int
	read, write deadline // guarded by wire.mu
}

// deadline wakes the waiting reader or writer when it has passed.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) set(at time.Time, wake func()) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = at
	if !at.IsZero() {
		d.timer = time.AfterFunc(time.Until(at), wake)
	}
}

// Read gives what the other end wrote: io.EOF when that was closed, ErrCut when
// the wire is cut.
func (e *End) Read(p []byte) (int, error) {
	w := e.wire
	w.mu.Lock()
	defer w.mu.Unlock()
	in := &w.lanes[1-e.side]
	for {
		switch {
		case in.deaf:
			return 0, net.ErrClosed
		case e.read.passed():
			return 0, os.ErrDeadlineExceeded
		case w.stalled && !w.cut:
		case len(in.chunks) > 0:
			if wait := time.Until(in.chunks[0].due); wait > 0 {
				timer := time.AfterFunc(wait, w.wake)
				w.changed.Wait()
				timer.Stop()
				continue
			}
			return w.take(in, p), nil
		case w.cut:
			return 0, ErrCut
		case in.closed:
			return 0, io.EOF
		}
		w.changed.Wait()
	}
}

// take moves bytes that have arrived into p.
func (w *Wire) take(in *lane, p []byte) int {
	c := &in.chunks[0]
	if w.piece > 0 && len(p) > w.piece {
		p = p[:w.piece]
	}
	n := copy(p, c.bytes)
	if c.bytes = c.bytes[n:]; len(c.bytes) == 0 {
		in.chunks = in.chunks[1:]
	}
	in.size -= n
	w.changed.Broadcast()
	return n
}

// Write sends p to the other end. It waits while the buffer is full.
func (e *End) Write(p []byte) (n int, err error) {
	w := e.wire
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &w.lanes[e.side]
	for len(p) > 0 {
		switch {
		case out.closed:
			return n, net.ErrClosed
		case w.cut:
			return n, ErrCut
		case out.deaf:
			return n, io.ErrClosedPipe
		case e.write.passed():
			return n, os.ErrDeadlineExceeded
		case out.size >= capacity:
			w.changed.Wait()
			continue
		}
		k := min(len(p), capacity-out.size)
		if w.left >= 0 {
			k = min(k, w.left)
			w.left -= k
			w.cut = w.left == 0
		}
		if k > 0 {
			out.chunks = append(out.chunks,
				chunk{append([]byte(nil), p[:k]...), time.Now().Add(w.delay)})
		}
		out.size += k
		out.written += k
		p, n = p[k:], n+k
		w.changed.Broadcast()
	}
	return n, nil
}

// Close ends this end. The other one reads what was written before, then io.EOF.
func (e *End) Close() error {
	e.wire.change(func() {
		e.wire.lanes[e.side].closed = true
		in := &e.wire.lanes[1-e.side]
		in.deaf = true
		in.chunks, in.size = nil, 0
		e.read.set(time.Time{}, nil)
		e.write.set(time.Time{}, nil)
	})
	return nil
}

// SetDeadline sets both deadlines.
func (e *End) SetDeadline(t time.Time) error {
	e.wire.change(func() {
		e.read.set(t, e.wire.wake)
		e.write.set(t, e.wire.wake)
	})
	return nil
}

// SetReadDeadline ends Reads with os.ErrDeadlineExceeded from t on.
func (e *End) SetReadDeadline(t time.Time) error {
	e.wire.change(func() { e.read.set(t, e.wire.wake) })
	return nil
}

// SetWriteDeadline ends Writes with os.ErrDeadlineExceeded from t on.
func (e *End) SetWriteDeadline(t time.Time) error {
	e.wire.change(func() { e.write.set(t, e.wire.wake) })
	return nil
}

// LocalAddr names the wire.
func (e *End) LocalAddr() net.Addr { return addr{} }

// RemoteAddr names the wire.
func (e *End) RemoteAddr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "wire" }
func (addr) String() string  { return "wire" }

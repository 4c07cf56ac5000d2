package link

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"perspective/broker/message"

	"github.com/hashicorp/yamux"
)

// muxTime is how long yamux waits for a frame to be taken for writing before
// it gives up a session that is only slow. What takes nothing at all has ended
// long before, by Limits.WriteStall.
const muxTime = 2 * time.Minute

// muxStream is a *yamux.Stream, and what this package uses of it.
type muxStream interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	Shrink() // lets go of the memory for what was read, if nothing is unread
}

// noStream stands for a yamux stream that is over.
type noStream struct{}

func (noStream) Read([]byte) (int, error)         { return 0, yamux.ErrConnectionReset }
func (noStream) Write([]byte) (int, error)        { return 0, yamux.ErrConnectionReset }
func (noStream) Close() error                     { return nil }
func (noStream) SetReadDeadline(time.Time) error  { return nil }
func (noStream) SetWriteDeadline(time.Time) error { return nil }
func (noStream) Shrink()                          {}

// newMux makes the yamux session over m. Its own timeouts are off: that for
// opening would end the whole session for one stream that nobody takes, that
// for closing would destroy what a slow reader has not read yet. Streams that
// a peer never closes count against its own Limits.Streams.
func newMux(m *muxConn, log *slog.Logger, dialer bool, backlog int) (*yamux.Session, error) {
	config := &yamux.Config{
		AcceptBacklog:          backlog,
		KeepAliveInterval:      time.Minute, // not enabled: the broker has its own
		ConnectionWriteTimeout: muxTime,
		MaxStreamWindowSize:    yamuxWindow,
		Logger:                 &muxLog{log: log},
	}
	if dialer {
		return yamux.Client(m, config)
	}
	return yamux.Server(m, config)
}

// muxConn is the connection that the yamux session believes in. What the
// broker's reader puts in with deliver the session reads; what it writes goes
// past the guard and out between the messages.
//
// Only whole frames can be read from it: yamux holds a stream's lock while it
// reads a payload, and a half frame would keep that stream's users from
// everything, deadlines too.
type muxConn struct {
	s *streams

	mu     sync.Mutex
	more   sync.Cond // on mu
	buf    []byte
	i      int // buf[:i] is read
	closed bool

	// of the session's sender alone
	head []byte // of a data frame whose payload comes with the next Write
	drop int    // bytes of payload to throw away
}

// deliver puts a frame in; false if more waits than an honest peer can cause.
func (m *muxConn) deliver(head, body []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return true
	}
	m.compact()
	m.buf = append(append(m.buf, head...), body...)
	m.more.Signal()
	return len(m.buf)-m.i <= m.s.l.limits.StreamBytes+4<<20
}

// lags reports whether the session's receiver is behind with what was put in.
func (m *muxConn) lags() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.buf)-m.i > muxLag
}

// muxLag is how much may wait for the session's receiver until the reader lets it go first, with
// any other goroutine that wants the processor: a reader that always finds something to read leaves
// it after 10 ms at the soonest, and twenty of those kept a call of another connection waiting for
// half a second.
const muxLag = 64 << 10

// compact needs mu.
func (m *muxConn) compact() {
	switch {
	case m.i == len(m.buf):
		m.buf, m.i = m.buf[:0], 0
	case m.i > len(m.buf)/2:
		m.buf, m.i = m.buf[:copy(m.buf, m.buf[m.i:])], 0
	default:
		return
	}
	if cap(m.buf) > yamuxWindow && len(m.buf) < yamuxWindow/4 {
		m.buf = append([]byte(nil), m.buf...)
	}
}

// Read is for the session's receiver.
func (m *muxConn) Read(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.i == len(m.buf) && !m.closed {
		m.more.Wait()
	}
	if m.i == len(m.buf) {
		return 0, io.EOF
	}
	n := copy(p, m.buf[m.i:])
	m.i += n
	// what the receiver was behind with is no measure of what comes
	if m.i == len(m.buf) && cap(m.buf) > yamuxWindow {
		m.buf, m.i = nil, 0
	}
	return n, nil
}

// shut ends reading. Streams that are told of a reset first do not spin on the
// closed session until it gets to them, as yamux's would.
func (m *muxConn) shut(resets []byte) {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		m.buf = append(m.buf, resets...)
	}
	m.more.Broadcast()
	m.mu.Unlock()
}

// Write is for the session's sender: a header, then the payload if there is one.
func (m *muxConn) Write(p []byte) (int, error) {
	if m.drop > 0 {
		m.drop -= len(p)
		return len(p), nil
	}
	if m.head != nil {
		head := m.head
		m.head = nil
		return len(p), m.send(head, p)
	}
	h, err := parseHeader(p)
	if err != nil {
		return 0, err
	}
	if h.stream == callStream {
		// The session's own stream 1 stands for the call stream, which it
		// must never see: it is acknowledged and over at once.
		m.deliver(appendHeader(nil,
			header{kind: frameWindow, flags: flagACK | flagRST, stream: callStream}), nil)
		return len(p), nil
	}
	m.s.mu.Lock()
	v := m.s.outgoing(h)
	m.s.mu.Unlock()
	body := h.kind == frameData && h.length > 0
	switch {
	case v == drop && body:
		m.drop = int(h.length)
	case v == drop:
	case body:
		m.head = append([]byte(nil), p...)
	default:
		return len(p), m.send(p, nil)
	}
	return len(p), nil
}

// send hands a frame on. When that fails the session will end. A goroutine that waits in one of its
// streams would then spin until yamux gets to that stream, so the session's receiver first reports
// the end of all streams.
func (m *muxConn) send(head, body []byte) error {
	err := m.s.l.out.foreign(head, body)
	if err == nil {
		return nil
	}
	m.shut(m.s.resets())
	m.s.mu.Lock()
	session := m.s.session
	m.s.mu.Unlock()
	if session != nil {
		t := time.NewTimer(shutTime)
		defer t.Stop()
		select {
		case <-session.CloseChan():
		case <-t.C: // the receiver may itself wait for this goroutine
		}
	}
	return err
}

// shutTime is how long the session's sender waits for its receiver.
const shutTime = 100 * time.Millisecond

// Close is called by the session when it ends, for whatever reason; nothing
// of the connection is trusted after that.
func (m *muxConn) Close() error {
	m.shut(m.s.resets())
	m.s.broken()
	return nil
}

// muxLog is where yamux writes its log: a few lines a second, at Debug.
type muxLog struct {
	log  *slog.Logger
	mu   sync.Mutex
	last time.Time
	n    int
}

const muxLines = 5 // a second

func (l *muxLog) Printf(format string, v ...any) {
	l.mu.Lock()
	now := time.Now()
	if now.Sub(l.last) > time.Second {
		l.last, l.n = now, 0
	}
	l.n++
	n := l.n
	l.mu.Unlock()
	if n <= muxLines {
		l.log.Debug("yamux", "text",
			message.Printable(strings.TrimSpace(fmt.Sprintf(format, v...))))
	}
}

func (l *muxLog) Print(v ...any)   { l.Printf("%v", v) }
func (l *muxLog) Println(v ...any) { l.Printf("%v", v) }

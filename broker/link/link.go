package link

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"perspective/broker/budget"
	"perspective/broker/message"
	"perspective/broker/wire"
	"perspective/jelly"
)

// Config is what a Link needs from its session. All fields but Types and Refs are needed.
type Config struct {
	// Dialer is true on the side that opened the connection.
	Dialer bool
	// Limits of this side. All fields are set.
	Limits Limits
	// Node is the name this side goes by in its preface; empty: none.
	Node string
	// Types and Refs are what messages are decoded with.
	Types *jelly.Registry
	Refs  jelly.Refs
	// Errors turns the errors that end byte streams into values and back.
	Errors wire.Errors
	// Account is what the connection's memory counts in.
	Account *budget.Account
	// Logger gets what an administrator should know.
	Logger *slog.Logger
}

// A Link is the native wire over one connection. Make it with New. It is a wire.Wire: the session
// calls Start, and at the end Stop, Shut, Close and Wait in this order.
type Link struct {
	session wire.Session
	config  Config
	limits  Limits
	account *budget.Account
	dialer  bool
	conn    io.ReadWriteCloser
	log     *slog.Logger

	out     outbound
	in      inbound
	streams streams
	parts   parts
	guard   bucket

	peer   atomic.Pointer[wire.Peer]
	strict atomic.Pointer[wire.Strict] // nil: the peer is no stranger
	heard  atomic.Bool                 // something came since the last look
	over   atomic.Bool                 // Stop was called
	done   chan struct{}               // closed by Close
	wg     sync.WaitGroup              // reader and writer: what ends with the link

	mu    sync.Mutex
	hello *time.Timer // runs until the preface has come
	deaf  *time.Timer // runs when the connection can not be written to
}

var _ wire.Wire = (*Link)(nil)

// New makes a Link over conn, which it owns from now on: Close closes it. An error says that
// the preface would be too long.
func New(conn io.ReadWriteCloser, config Config) (*Link, error) {
	conn = takeSealed(conn)
	l := &Link{
		config:  config,
		limits:  config.Limits,
		account: config.Account,
		dialer:  config.Dialer,
		conn:    conn,
		log:     config.Logger,
		done:    make(chan struct{}),
	}
	preface, err := l.preface()
	if err != nil {
		return nil, err
	}
	l.out.init(l, conn)
	l.in.init(l, conn)
	l.parts.l = l
	l.streams.init(l)
	l.guard.init(l.limits.Control)
	l.out.first = preface
	if l.dialer {
		l.out.first = appendHeader(preface,
			header{kind: frameWindow, flags: flagSYN, stream: callStream})
		l.out.open = true
	}
	return l, nil
}

// Start sends the preface and has what comes delivered to s.
func (l *Link) Start(s wire.Session) {
	l.session = s
	l.mu.Lock()
	l.hello = time.AfterFunc(l.limits.Handshake, l.lateHello) // stopped by greeted and Shut
	l.mu.Unlock()
	l.wg.Go(l.read)               // ends with the connection
	l.wg.Go(func() { l.Flush() }) // ends when the preface is handed to a write
}

func (l *Link) lateHello() {
	if l.peer.Load() == nil {
		l.session.End(
			fmt.Errorf("%w: no preface came within %v", wire.ErrTimeout, l.limits.Handshake))
	}
}

// greeted takes in the peer's preface.
func (l *Link) greeted(p *wire.Peer) {
	l.mu.Lock()
	l.hello.Stop()
	l.mu.Unlock()
	l.peer.Store(p)
	l.session.Greeted()
}

// Peer is what the peer's preface said; nil until it came.
func (l *Link) Peer() *wire.Peer { return l.peer.Load() }

// Restrict has no more taken from the peer than r says; nil: Limits hold.
func (l *Link) Restrict(r *wire.Strict) { l.strict.Store(r) }

// stranger reports whether the peer has not logged in yet.
func (l *Link) stranger() bool { return l.strict.Load() != nil }

// messageLimit is how large a message may be that is taken from the peer.
func (l *Link) messageLimit() int {
	if s := l.strict.Load(); s != nil {
		return s.Message
	}
	return l.limits.Message
}

// queuedLimit is how much may wait to be written to the peer.
func (l *Link) queuedLimit() int {
	if s := l.strict.Load(); s != nil {
		return s.Queued
	}
	return l.limits.Queued
}

// Heard reports whether anything came since it was called the last time.
func (l *Link) Heard() bool { return l.heard.Swap(false) }

// read is the reader's goroutine.
func (l *Link) read() {
	me, err := l.in.me.Load(), errGone
	defer func() {
		//nolint:errorlint // run has not returned, and nobody else reads
		if err == errGone && l.in.me.Load() == me {
			l.parts.end()
			l.session.End(err)
		}
	}()
	err = l.in.run(me)
	for errors.Is(err, errVacant) {
		if !l.nap() {
			return
		}
		err = l.in.run(me)
	}
	if !errors.Is(err, wire.ErrReplaced) {
		l.readEnded(err)
	}
}

// readEnded ends the connection because nothing more can be read.
func (l *Link) readEnded(err error) {
	l.parts.end()
	if _, ok := errors.AsType[*message.ProtocolError](err); !ok {
		err = readError(err)
	}
	l.session.End(err)
}

// readError says what the end of reading means.
func readError(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, wire.ErrPeerClosed):
		return err0(err, wire.ErrPeerClosed)
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return wire.ErrClosed
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%w in the middle of a frame", wire.ErrPeerClosed)
	}
	return fmt.Errorf("%w: %w", wire.ErrPeerClosed, err)
}

// err0 keeps an error that says more than the plain one.
func err0(err, plain error) error {
	if errors.Is(err, plain) {
		return err
	}
	return plain
}

func writeError(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return wire.ErrClosed
	}
	return fmt.Errorf("%w: %w", wire.ErrPeerClosed, err)
}

// unheard marks an error of a connection that the reader has not read to its end.
func unheard(err error) error { return fmt.Errorf("%w (%w)", err, wire.ErrUnheard) }

// deliver hands one message to the session. The bytes are gone afterwards, unless they are owned:
// then nobody uses them again.
func (l *Link) deliver(raw []byte, owned bool) error {
	limits := &l.limits.Values
	sum, err := jelly.Scan(raw, limits)
	if err != nil {
		return l.refuse(raw, err)
	}
	d := l.in.dec
	d.Reset(l.config.Types, l.config.Refs, raw, limits)
	h, err := message.DecodeHead(d)
	if err != nil {
		return err
	}
	l.in.before()
	if h.Kind == message.Part {
		return l.parts.part(d, h)
	}
	return l.session.Deliver(d, h, wire.Scanned{Raw: raw, Refs: sum.Refs, Owned: owned})
}

// refuse answers a message whose values are over a limit; one that is not MessagePack at all ends
// the connection.
func (l *Link) refuse(raw []byte, err error) error {
	var s *jelly.ScanError
	if !errors.As(err, &s) || !s.Limit {
		return message.Malformed(raw, err)
	}
	return l.session.Refuse(raw, len(raw), err)
}

// abortTime bounds how long the end of a connection waits for its last words to be read, and for
// the reason of the peer when nothing can be written any more.
const abortTime = time.Second

// writeFailed ends the connection because it can not be written to. What the peer said last, the
// reason perhaps, may still lie unread: the reader has a moment to find it.
func (l *Link) writeFailed(err error) {
	reason := writeError(err)
	l.out.fail(reason)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over.Load() && l.deaf == nil {
		// stopped by Shut
		l.deaf = time.AfterFunc(abortTime, func() { l.session.End(unheard(reason)) })
	}
}

// Stop has nothing delivered any more.
func (l *Link) Stop() { l.over.Store(true) }

// Shut ends the sending, and the byte streams. What waits is dropped.
func (l *Link) Shut(reason error) {
	l.mu.Lock()
	if l.hello != nil {
		l.hello.Stop()
	}
	if l.deaf != nil {
		l.deaf.Stop()
	}
	l.mu.Unlock()
	l.streams.shut(reason)
	l.out.fail(reason)
}

// Linger waits a little for the peer to read the last words: closing a socket
// in which bytes lie unread makes the kernel throw away what was sent too. A unix
// socket keeps it: its peer reads it first and learns of the end afterwards.
func (l *Link) Linger() {
	if a, ok := l.conn.(interface{ LocalAddr() net.Addr }); ok &&
		a.LocalAddr().Network() == "unix" {
		return
	}
	c, ok := l.conn.(interface{ CloseWrite() error })
	if !ok || c.CloseWrite() != nil {
		return
	}
	t := time.AfterFunc(abortTime, func() { _ = l.conn.Close() }) // ends the reads below
	defer t.Stop()
	_, _ = io.CopyN(io.Discard, l.conn, lingerBytes) // to the end, or as far as it goes
}

// lingerBytes bounds what is read from a peer that has been told of the end.
const lingerBytes = 4 << 20

// Close closes the connection, and returns when no byte stream is left.
func (l *Link) Close() {
	_ = l.conn.Close() // nothing is left to lose
	l.streams.end()
	close(l.done)
}

// Wait returns when no goroutine of the link's is left.
func (l *Link) Wait() { l.wg.Wait() }

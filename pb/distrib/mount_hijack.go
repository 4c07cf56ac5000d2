package distrib

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"perspective/pb"
)

// maxHijackedHead bounds the head of an answer that a handler writes onto a hijacked connection.
const maxHijackedHead = maxHeaderBytes

var (
	errLateHijack = errors.New("distrib: Hijack after the answer has begun")
	// errNoHead is in the errors of a Write onto a hijacked connection whose bytes are no answer.
	errNoHead = errors.New("distrib: what is written after Hijack begins with no head of an " +
		"HTTP response of at most 64 KiB")
)

// A hijackedConn is a client's connection in the hands of a handler. It begins with the head of an
// answer: WriteHeader gave it before Hijack, or the handler writes it as text. The head of a 101 is
// followed by a tunnel, which is one byte stream of the link. That of another answer is followed by
// its body, which goes the way of all bodies, and the client's connection ends behind it: what the
// client sends meanwhile may be requests for others, so nothing of it can be read.
type hijackedConn struct {
	w             *responseWriter
	local, remote net.Addr
	readBy        waitDeadline
	writeBy       waitDeadline
	opened        chan struct{} // closed when the stream is there
	closed        chan struct{} // closed by shut
	over          chan struct{} // closed when nothing of the tunnel is under way any more

	writing sync.Mutex // one Write at a time, and the head's fate
	head    []byte     // what came of the head, until it is whole
	copying sync.WaitGroup

	mu      sync.Mutex
	decided bool           // the answer's head is fixed
	tunnel  bool           // it is that of a 101
	claimed bool           // the front has asked for the stream
	stream  *pb.ByteStream // nil: not there yet
	plain   net.Conn       // where the body of another answer than 101 goes; nil: it is not one
	err     error          // why it is closed
	once    sync.Once      // closes over
}

// Hijack lets the handler take the connection over, where the client speaks HTTP/1; over HTTP/2 it
// gives http.ErrNotSupported. After WriteHeader(101) the connection is a tunnel, otherwise the head
// of an answer must be written onto it first. Reads wait for the 101, as nothing that the client
// sends before belongs to the handler. The connection must be closed; it outlives the handler.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.lock()
	defer w.unlock()
	switch {
	case w.request.ProtoMajor != 1:
		return nil, nil, fmt.Errorf("distrib: no Hijack over HTTP/2: %w", http.ErrNotSupported)
	case w.hijacked != nil:
		return nil, nil, http.ErrHijacked
	case w.over || w.committed || w.written > 0 ||
		w.status != 0 && w.status != http.StatusSwitchingProtocols:
		return nil, nil, errLateHijack
	}
	c := &hijackedConn{
		w:      w,
		local:  addrOf(w.request.Host),
		remote: addrOf(w.request.RemoteAddr),
		opened: make(chan struct{}),
		closed: make(chan struct{}),
		over:   make(chan struct{}),
	}
	w.hijacked = c
	if w.status == http.StatusSwitchingProtocols {
		if err := c.switchProtocols(); err != nil {
			if w.refused { // which is an answer as any other
				w.hijacked = nil
			}
			return nil, nil, err
		}
	}
	return c, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c)), nil
}

// addrOf makes an address of host:port.
func addrOf(s string) net.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return net.TCPAddrFromAddrPort(ap)
	}
	return namedAddr(s)
}

// A namedAddr is an address that has no number.
type namedAddr string

// Network is always tcp.
func (namedAddr) Network() string { return "tcp" }

func (a namedAddr) String() string { return string(a) }

// switchProtocols gives the answer 101, whose header is fixed.
func (c *hijackedConn) switchProtocols() error {
	w := c.w
	if w.block.wrong != nil {
		w.refuse()
		return errRefused
	}
	w.warnOf(&w.block)
	w.object.streams(w) // from now on the front may cancel it
	if err := w.ctx.detach(); err != nil {
		w.commit(&response{status: statusAbort, length: -1})
		c.abort()
		return err
	}
	w.commit(&response{status: w.status, length: -1, streamed: true, header: w.fields})
	c.mu.Lock()
	c.decided, c.tunnel = true, true
	c.mu.Unlock()
	err := w.reply()
	if err != nil {
		c.abort()
	}
	return err
}

// claim is true once, for the front that asks for the tunnel.
func (c *hijackedConn) claim() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.tunnel && !c.claimed
	c.claimed = true
	return first
}

// carry is called with the tunnel's stream, or with why there is none. It returns when the
// connection is closed and what was written has left.
func (c *hijackedConn) carry(s *pb.ByteStream, err error) {
	defer c.end()
	if err != nil {
		c.shut(fmt.Errorf("%w: %w", errUnread, err))
		return
	}
	c.mu.Lock()
	c.stream = s
	_ = s.SetReadDeadline(c.readBy.get()) // it fails with the stream
	_ = s.SetWriteDeadline(c.writeBy.get())
	c.mu.Unlock()
	close(c.opened)
	select {
	case <-s.Gone():
		c.abort()
		return
	case <-c.closed:
	}
	if errors.Is(c.isShut(), errUnread) {
		_ = s.CloseWithError(errHandlerAbort) // as above
		return
	}
	// The front's word that the client has gone, or its own time for a client that reads nothing,
	// ends the wait for what was written before.
	_ = s.CloseRead() // it does not fail
	_ = s.SetWriteDeadline(time.Time{})
	_ = s.CloseWrite() // nobody is left to tell
}

// end says that nothing of the tunnel is under way.
func (c *hijackedConn) end() { c.once.Do(func() { close(c.over) }) }

// shut makes everything fail with err. The first reason counts.
func (c *hijackedConn) shut(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.err = err
	close(c.closed)
	if c.stream != nil {
		_ = c.stream.SetDeadline(time.Unix(1, 0)) // wakes a Read or Write that waits
	}
	if c.plain != nil {
		_ = c.plain.Close() // it never fails
	}
	return true
}

// abort ends a connection that has no client any more, or no handler.
func (c *hijackedConn) abort() {
	c.shut(errUnread)
	c.w.ctx.end(context.Canceled)
	c.mu.Lock()
	claimed := c.claimed
	c.mu.Unlock()
	if !claimed {
		c.end() // nobody carries it
	}
}

// failure is what a Read or Write gives for err of the stream.
func (c *hijackedConn) failure(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	}
	return fmt.Errorf("%w: %w", errUnread, err)
}

// wait waits for the tunnel, or for the end of what must not be waited for.
func (c *hijackedConn) wait(by *waitDeadline) (*pb.ByteStream, error) {
	select {
	case <-c.opened: // the usual case, at no cost
	default:
		var gone <-chan struct{}
		c.mu.Lock()
		if !c.decided { // the answer ends the call's context
			gone = c.w.ctx.base.Done()
		}
		c.mu.Unlock()
		late, stop := by.passed()
		defer stop()
		select {
		case <-c.opened:
		case <-c.closed:
		case <-late:
			return nil, os.ErrDeadlineExceeded
		case <-gone:
			c.mu.Lock()
			decided := c.decided
			c.mu.Unlock()
			if decided {
				return c.wait(by)
			}
			return nil, errUnread
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	return c.stream, nil
}

// Read reads what the client sends behind the 101.
func (c *hijackedConn) Read(p []byte) (int, error) {
	s, err := c.wait(&c.readBy)
	if err != nil {
		return 0, err
	}
	n, err := s.Read(p)
	if err != nil {
		err = c.failure(err)
	}
	return n, err
}

// Write sends to the client, once the answer's head is whole.
func (c *hijackedConn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	rest := p
	for !c.isDecided() {
		if err := c.isShut(); err != nil {
			return 0, err
		}
		if rest, err = c.writeHead(rest); err != nil || len(rest) == 0 {
			return len(p) - len(rest), err
		}
	}
	done := len(p) - len(rest)
	c.mu.Lock()
	plain := c.plain
	c.mu.Unlock()
	if plain != nil {
		if n, err = plain.Write(rest); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			err = cmp.Or(c.isShut(), errUnread)
		}
		return done + n, err
	}
	s, err := c.wait(&c.writeBy)
	if err != nil {
		return done, err
	}
	if n, err = s.Write(rest); err != nil {
		err = c.failure(err)
	}
	return done + n, err
}

func (c *hijackedConn) isDecided() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.decided
}

func (c *hijackedConn) isShut() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// writeHead takes of p what belongs to the head of the answer and returns the rest. Needs writing.
func (c *hijackedConn) writeHead(p []byte) (rest []byte, err error) {
	before := len(c.head)
	c.head = append(c.head, p[:min(len(p), maxHijackedHead+4-before)]...)
	const begins = "HTTP/1."
	n := min(len(c.head), len(begins))
	end := headEnd(c.head)
	if string(c.head[:n]) != begins[:n] || end < 0 && len(c.head) >= maxHijackedHead {
		return p, c.refuse(errNoHead)
	}
	if end < 0 {
		return nil, nil
	}
	rest = p[end-before:]
	head := c.head[:end]
	c.head = nil
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &c.w.request)
	if err != nil {
		return p, c.refuse(fmt.Errorf("%w: %w", errNoHead, err))
	}
	_ = resp.Body.Close() // it was the head alone
	w := c.w
	w.lock()
	defer w.unlock()
	clear(w.header)
	maps.Copy(w.header, resp.Header)
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols:
		w.writeHeader(resp.StatusCode)
		if err := c.switchProtocols(); err != nil {
			return p, c.decide(err)
		}
		return rest, nil
	case resp.StatusCode < 200:
		w.inform(resp.StatusCode)
		return rest, nil
	}
	return rest, c.answer(head)
}

// headEnd returns where a head ends, -1 if it does not yet.
func headEnd(b []byte) int {
	for i := 0; ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return -1
		}
		i += n + 1
		switch next := b[i:]; {
		case len(next) > 0 && next[0] == '\n':
			return i + 1
		case len(next) > 1 && next[0] == '\r' && next[1] == '\n':
			return i + 2
		}
	}
}

// refuse gives status 500 for a handler that writes what is no answer.
func (c *hijackedConn) refuse(err error) error {
	c.w.block.spoil(err)
	c.w.refuse()
	return c.decide(err)
}

// decide gives the answer that stands in place of what the handler wrote.
func (c *hijackedConn) decide(err error) error {
	c.mu.Lock()
	c.decided = true
	c.mu.Unlock()
	_ = c.w.reply() // the client may be gone
	c.shut(err)
	return err
}

// answer begins another answer than 101: its body is read out of a pipe by http.ReadResponse, which
// knows how long it is. Needs writing, and the writer's guard.
func (c *hijackedConn) answer(head []byte) error {
	if err := c.w.ctx.detach(); err != nil {
		c.w.commit(&response{status: statusAbort, length: -1})
		return c.decide(err)
	}
	near, far := net.Pipe()
	_ = near.SetWriteDeadline(c.writeBy.get()) // a pipe knows deadlines
	c.mu.Lock()
	c.decided, c.plain = true, near
	err := c.err
	c.mu.Unlock()
	if err != nil {
		_ = near.Close() // it never fails
	}
	// ends when the handler closes the connection, or nobody reads the answer
	c.copying.Go(func() { c.copyAnswer(io.MultiReader(bytes.NewReader(head), far), far) })
	return nil
}

// copyAnswer passes on an answer that a handler writes by hand.
func (c *hijackedConn) copyAnswer(r io.Reader, far net.Conn) {
	w := c.w
	defer func() {
		_ = far.Close()
		c.abort()
	}()
	stop := context.AfterFunc(&w.ctx, func() { _ = far.Close() })
	defer stop()
	resp, err := http.ReadResponse(bufio.NewReader(r), &w.request)
	if err != nil {
		return // it was read before
	}
	defer func() { _ = resp.Body.Close() }()
	w.lock()
	w.header["Connection"] = []string{"close"}
	w.length = -1
	w.writeHeader(resp.StatusCode)
	w.length = resp.ContentLength
	for name := range resp.Trailer {
		w.announced = w.block.announce(w.announced, name)
	}
	if w.block.wrong != nil {
		w.refuse()
		w.unlock()
		_ = w.reply() // the client may be gone
		return
	}
	if w.head || !bodyAllowed("", w.status) {
		w.commit(w.response())
		w.unlock()
		_ = w.reply() // as above
		return
	}
	w.stream = newResponseStream(w)
	w.object.streams(w)
	p := w.response()
	p.streamed = true
	w.commit(p)
	w.unlock()
	if err := w.reply(); err != nil {
		return
	}
	buf := make([]byte, streamChunk)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			if _, err := w.stream.write(buf[:n]); err != nil {
				return
			}
			if err := w.stream.flush(); err != nil {
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			maps.Copy(w.header, resp.Trailer)
			w.stream.finish(w.trailer())
			return
		case err != nil:
			w.stream.fail(errHandlerAbort)
			return
		}
	}
}

// Close ends the connection. What was written before still leaves.
func (c *hijackedConn) Close() error {
	if !c.shut(net.ErrClosed) {
		return net.ErrClosed
	}
	return nil
}

// CloseWrite lets the client read to an end; reading goes on.
func (c *hijackedConn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	plain := c.plain
	c.mu.Unlock()
	if plain != nil {
		return plain.Close()
	}
	if !c.isDecided() {
		return errNoHead
	}
	s, err := c.wait(&c.writeBy)
	if err != nil {
		return err
	}
	if err := s.CloseWrite(); err != nil {
		return c.failure(err)
	}
	return nil
}

// LocalAddr is the address that the client asked for.
func (c *hijackedConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the client's, as the front knows it.
func (c *hijackedConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *hijackedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline ends each Read that waits at t; zero: never.
func (c *hijackedConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.readBy.set(t)
	if c.stream != nil {
		_ = c.stream.SetReadDeadline(t) // it fails with the stream, as the Read will
	}
	return nil
}

// SetWriteDeadline ends each Write that waits at t; zero: never.
func (c *hijackedConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.writeBy.set(t)
	if c.stream != nil {
		_ = c.stream.SetWriteDeadline(t) // as above
	}
	if c.plain != nil {
		return c.plain.SetWriteDeadline(t)
	}
	return nil
}

// handlerReturned ends the request's context, as under net/http, where a tunnel lives on.
func (c *hijackedConn) handlerReturned() {
	c.mu.Lock()
	tunnel := c.tunnel
	c.mu.Unlock()
	if tunnel {
		c.w.ctx.end(context.Canceled)
	}
}

// await waits until the connection is closed and what was written has left.
func (c *hijackedConn) await() {
	given := c.w.ctx.base.Done()
	for closed := false; !closed; {
		select {
		case <-c.closed:
			closed = true
		case <-given: // the call is given up, unless the answer has ended it
			given = nil
			if !c.isDecided() {
				c.abort()
			}
		}
	}
	c.writing.Lock() // a head that is being written is decided on
	c.mu.Lock()
	tunnel := c.tunnel
	c.mu.Unlock()
	c.writing.Unlock()
	if tunnel {
		<-c.over
	}
	c.copying.Wait()
}

package distrib

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"perspective/pb"
)

// A linkStream is the back end's end of a tunnel, as the front sees it.
type linkStream interface {
	io.ReadWriteCloser
	CloseWithError(error) error
	CloseWrite() error
	CloseRead() error
	Stopped() <-chan struct{}
	SetWriteDeadline(time.Time) error
}

// A tunnelClient is the client's end of a tunnel.
type tunnelClient interface {
	io.Reader
	// Write must give the client all of p, soon.
	io.Writer
	// CloseWrite says that nothing more comes, and does not end reading.
	CloseWrite() error
	// linger bounds the reading of what nobody wants any more.
	linger()
	// Close ends it in order.
	io.Closer
	// abort ends it so that the client cannot take what it got for the whole.
	abort()
}

// switchProtocols passes a 101 on and carries what follows it until both sides have ended. Until
// the client has the 101 the request may fail as any other.
func (ex *exchange) switchProtocols(l *link, p *response) error {
	to, err := ex.switchedTo(p.header)
	if err == nil {
		err = ex.route.copyHeader(ex.w.Header(), p.header)
	}
	if err == nil && ex.connect != nil {
		err = ex.connect.accepted(ex.w.Header())
	}
	if err != nil {
		clear(ex.w.Header())
		l.reset(err)
		return err
	}
	ex.stick(l)
	ex.setSession(ex.w.Header())
	if !ex.stream() || !ex.fits(l) {
		clear(ex.w.Header())
		return errBusy
	}
	s, err := askStream[linkStream](ex, l, "Tunnel")
	if err != nil {
		return err
	}
	takeOver := func() (tunnelClient, error) { return ex.takeOver(to) }
	if ex.connect != nil {
		takeOver = ex.connected
	}
	client, err := takeOver()
	if err != nil {
		_ = s.CloseWithError(err) // the back end hears it
		return fmt.Errorf("%w: %w", errCutOff, err)
	}
	if ex.timer != nil {
		ex.timer.Stop() // a tunnel takes as long as it likes
	}
	t := &tunnel{client: client, back: s, cancel: func() { l.cancel(ex.req.id) }}
	if ex.connect != nil {
		// A client that resets the stream while nobody reads of it.
		stop := context.AfterFunc(ex.r.Context(), t.fail)
		defer stop()
	}
	t.carry()
	ex.seen.carried(t.said, t.answered, t.outcome())
	if ex.connect != nil && t.broken.Load() {
		return fmt.Errorf("%w: the tunnel broke off", errCutOff) // has the stream reset
	}
	return nil
}

// askStream asks for what follows the response. It waits without the client's cancelling: an answer
// that came after it would leave the stream to nobody.
func askStream[T io.Closer](ex *exchange, l *link, method string) (s T, err error) {
	asking, cancel := context.WithTimeout(context.WithoutCancel(ex.r.Context()),
		ex.back.limits.HeaderTimeout)
	defer cancel()
	s, err = pb.Do[T](asking, l.serve.Load(), method, ex.req.id)
	if err == nil {
		return s, nil
	}
	clear(ex.w.Header())
	if errors.Is(err, pb.ErrTooManyStreams) {
		return s, errBusy
	}
	// The body ended before the front asked for it: its deadline, or a panic.
	if pb.OutcomeOf(err) == pb.Executed {
		return s, fmt.Errorf("%w: %w", errCutOff, err)
	}
	return s, err
}

// takeOver writes the 101 and takes the client's connection over. net/http takes its own deadlines
// away.
func (ex *exchange) takeOver(to string) (tunnelClient, error) {
	ex.named()
	h := ex.w.Header()
	h["Connection"] = []string{"Upgrade"}
	h["Upgrade"] = []string{to}
	delete(h, "Content-Type") // nothing has one
	ex.w.WriteHeader(http.StatusSwitchingProtocols)
	nc, buffered, err := http.NewResponseController(ex.w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("distrib: the server keeps the connection: %w", err)
	}
	after := ex.site.WriteStall
	if after == 0 {
		after = defaultWriteStall
	}
	return &switchedConn{nc: nc, in: buffered.Reader, after: after}, nil
}

// A switchedConn is a client's connection that speaks HTTP no more.
type switchedConn struct {
	nc    net.Conn
	in    *bufio.Reader // what came behind the request's head, then nc
	after time.Duration // how long a write may wait for the client; negative: any time
	armed time.Time     // the deadline that was set last
}

// Read reads what the client sends.
func (c *switchedConn) Read(p []byte) (int, error) { return c.in.Read(p) }

// Write sends to the client, and fails when that takes nothing for too long.
func (c *switchedConn) Write(p []byte) (int, error) {
	// Setting a deadline costs something, so one that is a little early stays.
	if now := time.Now(); c.after > 0 && c.armed.Sub(now) < c.after*3/4 {
		c.armed = now.Add(c.after)
		_ = c.nc.SetWriteDeadline(c.armed) // the write tells
	}
	return c.nc.Write(p)
}

// CloseWrite closes the half of the connection on which the client reads.
func (c *switchedConn) CloseWrite() error {
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *switchedConn) linger() { _ = c.nc.SetReadDeadline(time.Now().Add(lingerTime)) }

// Close ends the connection.
func (c *switchedConn) Close() error { return c.nc.Close() }

// abort resets the connection: under TLS no word of its end is sent.
func (c *switchedConn) abort() {
	nc := c.nc
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	inner := nc
	if counted, ok := nc.(*clientConn); ok {
		inner = counted.Conn
	}
	if t, ok := inner.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // the close tells
	}
	_ = nc.Close() // as it is meant
}

// A tunnel carries bytes both ways between a client and a back end. Each direction has its own end:
// what one side ends the other reads to an end, while the other direction goes on. What breaks one
// direction breaks both. client, back and cancel are needed.
type tunnel struct {
	client tunnelClient
	back   linkStream
	cancel func() // tells the back end that the client has gone
	broken atomic.Bool
	gone   atomic.Bool // it was the client that broke it

	said, answered int64 // bytes of either side; there when carry has returned
}

func (t *tunnel) outcome() Outcome {
	switch {
	case t.gone.Load():
		return ClientGone
	case t.broken.Load():
		return CutOff
	}
	return Complete
}

// carry returns when both directions have ended.
func (t *tunnel) carry() {
	up := make(chan struct{})
	go func() { // ends with the client's end, or fail
		defer close(up)
		t.up()
	}()
	t.down()
	select {
	case <-up:
	case <-t.back.Stopped():
		// Nobody reads what the client says, and nothing more is said to it.
		t.client.linger()
		<-up
	}
	if t.broken.Load() {
		_ = t.back.CloseWithError(errCutOff) // it was told
		return
	}
	_ = t.client.Close() // each has said its last word
	_ = t.back.Close()
}

// fail breaks both directions.
func (t *tunnel) fail() {
	if t.broken.Swap(true) {
		return
	}
	t.client.abort()
	_ = t.back.SetWriteDeadline(time.Unix(1, 0)) // wakes up
	_ = t.back.CloseRead()                       // wakes down
	t.cancel()
}

// up carries what the client says.
func (t *tunnel) up() {
	wanted := true
	fromClient, err := pump(func(p []byte) error {
		t.said += int64(len(p))
		if !wanted {
			return nil // the back end has closed its half: as with TCP the client may go on
		}
		if _, err := t.back.Write(p); errors.Is(err, pb.ErrStreamStopped) {
			wanted = false
		} else if err != nil {
			return err
		}
		return nil
	}, t.client)
	switch {
	case err == nil && wanted:
		_ = t.back.CloseWrite() // down sees what is wrong
	case err == nil:
	case fromClient && errors.Is(err, os.ErrDeadlineExceeded): // the time to linger is over
	default:
		t.gone.CompareAndSwap(false, fromClient && !t.broken.Load())
		t.fail()
	}
}

// down carries what the back end says.
func (t *tunnel) down() {
	fromBack, err := pump(func(p []byte) error {
		n, err := t.client.Write(p)
		t.answered += int64(n)
		return err
	}, t.back)
	if err == nil {
		fromBack = false
		err = t.client.CloseWrite()
	}
	if err != nil {
		t.gone.CompareAndSwap(false, !fromBack && !t.broken.Load())
		t.fail()
	}
}

// idleChunk is what a direction holds while nothing comes.
const idleChunk = 4 << 10

// pump gives to write what src gives, until the end. read says that the error is src's. A large
// chunk is held only while one large piece follows another.
func pump(write func([]byte) error, src io.Reader) (read bool, err error) {
	few := make([]byte, idleChunk)
	for {
		n, err := src.Read(few)
		if n > 0 {
			if err := write(few[:n]); err != nil {
				return false, err
			}
		}
		if err == nil && n == len(few) {
			read, err = pumpMany(write, src)
			if !read && err != nil {
				return false, err
			}
		}
		switch {
		case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return true, nil
		case err != nil:
			return true, err
		}
	}
}

// pumpMany is pump until a piece is small again.
func pumpMany(write func([]byte) error, src io.Reader) (read bool, err error) {
	buf := chunks.Get().(*[streamChunk]byte)
	defer chunks.Put(buf)
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			if err := write(buf[:n]); err != nil {
				return false, err
			}
		}
		if err != nil || n < idleChunk {
			return true, err
		}
	}
}

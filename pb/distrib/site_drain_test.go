package distrib

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// patience bounds a wait for what must happen; no test passes by its running out.
const patience = 5 * time.Minute

// drained is a server that drains, with one request under way.
type drained struct {
	t       *testing.T
	addr    string
	release func() // lets the handler of /slow return
	done    chan error
	cancel  context.CancelFunc
}

// startDrain connects two clients, one of which has asked for /slow and the other for /, and has
// the server drain.
func startDrain(t *testing.T) (_ *drained, slow, quick *http1Client) {
	t.Helper()
	release, begun := make(chan struct{}), make(chan struct{})
	d := &drained{t: t, release: func() { close(release) }, done: make(chan error, 1)}
	site := &Site{}
	t.Cleanup(func() { _ = site.Close() })
	site.Local("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, "here")
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.addr = l.Addr().String()
	server, clients := site.Server(), site.Clients(l)
	go func() { _ = server.Serve(clients) }() // ends with Drain
	slow, quick = dialHTTP1(t, d.addr), dialHTTP1(t, d.addr)
	slow.ask("/slow")
	<-begun
	quick.ask("/")
	if quick.answer() {
		t.Error("the connection closes before the server drains")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	d.cancel = cancel
	go func() { d.done <- site.Drain(ctx, server, clients) }() // ends with ctx
	for !site.draining.Load() || site.clients.accepting.Load() > 0 {
		runtime.Gosched() // until it has closed its listener
	}
	return d, slow, quick
}

// An http1Client is a connection with requests of HTTP/1.1.
type http1Client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dialHTTP1(t *testing.T, addr string) *http1Client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &http1Client{t, conn, bufio.NewReader(conn)}
}

func (c *http1Client) ask(path string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads one and says whether the connection ends behind it.
func (c *http1Client) answer() (closes bool) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || string(text) != "here" {
		c.t.Errorf("%q, %v", text, err)
	}
	return resp.Close
}

func TestDrain(t *testing.T) {
	d, slow, quick := startDrain(t)
	if nc, err := net.Dial("tcp", d.addr); err == nil {
		_ = nc.Close()
		t.Error("somebody still listens")
	}
	quick.ask("/") // which http.Server.Shutdown would drop
	if !quick.answer() {
		t.Error("the connection of a server that drains goes on")
	}
	d.release()
	slow.answer()
	if _, err := slow.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("behind the answer: %v", err)
	}
	if err := <-d.done; err != nil {
		t.Error(err)
	}
}

func TestDrainThatIsLate(t *testing.T) {
	d, slow, _ := startDrain(t)
	d.cancel()
	if err := <-d.done; !errors.Is(err, context.Canceled) {
		t.Errorf("Drain = %v", err)
	}
	if _, err := slow.r.ReadByte(); err == nil {
		t.Error("the request is not cut off")
	}
}

func TestDrainWaitsForClients(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for _, tt := range []struct {
		state http.ConnState
		rest  time.Duration
		busy  bool
	}{
		{http.StateNew, freshTime - 1, true}, {http.StateNew, freshTime, false},
		{http.StateIdle, restTime - 1, true}, {http.StateIdle, restTime, false},
		{http.StateActive, time.Hour, true}, {http.StateHijacked, 0, false},
	} {
		var conns clientConns
		c := &clientConn{}
		c.state.Store(int32(tt.state))
		c.since.Store(now.Add(-tt.rest).UnixNano())
		conns.add(c)
		if got := conns.busy(now); got != tt.busy {
			t.Errorf("%v for %v: busy = %v", tt.state, tt.rest, got)
		}
		conns.remove(c)
		if conns.busy(now) {
			t.Error("busy with nothing")
		}
	}
}

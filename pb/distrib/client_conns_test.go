package distrib_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"perspective/pb/distrib"
	"perspective/pb/pbtest"
)

// The listener for clients closes what one address has too much of, and a place that is given back
// can be taken again.
func TestClientConnections(t *testing.T) {
	pbtest.NoLeaks(t)
	site := &distrib.Site{ClientConns: 2}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := site.Server()
	closed := make(chan struct{}, 16)
	state := server.ConnState
	server.ConnState = func(c net.Conn, s http.ConnState) {
		state(c, s)
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(site.Clients(l)) })
	defer serving.Wait()
	defer func() { _ = server.Close() }()
	answered := func(from string) (net.Conn, bool) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Skipf("no address %s here: %v", from, err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		//nolint:bodyclose // the connection ends it
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return c, false
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return c, true
	}
	first, ok := answered("127.0.0.1")
	if _, again := answered("127.0.0.1"); !ok || !again {
		t.Fatal("the first two connections are not served")
	}
	if _, ok := answered("127.0.0.1"); ok {
		t.Error("a third connection of the address is served")
	}
	if _, ok := answered("127.0.0.2"); !ok {
		t.Error("another address is not served")
	}
	_ = first.Close()
	<-closed
	if _, ok := answered("127.0.0.1"); !ok {
		t.Error("the place that was given back cannot be taken")
	}
}

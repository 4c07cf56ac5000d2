package distrib_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"perspective/pb/distrib"
)

// slowClient sends a request whose answer it does not read yet.
func slowClient(t *testing.T, s *split, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.(*net.TCPConn).SetReadBuffer(128 << 10) // so that the response stands still in the link
	_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	return c
}

// Many clients that take long responses slowly get all of them: what stands still is not cut off.
func TestManySlowReaders(t *testing.T) {
	const clients, size = 100, 12 << 20
	page := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	s, _ := oneBack(t, func(w http.ResponseWriter, _ *http.Request) {
		for range size / len(page) {
			_, _ = w.Write(page)
		}
	})
	conns := make([]net.Conn, clients)
	for i := range conns {
		conns[i] = slowClient(t, s, "/app/")
	}
	for i, c := range conns {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if n != size || err != nil {
			t.Errorf("client %d: status %d, %d bytes, %v", i, resp.StatusCode, n, err)
		}
	}
}

// Many requests whose bodies are not read for a while lose nothing either.
func TestManyUnreadBodies(t *testing.T) {
	const clients, size = 150, 1 << 20
	var begun atomic.Int64
	all := make(chan struct{})
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		if begun.Add(1) == clients {
			close(all)
		}
		<-all
		n, err := io.Copy(io.Discard, r.Body)
		if n != size || err != nil {
			t.Errorf("%d bytes came, %v", n, err)
		}
	})
	s.client.Transport.(*http.Transport).MaxConnsPerHost = clients
	body := strings.Repeat("x", size)
	failed := make(chan error, clients)
	for range clients {
		go func() { // ends when it is answered
			resp, err := s.client.Post(s.server.URL+"/app/", "", strings.NewReader(body))
			if err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					err = errors.New(resp.Status)
				}
			}
			failed <- err
		}()
	}
	for range clients {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// Where long responses hold much, those of one more client that would hold too much are refused, and those under way go on.
func TestBodyBytes(t *testing.T) {
	const size = 16 << 20
	page := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	site := &distrib.Site{}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: distrib.Limits{BodyBytes: 1 << 20}})
	s := newSplit(t, site)
	s.back("app", func(w http.ResponseWriter, _ *http.Request) {
		for range size / len(page) {
			_, _ = w.Write(page)
		}
	})
	slow := slowClient(t, s, "/app/")
	// Once the first stands still there is room for less than two, and half of what is left is less than its second.
	second, _ := s.get("/app/")
	for second.StatusCode == http.StatusOK {
		second, _ = s.get("/app/")
	}
	if second.StatusCode != http.StatusServiceUnavailable || second.Header.Get("Retry-After") == "" {
		t.Errorf("status = %d, Retry-After %q; want 503", second.StatusCode, second.Header.Get("Retry-After"))
	}
	resp, err := http.ReadResponse(bufio.NewReader(slow), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
		t.Errorf("the first: %d bytes, %v", n, err)
	}
	if again, body := s.get("/app/"); again.StatusCode != http.StatusOK || len(body) != size {
		t.Errorf("afterwards: status = %d, %d bytes", again.StatusCode, len(body))
	}
}

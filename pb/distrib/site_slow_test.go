package distrib_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"perspective/pb/distrib"
)

// slowClient sends a request whose answer it does not read yet.
func slowClient(t *testing.T, s *split, from, path string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", s.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.(*net.TCPConn).SetReadBuffer(128 << 10) // so that the response stalls in the link
	_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	return c
}

// Many clients that take long responses slowly get all of them: a response that stalls in between
// is not cut off.
func TestManySlowReaders(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 1.2 GB")
	}
	const size = 12 << 20
	clients := 100
	if distrib.RaceEnabled {
		clients = 20
	}
	page := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	s, _ := oneBack(t, func(w http.ResponseWriter, _ *http.Request) {
		for range size / len(page) {
			_, _ = w.Write(page)
		}
	})
	conns := make([]net.Conn, clients)
	for i := range conns {
		conns[i] = slowClient(t, s, "127.0.0.1", "/app/")
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
	if testing.Short() {
		t.Skip("moves 150 MB")
	}
	const size = 1 << 20
	clients := 150
	if distrib.RaceEnabled {
		clients = 50
	}
	var begun atomic.Int64
	all := make(chan struct{})
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		if begun.Add(1) == int64(clients) {
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

// Three quarters of what long responses may hold is for responses that hold some already, the rest
// for others.
func TestBodyBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 100 MB")
	}
	const size = 16 << 20
	page := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	site := &distrib.Site{}
	// 8 times what one holds: a client has one by itself, and all clients have 6 beyond that.
	site.Handle("/app/", distrib.Route{Back: "app", Limits: distrib.Limits{BodyBytes: 2 << 20}})
	s := newSplit(t, site)
	s.back("app", func(w http.ResponseWriter, _ *http.Request) {
		for range size / len(page) {
			_, _ = w.Write(page)
		}
	})
	get := func(from string) *http.Response {
		t.Helper()
		c := slowClient(t, s, from, "/app/")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	var slow []*http.Response
	for range 7 {
		slow = append(slow, get("127.0.0.1")) //nolint:bodyclose // get does
	}
	//nolint:bodyclose // get does
	if resp := get("127.0.0.1"); resp.StatusCode != http.StatusServiceUnavailable ||
		resp.Header.Get("Retry-After") == "" {
		t.Errorf("the eighth: status = %d, Retry-After %q; want 503", resp.StatusCode,
			resp.Header.Get("Retry-After"))
	}
	slow = append(slow, get("127.0.0.2"), get("127.0.0.1")) //nolint:bodyclose // get does
	for i, resp := range slow {
		if n, err := io.Copy(io.Discard, resp.Body); resp.StatusCode != http.StatusOK && i < 8 ||
			n != size && i < 8 || err != nil {
			t.Errorf("response %d: status = %d, %d bytes, %v", i, resp.StatusCode, n, err)
		}
	}
	//nolint:bodyclose // get does
	if resp := get("127.0.0.1"); resp.StatusCode != http.StatusOK {
		t.Errorf("afterwards: status = %d", resp.StatusCode)
	}
}

// A client that takes nothing of a response loses it; one to which nothing is sent for as long does
// not.
func TestWriteStall(t *testing.T) {
	for _, proto := range []string{"HTTP/1", "HTTP/2"} {
		t.Run(proto, func(t *testing.T) {
			lost, again := make(chan error, 1), make(chan struct{})
			site := &distrib.Site{WriteStall: 200 * time.Millisecond}
			site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
			s := newSplit(t, site)
			s.back("app", func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/app/quiet" {
					_, _ = io.WriteString(w, "one")
					_ = http.NewResponseController(w).Flush()
					<-again
					_, _ = io.WriteString(w, " two")
					return
				}
				page := make([]byte, 1<<20)
				for {
					if _, err := w.Write(page); err != nil {
						lost <- err
						return
					}
				}
			})
			base, client := s.server.URL, s.client
			if proto == "HTTP/2" {
				server := httptest.NewUnstartedServer(site)
				server.EnableHTTP2 = true
				server.StartTLS()
				t.Cleanup(server.Close)
				base, client = server.URL, server.Client()
			}
			quiet, err := client.Get(base + "/app/quiet")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = quiet.Body.Close() }()
			resp, err := client.Get(base + "/app/long")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if err := <-lost; err == nil {
				t.Error("the handler's Write succeeds")
			}
			close(again)
			if all, err := io.ReadAll(quiet.Body); string(all) != "one two" || err != nil ||
				quiet.ProtoMajor != int(proto[5]-'0') {
				t.Errorf("the quiet one: %q, %v, %s", all, err, quiet.Proto)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err == nil {
				t.Error("the response that was lost ends as a whole one")
			}
		})
	}
}

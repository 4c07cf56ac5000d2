package distrib_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"perspective/pb/distrib"
	"perspective/pb/pbtest"
)

// serverOf serves the Site by its own server and listener, over TLS or not. It returns the address
// and a client that speaks what protocols says, and trusts the server.
func serverOf(
	t *testing.T, site *distrib.Site, overTLS bool, protocols *http.Protocols,
) (string, *http.Client) {
	t.Helper()
	pbtest.NoLeaks(t)
	s := httptest.NewUnstartedServer(nil)
	s.Config = site.Server()
	s.Config.ReadHeaderTimeout = time.Hour
	s.Listener = site.Clients(s.Listener)
	if overTLS {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	client := s.Client()
	client.Transport.(*http.Transport).Protocols = protocols
	t.Cleanup(func() {
		client.CloseIdleConnections()
		s.CloseClientConnections()
		s.Close()
		if err := site.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return s.Listener.Addr().String(), client
}

// protocolSeen answers with the protocol that the request came by.
func protocolSeen(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprint(w, r.Proto, " ", r.TLS != nil)
}

// The Site's own server speaks HTTP/1 and HTTP/2, with TLS and without.
func TestServerProtocols(t *testing.T) {
	var old, h2, h2c http.Protocols
	old.SetHTTP1(true)
	h2.SetHTTP2(true)
	h2c.SetUnencryptedHTTP2(true)
	for _, test := range []struct {
		name      string
		overTLS   bool
		protocols *http.Protocols
		want      string
	}{
		{"HTTP/1", false, &old, "HTTP/1.1 false"},
		{"HTTP/1 over TLS", true, &old, "HTTP/1.1 true"},
		{"h2", true, &h2, "HTTP/2.0 true"},
		{"h2c", false, &h2c, "HTTP/2.0 false"},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
			site.Local("/", http.HandlerFunc(protocolSeen))
			addr, client := serverOf(t, site, test.overTLS, test.protocols)
			url := "http://" + addr
			if test.overTLS {
				url = "https://" + addr
			}
			for range 2 {
				resp, err := client.Post(url, "text/plain", strings.NewReader("word"))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if string(got) != test.want || err != nil {
					t.Errorf("the handler sees %q, %v; want %q", got, err, test.want)
				}
			}
		})
	}
}

// HTTP/2's preface counts at a connection's beginning, also where it comes in pieces; behind a
// request it is a request that ends the connection.
func TestPreface(t *testing.T) {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for _, test := range []struct {
		name   string
		pieces []string
		want   string // of what comes back at first
		over   bool   // nothing more is served
	}{
		{"whole", []string{preface + settings}, "\x00\x00", false},
		{"in pieces", []string{"PR", "I * HTTP/2.0\r", "\n\r\nSM\r\n\r", "\n" + settings},
			"\x00\x00", false},
		{"behind a request", []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + preface + settings},
			"HTTP/1.1 200", true},
		{"of another version", []string{"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n"}, "HTTP/1.1 505", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
			site.Local("/", http.HandlerFunc(protocolSeen))
			addr, _ := serverOf(t, site, false, nil)
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			for _, piece := range test.pieces {
				if _, err := io.WriteString(c, piece); err != nil {
					t.Fatal(err)
				}
			}
			in := bufio.NewReader(c)
			got := make([]byte, len(test.want))
			if _, err := io.ReadFull(in, got); err != nil || string(got) != test.want {
				t.Fatalf("the server begins with %q, %v; want %q", got, err, test.want)
			}
			if !test.over {
				return
			}
			rest, _ := io.ReadAll(in) // a reset, too, is an end
			if bytes.Contains(rest, []byte("\x00\x00")) {
				t.Errorf("the server goes on with %q", rest)
			}
		})
	}
}

// What the server itself logs goes to the Site's log, at a level that says whom it is about.
func TestServerLog(t *testing.T) {
	var book logBook
	site := &distrib.Site{Logger: slog.New(slog.NewTextHandler(&book,
		&slog.HandlerOptions{Level: slog.LevelDebug}))}
	site.Local("/", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("two") }))
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	addr, client := serverOf(t, site, true, protocols)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	_, _ = io.Copy(io.Discard, c)
	_ = c.Close()
	//nolint:bodyclose // there is no answer
	if resp, err := client.Get("https://" + addr); err == nil {
		t.Errorf("a handler that panics gives %v", resp.Status)
	}
	want := []string{
		`level=DEBUG msg="client broke off" err="http: TLS handshake error from 127.0.0.1:`,
		`level=ERROR msg="handler panicked" err="http2: panic serving 127.0.0.1:`,
	}
	for deadline := time.Now().Add(time.Minute); len(book.lines()) < len(want); runtime.Gosched() {
		if time.Now().After(deadline) {
			break
		}
	}
	got := book.lines()
	for i, line := range want {
		if i >= len(got) || !strings.Contains(got[i], line) {
			t.Errorf("the log is %q, want %q as line %d", got, line, i+1)
		}
	}
}

// A server that is told to end lets requests over HTTP/2 without TLS end too.
func TestShutdownOfHTTP2(t *testing.T) {
	pbtest.NoLeaks(t)
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	begun, finish := make(chan struct{}), make(chan struct{})
	site.Local("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-finish
		protocolSeen(w, r)
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := site.Server()
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(site.Clients(l)) })
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	running.Go(func() {
		resp, err := (&http.Client{Transport: transport}).Get("http://" + l.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		if got, err := io.ReadAll(resp.Body); string(got) != "HTTP/2.0 false" || err != nil {
			t.Errorf("a request under way gives %q, %v", got, err)
		}
	})
	<-begun
	server.RegisterOnShutdown(func() { close(finish) })
	if err := server.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	running.Wait()
}

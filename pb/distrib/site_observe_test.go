package distrib_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"perspective/pb/distrib"
)

// A logBook is a log that can be read while it is written.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.b.String()), "\n")
}

func TestAccessLog(t *testing.T) {
	var book logBook
	site := &distrib.Site{
		Observe:        distrib.LogTo(slog.New(slog.NewJSONHandler(&book, nil))),
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	site.Local("/own/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "own")
	}))
	s := newSplit(t, site)
	s.back("app", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/app/abort" {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w,
			r.RemoteAddr+" "+r.Header.Get("X-Forwarded-For")+" "+r.Header.Get("X-Forwarded-Proto"))
	})
	req, err := http.NewRequest(http.MethodGet, s.server.URL+"/app/x?q=%0a", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", "6.6.6.6, 192.0.2.7")
	req.Header.Set("X-Forwarded-Proto", "https")
	_, body := s.send(req)
	if want := "192.0.2.7:0 192.0.2.7 https"; body != want {
		t.Errorf("the handler sees %q, want %q", body, want)
	}
	s.get("/own/")
	s.get("/none")
	s.client.Transport.(*http.Transport).DisableKeepAlives = true // else it tries again by itself
	if resp, err := s.client.Get(s.server.URL + "/app/abort"); err == nil {
		_ = resp.Body.Close()
		t.Error("abort: no error")
	}
	s.server.Close() // the handlers have returned
	type line struct {
		Msg, Client, Method, Target, Mount string
		Status                             int
		ResponseBytes                      int64 `json:"response_bytes"`
		Outcome                            distrib.Outcome
	}
	want := []line{
		{"request", "192.0.2.7:0", "GET", "/app/x?q=%0a", "app", 418, int64(len(body)),
			distrib.Complete},
		{"request", "", "GET", "/own/", "/own/", 200, 3, distrib.Complete},
		{"request", "", "GET", "/none", "", 404, 10, distrib.Refused},
		{"request", "", "GET", "/app/abort", "app", 0, 0, distrib.CutOff},
	}
	lines := book.lines()
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d: %q", len(lines), len(want), lines)
	}
	for i, text := range lines {
		var got line
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if want[i].Client == "" {
			got.Client = ""
		}
		if got != want[i] {
			t.Errorf("line %d = %+v, want %+v", i, got, want[i])
		}
	}
}

// A back end that no monitor started dials the front, and dials again when the link is lost.
func TestJoined(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	site := &distrib.Site{}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	accepted := make(chan net.Conn, 4)
	var running sync.WaitGroup
	running.Go(func() {
		if err := site.Accept("app", &spyListener{Listener: l, accepted: accepted}); err != nil {
			t.Errorf("Accept() = %v", err)
		}
	})
	t.Setenv("PB_MOUNT_URL", "pb+unix://"+path)
	ctx, cancel := context.WithCancel(context.Background())
	running.Go(func() {
		m := &distrib.Mount{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "joined")
			}),
			Logger: slog.New(slog.DiscardHandler),
		}
		if err := m.Serve(ctx); err != nil {
			t.Errorf("Serve() = %v", err)
		}
	})
	for range 3 {
		if _, body := s.get("/app/"); body != "joined" {
			t.Errorf("body = %q", body)
		}
		_ = (<-accepted).Close()
	}
	if _, body := s.get("/app/"); body != "joined" {
		t.Errorf("body = %q", body)
	}
	cancel()
	_ = l.Close()
	running.Wait()
}

type spyListener struct {
	net.Listener
	accepted chan net.Conn
}

func (l *spyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- c
	}
	return c, err
}

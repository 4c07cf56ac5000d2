package distrib_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"perspective/pb/distrib"
	"perspective/pb/pbtest"
)

// unhurried are a Route's Limits for a test whose back ends may take as long as a busy machine
// takes.
var unhurried = distrib.Limits{Hold: time.Hour, HeaderTimeout: time.Hour, Waiting: 1 << 16,
	ClientWaiting: 1 << 16}

// A split is a Site on a real server, and back ends that run as goroutines over unix sockets.
type split struct {
	t      *testing.T
	site   *distrib.Site
	server *httptest.Server
	client *http.Client
}

// newSplit serves a Site. Its clients may be as slow as a busy machine makes them, unless it says
// otherwise.
func newSplit(t *testing.T, site *distrib.Site) *split {
	t.Helper()
	pbtest.NoLeaks(t)
	site.BodyGrace = cmp.Or(site.BodyGrace, time.Hour)
	site.WriteStall = cmp.Or(site.WriteStall, time.Hour)
	s := &split{t: t, site: site}
	s.server = httptest.NewServer(site)
	s.client = s.server.Client()
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}
	t.Cleanup(func() {
		s.server.CloseClientConnections()
		s.server.Close()
		if err := site.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return s
}

// pair gives the two ends of a unix socket.
func pair(t *testing.T) (front, back net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if back, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if front, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return front, back
}

// A running is a back end that runs.
type running struct {
	conn net.Conn
	stop func()
}

// back starts a back end and attaches it.
func (s *split) back(name string, h http.HandlerFunc) *running {
	s.t.Helper()
	return s.backOver(pair, name, h)
}

// backOver is back over connections of a kind.
func (s *split) backOver(
	pair func(*testing.T) (front, back net.Conn), name string, h http.HandlerFunc,
) *running {
	s.t.Helper()
	front, back := pair(s.t)
	r := s.serve(name, back, h)
	if err := s.site.Attach(name, front); err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *split) serve(name string, nc net.Conn, h http.HandlerFunc) *running {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	m := &distrib.Mount{Handler: h, Name: name, Logger: slog.New(slog.DiscardHandler)}
	wg.Go(func() { _ = m.ServeConn(ctx, nc) })
	r := &running{conn: nc, stop: func() { cancel(); wg.Wait() }}
	s.t.Cleanup(r.stop)
	return r
}

// kill ends the link as the death of the process would.
func (r *running) kill() { _ = r.conn.Close() }

// A reply is a response whose body was read.
type reply struct {
	StatusCode      int
	ContentLength   int64
	Header, Trailer http.Header
}

func (s *split) get(path string) (reply, string) {
	s.t.Helper()
	return s.do(http.MethodGet, path, nil)
}

func (s *split) do(method, path string, body io.Reader) (reply, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.server.URL+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.send(req)
}

func (s *split) send(req *http.Request) (reply, string) {
	s.t.Helper()
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.ContentLength, resp.Header, resp.Trailer}, string(b)
}

func oneBack(t *testing.T, h http.HandlerFunc) (*split, *running) {
	t.Helper()
	site := &distrib.Site{}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	return s, s.back("app", h)
}

func TestSmallRequest(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("body: %v", err)
		}
		w.Header().Set("X-Seen", r.Method+" "+r.RequestURI+" "+r.URL.Query().Get("q")+" "+r.Proto)
		w.WriteHeader(http.StatusAccepted)
		_, _ = fmt.Fprintf(w, "host %s body %s", r.Host, b)
	})
	resp, body := s.do(http.MethodPost, "/app/x%20y?q=1", strings.NewReader("hello"))
	if got, want := resp.StatusCode, http.StatusAccepted; got != want {
		t.Errorf("status = %d, want %d", got, want)
	}
	if got, want := resp.Header.Get("X-Seen"), "POST /app/x%20y?q=1 1 HTTP/1.1"; got != want {
		t.Errorf("X-Seen = %q, want %q", got, want)
	}
	if want := "host " + strings.TrimPrefix(s.server.URL, "http://") + " body hello"; body != want {
		t.Errorf("body = %q, want %q", body, want)
	}
	if resp.ContentLength != int64(len(body)) {
		t.Errorf("Content-Length = %d, want %d", resp.ContentLength, len(body))
	}
}

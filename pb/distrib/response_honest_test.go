package distrib_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"perspective/pb/distrib"
)

// The bounds of a header block between a back end and the front, as the package has them.
const (
	maxFields      = 256
	maxHeaderBytes = 64 << 10
)

// An honest handler may be careless in any way that net/http forgives: it gets the answer that
// net/http would give, or status 500 and a line in the log, and the next request comes over the
// same link.
func TestCarelessHandlers(t *testing.T) {
	fields := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Header()["X"] = make([]string, n) }
	}
	header := func(name, value string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Header()[name] = []string{value} }
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	streamed := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			h(w, r)
			for r.Context().Err() == nil { // until it is told that nobody reads
				_, _ = io.WriteString(w, "abc")
				w.(http.Flusher).Flush()
			}
		}
	}
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		status  int    // 0: the client's connection is broken off
		logged  string // in a line of the log; empty: nothing is
	}{
		{"status 600", status(600), 600, ""},
		{"status 999", status(999), 999, ""},
		{"status 1000", status(1000), 500, "invalid status"},
		{"status 99", status(99), 500, "invalid status"},
		{"status 101", status(101), 500, "asks for no such protocol"},
		{"256 fields", fields(maxFields), 200, ""},
		{"257 fields", fields(maxFields + 1), 500, "256 fields"},
		{"257 fields by the type that is guessed", func(w http.ResponseWriter, r *http.Request) {
			fields(maxFields)(w, r)
			_, _ = io.WriteString(w, "abc")
		}, 500, "256 fields"},
		{"a header as large as may be",
			header("X", strings.Repeat("a", maxHeaderBytes-1)), 200, ""},
		{"a header too large by a byte", header("X", strings.Repeat("a", maxHeaderBytes)),
			500, "65536 bytes"},
		{"a redirect that is too large", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/"+strings.Repeat("%E9", 22500), http.StatusFound)
		}, 500, "65536 bytes"},
		{"a header too large before a stream",
			streamed(header("X", strings.Repeat("a", maxHeaderBytes))), 500, "65536 bytes"},
		{"a space in a name", header("X Y", "a"), 200, "X Y"},
		{"no name", header("", "a"), 200, "left out"},
		{"a line in a name", header("X\r\nY: b", "a"), 200, "left out"},
		{"a name that is not ASCII", header("X-\xff", "a"), 200, "left out"},
		{"lines in a value", header("X", "a\r\nY: b\x00\x7f"), 200, ""},
		{"a value that is not UTF-8", header("X", "\xe9\n"), 200, ""},
		{"a length that is none", header("Content-Length", "many"), 200, ""},
		{"trailers that are none", header("Trailer", "a b, , X\n, \xff,"), 200, "left out"},
		{"the name of a trailer that is too long", header("Trailer", strings.Repeat("a", 257)), 500,
			"trailers announced"},
		{"257 trailers announced", header("Trailer", strings.Repeat("a,", maxFields+1)), 500,
			"trailers announced"},
		{"trailers with names that are none", header(http.TrailerPrefix+"a b", "c"),
			200, "left out"},
		{"trailers too large", header(http.TrailerPrefix+"X", strings.Repeat("a", maxHeaderBytes)),
			500, "65536 bytes"},
		{"header and trailers too large together", func(w http.ResponseWriter, r *http.Request) {
			header("X", strings.Repeat("a", maxHeaderBytes/2))(w, r)
			header(http.TrailerPrefix+"X", strings.Repeat("a", maxHeaderBytes/2))(w, r)
		}, 500, "65536 bytes"},
		{"trailers too large after a stream", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "abc")
			w.(http.Flusher).Flush()
			header(http.TrailerPrefix+"X", strings.Repeat("a", maxHeaderBytes))(w, r)
		}, 0, "65536 bytes"},
		{"flushes without end", func(w http.ResponseWriter, _ *http.Request) {
			for range 1000 {
				w.(http.Flusher).Flush()
			}
			_, _ = io.WriteString(w, "abc")
			for range 1000 {
				w.(http.Flusher).Flush()
				_, _ = w.Write(nil)
			}
		}, 200, ""},
		{"interim responses that are none", func(w http.ResponseWriter, r *http.Request) {
			for _, h := range []http.HandlerFunc{
				header("X Y", "a"), header("X", "\xe9\n"), header("X",
					strings.Repeat("a", maxHeaderBytes)), fields(maxFields + 1), fields(5000),
			} {
				clear(w.Header())
				h(w, r)
				w.WriteHeader(http.StatusEarlyHints)
			}
			clear(w.Header())
		}, 200, "65536 bytes"}, // one line a second tells of the first
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log lockedBuffer
			s, ended := carelessSplit(t, &log, tt.handler)
			resp, err := s.client.Get(s.server.URL + "/app/")
			got := 0
			if err == nil {
				got = resp.StatusCode
				if _, err := io.ReadAll(resp.Body); err != nil {
					got = 0
				}
				_ = resp.Body.Close()
			}
			if got != tt.status {
				t.Errorf("status = %d (%v), want %d", got, err, tt.status)
			}
			if resp, body := s.get("/app/next"); resp.StatusCode != http.StatusOK ||
				body != "next" {
				t.Errorf("the next request: %d %q", resp.StatusCode, body)
			}
			select {
			case err := <-ended:
				t.Errorf("the link ended: %v", err)
			default:
			}
			text := log.String()
			if lines := strings.Count(text, "\n"); tt.logged == "" && lines > 0 ||
				!strings.Contains(text, tt.logged) {
				t.Errorf("the log says %q, want %q in it", text, tt.logged)
			}
		})
	}
}

// carelessSplit is a site whose back end has the handler, and the log of that back end without what
// it says of links.
func carelessSplit(t *testing.T, log *lockedBuffer, h http.HandlerFunc) (*split, <-chan error) {
	t.Helper()
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	mux := http.NewServeMux()
	mux.HandleFunc("/app/", h)
	mux.HandleFunc("/app/next",
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "next") })
	front, back := pair(t)
	if err := site.Attach("app", front); err != nil {
		t.Fatal(err)
	}
	m := &distrib.Mount{Handler: mux,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() { // ends with cancel
		if err := m.ServeConn(ctx, back); err != nil {
			ended <- err
		}
	})
	t.Cleanup(func() { cancel(); serving.Wait() })
	return s, ended
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// What http.ServeMux answers to a path that is not clean can be three times as long as what was
// asked.
func TestLongRedirectCostsItsAnswerAlone(t *testing.T) {
	var log lockedBuffer
	s, _ := carelessSplit(t, &log, func(http.ResponseWriter, *http.Request) {})
	for range 3 {
		c, err := net.Dial("tcp", s.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(c, "GET /app//%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
			strings.Repeat("\xe9", 22500)); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 500 ") {
			t.Errorf("the client sees %.200q, %v, want status 500", b, err)
		}
		_ = c.Close()
		if resp, _ := s.get("/app/next"); resp.StatusCode != http.StatusOK {
			t.Errorf("the next request: %d", resp.StatusCode)
		}
	}
	if !strings.Contains(log.String(), "65536 bytes") {
		t.Errorf("the log says %q", log.String())
	}
}

// Where there is no link the client is told so.
func TestNoLinkIsTold(t *testing.T) {
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: distrib.Limits{Hold: 1}})
	w := httptest.NewRecorder()
	site.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/app/", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "no link") {
		t.Errorf("got %d %q, want 503 that says no link", w.Code, w.Body)
	}
	if err := site.Close(); err != nil {
		t.Error(err)
	}
}

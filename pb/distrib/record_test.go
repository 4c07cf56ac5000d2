package distrib_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"perspective/pb/distrib"
	"perspective/pb/pbtest"
)

// observed gives what a Site tells of its requests.
func observed(site *distrib.Site) <-chan distrib.Record {
	records := make(chan distrib.Record, 64)
	site.Observe = func(r *distrib.Record) { records <- *r }
	return records
}

// A request has one id, in the browser, the handler's request, its log and the front's, and a trace
// context: the client's if it is one. What a client or a back end says of the id does not count.
func TestRequestIDs(t *testing.T) {
	var front, back logBook
	site := &distrib.Site{Logger: slog.New(slog.NewTextHandler(&front, nil))}
	records := observed(site)
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/app/panic" {
			panic("boom")
		}
		w.Header().Set("X-Seen", strings.Join(r.Header["X-Request-Id"], "+"))
		w.Header().Set("X-Parent", strings.Join(r.Header["Traceparent"], "+"))
		w.Header().Set("X-State", strings.Join(r.Header["Tracestate"], "+"))
		if r.URL.Path == "/app/own" {
			w.Header().Set("X-Request-ID", "the back end's")
		}
		_, _ = io.WriteString(w, "x")
	})
	site.Local("/own/", h)
	s := newSplit(t, site)
	attachLogged(s, "app", h, &back)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, path := range []string{"/app/", "/app/own", "/own/"} {
		for _, theirs := range []string{"", parent, "00-nonsense"} {
			req, err := http.NewRequest(http.MethodGet, s.server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Request-ID", "mine")
			req.Header.Set("Tracestate", "a=1")
			if theirs != "" {
				req.Header.Set("Traceparent", theirs)
			}
			resp, _ := s.send(req)
			rec := <-records
			if !regexp.MustCompile("^[0-9a-f]{32}$").MatchString(rec.ID) {
				t.Errorf("id = %q", rec.ID)
			}
			if got := resp.Header["X-Request-Id"]; len(got) != 1 || got[0] != rec.ID {
				t.Errorf("%s: the client gets the ids %q, want %s", path, got, rec.ID)
			}
			if got := resp.Header.Get("X-Seen"); got != rec.ID {
				t.Errorf("%s: the handler sees the id %q, want %s", path, got, rec.ID)
			}
			if got := resp.Header.Get("X-Parent"); got != rec.Trace ||
				(got == parent) != (theirs == parent) || len(got) != len(parent) {
				t.Errorf("%s, %q: traceparent %q, in the record %q", path, theirs, got, rec.Trace)
			}
			if got := resp.Header.Get("X-State"); (got == "a=1") != (theirs == parent) {
				t.Errorf("%s, %q: tracestate %q", path, theirs, got)
			}
		}
	}
	resp, _ := s.get("/app/panic")
	id := resp.Header.Get("X-Request-ID")
	if log := strings.Join(back.lines(), "\n"); !strings.Contains(log, "request_id="+id) {
		t.Errorf("the back end's log has no %s:\n%s", id, log)
	}
	resp, _ = s.get("/none")
	if resp.StatusCode != http.StatusNotFound || len(resp.Header.Get("X-Request-ID")) != 32 {
		t.Errorf("not found: %+v", resp)
	}
}

// attachLogged attaches a back end that has a log.
func attachLogged(s *split, name string, h http.Handler, book io.Writer) {
	s.t.Helper()
	front, back := pair(s.t)
	if err := s.site.Attach(name, front); err != nil {
		s.t.Fatal(err)
	}
	m := &distrib.Mount{Handler: h, Logger: slog.New(slog.NewTextHandler(book, nil))}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.ServeConn(ctx, back) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("ServeConn() = %v", err)
		}
	})
}

// Each request has a record that says how it ended.
func TestRecords(t *testing.T) {
	site := &distrib.Site{}
	records := observed(site)
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	site.Handle("/away/", distrib.Route{Back: "away",
		Limits: distrib.Limits{Hold: time.Millisecond}})
	site.Handle("/late/", distrib.Route{Back: "late",
		Limits: distrib.Limits{Hold: time.Hour, HeaderTimeout: time.Millisecond}})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	site.Local("/own/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := w.(http.Flusher); !ok {
			t.Error("the writer of a handler of the front's own has no Flush")
		}
		http.ServeFile(w, r, file)
	}))
	s := newSplit(t, site)
	s.client.Transport.(*http.Transport).DisableKeepAlives = true // else it tries again by itself
	hold := make(chan struct{})
	defer close(hold)
	s.back("late", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s.back("app", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/app/cut":
			_, _ = io.WriteString(w, strings.Repeat("x", 100_000))
			panic("boom")
		case "/app/gone":
			_, _ = io.WriteString(w, strings.Repeat("x", 100_000))
			<-r.Context().Done()
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strings.Repeat("x", int(n)))
	})
	for _, test := range []struct {
		path, mount, body string
		status            int
		outcome           distrib.Outcome
		bytes             int64 // of the answer; -1: any
		sent              int
	}{
		{"/app/", "app", "hello", 200, distrib.Complete, 5, 1},
		{"/app/", "app", strings.Repeat("y", 200_000), 200, distrib.Complete, 200_000, 1},
		{"/own/", "/own/", "", 200, distrib.Complete, 100_000, 0},
		{"/none", "", "", 404, distrib.Refused, 10, 0},
		{"/app/%2e%2e/", "", "", 400, distrib.Refused, 12, 0},
		{"/away/", "away", "", 503, distrib.Away, -1, 0},
		{"/late/", "late", "", 504, distrib.TimedOut, -1, 1},
		{"/app/cut", "app", "", 200, distrib.CutOff, -1, 1},
		{"/app/gone", "app", "", 200, distrib.ClientGone, -1, 1},
	} {
		method := http.MethodGet
		if test.body != "" {
			method = http.MethodPost
		}
		req, err := http.NewRequest(method, s.server.URL+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if test.outcome == distrib.ClientGone {
			_, _ = io.ReadFull(resp.Body, make([]byte, 10))
		} else {
			_, _ = io.Copy(io.Discard, resp.Body)
		}
		_ = resp.Body.Close()
		got := <-records
		if got.Mount != test.mount || got.Status != test.status || got.Outcome != test.outcome ||
			got.Sent != test.sent || test.bytes >= 0 && got.ResponseBytes != test.bytes ||
			got.RequestBytes != int64(len(test.body)) || got.Client == "" ||
			got.Request.Method != method {
			t.Errorf("%s: %+v", test.path, got)
		}
		if total := got.Front + got.Queue + got.Handler + got.Write; got.Front <= 0 || total < 0 ||
			(got.Handler > 0) != (test.sent > 0 || test.mount == "/own/") {
			t.Errorf("%s: %v %v %v %v", test.path, got.Front, got.Queue, got.Handler, got.Write)
		}
	}
}

// The times of a record are those of the request: at least what its handler took, together no more
// than what the client waited.
func TestRecordTimes(t *testing.T) {
	site := &distrib.Site{}
	records := observed(site)
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	var head, rest time.Duration
	s.back("app", func(w http.ResponseWriter, _ *http.Request) {
		began := time.Now()
		runtime.GC()
		head = time.Since(began)
		_ = http.NewResponseController(w).Flush()
		flushed := time.Now()
		runtime.GC()
		rest = time.Since(flushed)
	})
	began := time.Now()
	s.get("/app/")
	got, all := <-records, time.Since(began)
	if got.Front <= 0 || got.Queue <= 0 || got.Handler < head ||
		got.Handler+got.Write < head+rest || got.Front+got.Queue+got.Handler+got.Write > all {
		t.Errorf("%v %v %v %v of %v, the handler took %v and %v", got.Front, got.Queue, got.Handler,
			got.Write, all, head, rest)
	}
}

// A log's line of a request under TLS has its version and cipher.
func TestLogValueOfRecord(t *testing.T) {
	pbtest.NoLeaks(t)
	var book logBook
	site := &distrib.Site{Observe: distrib.LogTo(slog.New(slog.NewTextHandler(&book, nil)))}
	site.Local("/", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server := httptest.NewUnstartedServer(site)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	server.StartTLS()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	server.Close()
	log := strings.Join(book.lines(), "\n")
	for _, want := range []string{`tls="TLS 1.3"`, "cipher=TLS_", "status=200", "mount=/",
		"request_id=" + resp.Header.Get("X-Request-ID")} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %s: %s", want, log)
		}
	}
}

package distrib_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"perspective/pb/distrib"
)

// A pattern is endless bytes that differ from place to place.
type pattern struct{ n int }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(p.n*7 + p.n>>8)
		p.n++
	}
	return len(b), nil
}

func sum(t *testing.T, r io.Reader) (string, int64) {
	t.Helper()
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), n
}

func TestBigBodies(t *testing.T) {
	const size = 10 << 20
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		got, n := sum(t, r.Body)
		w.Header().Set("X-Sum", got+" "+strconv.FormatInt(n, 10))
		_, _ = io.Copy(w, io.LimitReader(&pattern{}, size))
	})
	want, _ := sum(t, io.LimitReader(&pattern{}, size))
	for _, declared := range []bool{true, false} {
		t.Run(fmt.Sprintf("length declared %v", declared), func(t *testing.T) {
			req, err := http.NewRequest(http.MethodPut, s.server.URL+"/app/",
				io.LimitReader(&pattern{}, size))
			if err != nil {
				t.Fatal(err)
			}
			if declared {
				req.ContentLength = size
			}
			resp, err := s.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if got := resp.Header.Get("X-Sum"); got != want+" "+strconv.Itoa(size) {
				t.Errorf("the handler read %s, want %s %d", got, want, size)
			}
			if got, n := sum(t, resp.Body); got != want {
				t.Errorf("the client read %d bytes, sum %s, want %d and %s", n, got, size, want)
			}
		})
	}
}

func TestBodySizesAroundTheMessage(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	})
	for _, size := range []int{0, 1, 511, 64<<10 - 1, 64 << 10, 64<<10 + 1, 200_000} {
		body := make([]byte, size)
		_, _ = (&pattern{}).Read(body)
		_, got := s.do(http.MethodPost, "/app/", bytes.NewReader(body))
		if got != string(body) {
			t.Errorf("%d bytes came back as %d", size, len(got))
		}
	}
}

func TestBackPressure(t *testing.T) {
	var written atomic.Int64
	done := make(chan error, 1)
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 64<<10)
		for {
			n, err := w.Write(chunk)
			written.Add(int64(n))
			if err != nil {
				done <- err
				return
			}
			if written.Load() > 1<<30 {
				done <- errors.New("nothing slowed the handler down")
				return
			}
		}
	})
	resp, err := s.client.Get(s.server.URL + "/app/")
	if err != nil {
		t.Fatal(err)
	}
	// The client reads nothing: the handler must stand still before long.
	stalled := written.Load()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		<-tick.C
		now := written.Load()
		if now == stalled && now > 0 {
			tick.Stop()
			break
		}
		stalled = now
	}
	if stalled > 64<<20 {
		t.Errorf("%d bytes went to a client that reads nothing", stalled)
	}
	_ = resp.Body.Close() // the client goes
	if err := <-done; err == nil {
		t.Error("the handler's write did not fail")
	}
}

func TestFlushReachesTheClient(t *testing.T) {
	next := make(chan string)
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for msg := range next {
			_, _ = fmt.Fprintf(w, "data: %s\n\n", msg)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Errorf("Flush() = %v", err)
			}
		}
	})
	go func() { next <- "0" }()
	resp, err := s.client.Get(s.server.URL + "/app/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewReader(resp.Body)
	for i := range 5 {
		if i > 0 {
			next <- strconv.Itoa(i)
		}
		line, err := lines.ReadString('\n')
		if want := fmt.Sprintf("data: %d\n", i); err != nil || line != want {
			t.Fatalf("event %d = %q, %v; want %q", i, line, err, want)
		}
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	close(next)
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("after the last event: %q, %v", rest, err)
	}
}

func TestClientGoes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flush bool
	}{{"before the answer", false}, {"while nothing is written", true}} {
		t.Run(tt.name, func(t *testing.T) {
			in, out := make(chan struct{}), make(chan error, 1)
			s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
				if tt.flush {
					w.(http.Flusher).Flush()
				}
				derived, cancel := context.WithCancel(r.Context())
				defer cancel()
				close(in)
				<-r.Context().Done()
				<-derived.Done()
				out <- r.Context().Err()
			})
			ctx, cancel := context.WithCancel(context.Background())
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.URL+"/app/", nil)
			if err != nil {
				t.Fatal(err)
			}
			go func() { <-in; cancel() }()
			if resp, err := s.client.Do(req); err == nil {
				_, _ = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			if err := <-out; !errors.Is(err, context.Canceled) {
				t.Errorf("Err() = %v, want Canceled", err)
			}
		})
	}
}

// TestContextOutlivesAnswer: the call is answered when the handler flushes, and its context ends
// with that.
func TestContextOutlivesAnswer(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		derived, cancel := context.WithCancel(r.Context())
		defer cancel()
		for range 3 {
			_, _ = io.WriteString(w, "part ")
			w.(http.Flusher).Flush()
		}
		_, _ = fmt.Fprint(w, r.Context().Err(), " ", derived.Err())
	})
	if _, body := s.get("/app/"); body != "part part part <nil> <nil>" {
		t.Errorf("body = %q", body)
	}
}

func TestTrailers(t *testing.T) {
	for _, flush := range []bool{false, true} {
		t.Run(fmt.Sprintf("streamed %v", flush), func(t *testing.T) {
			s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Trailer", "X-Up, X-Sum, Set-Cookie")
				_, _ = io.Copy(w, r.Body)
				if flush {
					w.(http.Flusher).Flush()
				}
				w.Header().Set("X-Up", r.Trailer.Get("X-Client-Sum")+r.Trailer.Get("X-Sum"))
				w.Header().Set("X-Sum", "down")
				w.Header().Set("Set-Cookie", "late=1")
				w.Header().Set(http.TrailerPrefix+"X-Unannounced", "yes")
			})
			req, err := http.NewRequest(http.MethodPost, s.server.URL+"/app/",
				io.MultiReader(strings.NewReader("body")))
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = -1
			req.Trailer = http.Header{"X-Sum": {"up"}, "X-Client-Sum": {"forged"}}
			resp, body := s.send(req)
			if body != "body" {
				t.Errorf("body = %q", body)
			}
			for name, want := range map[string]string{
				"X-Up":          "up",
				"X-Sum":         "down",
				"X-Unannounced": "yes",
				"Set-Cookie":    "",
			} {
				if got := resp.Trailer.Get(name); got != want {
					t.Errorf("trailer %s = %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestInterim(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "page")
	})
	var hints []string
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, " ", h.Get("Link")))
		return nil
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace),
		http.MethodGet, s.server.URL+"/app/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, body := s.send(req)
	if body != "page" || resp.Header.Get("Link") != "" {
		t.Errorf("got %q with Link %q", body, resp.Header.Get("Link"))
	}
	if want := "103 </a.css>; rel=preload"; len(hints) != 1 || hints[0] != want {
		t.Errorf("interim responses = %q, want %q", hints, want)
	}
}

// rawClient speaks HTTP/1 by hand.
func rawClient(t *testing.T, s *httptest.Server) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, bufio.NewReader(c)
}

func TestExpectContinue(t *testing.T) {
	read := make(chan struct{})
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/app/no" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if r.URL.Path == "/app/instead" {
			w.WriteHeader(http.StatusExpectationFailed)
		}
		<-read
		b, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %v", b, err)
	})
	c, in := rawClient(t, s.server)
	_, _ = io.WriteString(c,
		"POST /app/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	close(read)
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("got %q, %v; want 100", line, err)
	}
	_, _ = in.ReadString('\n')
	_, _ = io.WriteString(c, "hello")
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "hello <nil>" {
		t.Errorf("body = %q, %v", b, err)
	}

	c, in = rawClient(t, s.server)
	_, _ = io.WriteString(c,
		"POST /app/no HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 403") {
		t.Errorf("got %q, %v; want 403 and no 100", line, err)
	}

	// An answer stands in place of the word, also while the handler reads on.
	c, in = rawClient(t, s.server)
	_, _ = io.WriteString(c,
		"POST /app/instead HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: "+
			"5\r\n\r\n")
	resp, err = http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusExpectationFailed {
		t.Fatalf("got %v, %v; want 417 and no 100", resp, err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.WriteString(c, "hello")
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "hello <nil>" {
		t.Errorf("body = %q, %v", b, err)
	}
}

func TestUnreadUploadDoesNotHang(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "enough")
	})
	// The client sends the head of a long body and then nothing, for as long as the test runs.
	c, in := rawClient(t, s.server)
	_, _ = io.WriteString(c,
		"POST /app/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nsome")
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "enough" {
		t.Errorf("body = %q, %v", b, err)
	}
}

func TestHandlerPanics(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/app/early":
			panic("oops")
		case "/app/exit":
			runtime.Goexit()
		case "/app/abort":
			_, _ = io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		default:
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic("oops")
		}
	})
	if resp, body := s.get("/app/early"); resp.StatusCode != http.StatusInternalServerError ||
		strings.Contains(body, "oops") {
		t.Errorf("early: %d %q", resp.StatusCode, body)
	}
	if resp, _ := s.get("/app/exit"); resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("exit: %d", resp.StatusCode)
	}
	if resp, err := s.client.Get(s.server.URL + "/app/abort"); err == nil {
		_ = resp.Body.Close()
		t.Error("abort: no error")
	}
	resp, err := s.client.Get(s.server.URL + "/app/late")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("late: a clean end after %q", b)
	}
}

func TestHead(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "<html>page")
	})
	resp, body := s.do(http.MethodHead, "/app/", nil)
	if body != "" || resp.ContentLength != 10 ||
		resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("HEAD = %q, length %d, type %q", body, resp.ContentLength,
			resp.Header.Get("Content-Type"))
	}
}

func TestWriteDeadline(t *testing.T) {
	got, begun := make(chan error, 1), make(chan struct{})
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		err := errors.Join(rc.EnableFullDuplex(), rc.SetReadDeadline(time.Time{}), rc.Flush())
		<-begun // so that the deadline finds a response that the client reads
		err = errors.Join(err, rc.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
		if err != nil {
			t.Errorf("deadlines: %v", err)
		}
		chunk := make([]byte, 1<<20)
		for {
			if _, err := w.Write(chunk); err != nil {
				got <- err
				return
			}
		}
	})
	resp, err := s.client.Get(s.server.URL + "/app/")
	close(begun)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := <-got; err == nil {
		t.Error("no error after the deadline")
	}
}

func TestConcurrentMix(t *testing.T) {
	site := &distrib.Site{}
	site.Handle("/a", distrib.Route{Back: "a", Limits: unhurried})
	site.Handle("/b", distrib.Route{Back: "b", Limits: unhurried})
	s := newSplit(t, site)
	echo := func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }
	s.back("a", echo)
	s.back("b", echo)
	errs := make(chan error)
	const clients, each = 8, 20
	for c := range clients {
		go func() {
			errs <- func() error {
				for i := range each {
					body := make([]byte, (c*7919+i*40009)%150_000)
					_, _ = (&pattern{n: c}).Read(body)
					resp, err := s.client.Post(s.server.URL+[]string{"/a", "/b"}[i%2], "x/y",
						bytes.NewReader(body))
					if err != nil {
						return err
					}
					got, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err != nil {
						return err
					}
					if !bytes.Equal(got, body) {
						return fmt.Errorf("client %d request %d: %d bytes came back as %d", c, i,
							len(body), len(got))
					}
				}
				return nil
			}()
		}()
	}
	for range clients {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// Too many trailers, or too large ones, are the client's fault and are told to it, or to the
// handler that reads them.
func TestTooManyTrailersOfARequest(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s, %d trailers, %v", b, len(r.Trailer), err)
	})
	declare := func(n int) string {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprint("A", i)
		}
		return strings.Join(names, ", ")
	}
	for _, tt := range []struct {
		name, trailer, sent string
		status              int
		want                string
	}{
		{"as many as may be", declare(256), "", http.StatusOK, "hello, 256 trailers, <nil>"},
		{"one more", declare(257), "", http.StatusRequestHeaderFieldsTooLarge, ""},
		{"a name as long as may be", strings.Repeat("A", 256), "", http.StatusOK,
			"hello, 1 trailers, <nil>"},
		{"a longer one", strings.Repeat("A", 257), "", http.StatusRequestHeaderFieldsTooLarge, ""},
		{"one name as often as may be", "A", strings.Repeat("A: 1\r\n", 256), http.StatusOK,
			"hello, 1 trailers, <nil>"},
		{"once more", "A", strings.Repeat("A: 1\r\n", 257), http.StatusOK,
			"client's trailers are over 256 fields"},
	} {
		c, in := rawClient(t, s.server)
		_, _ = io.WriteString(c,
			"POST /app/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: "+tt.trailer+
				"\r\n\r\n5\r\nhello\r\n0\r\n"+tt.sent+"\r\n")
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(b), tt.want) {
			t.Errorf("%s: %d %s, %v; want %d with %s", tt.name, resp.StatusCode, b, err,
				tt.status, tt.want)
		}
	}
}

// A proxy's transport reads the request's body while the proxy writes the answer: what is written
// stays in order, whichever of the two begins the answer.
func TestBodyIsReadWhileTheAnswerBegins(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusExpectationFailed)
		read := make(chan string)
		go func() { // ends when the body does, which the handler waits for
			b, err := io.ReadAll(r.Body)
			read <- fmt.Sprintf("%s %v", b, err)
		}()
		for range 3 {
			_, _ = w.Write(bytes.Repeat([]byte("a"), 30_000))
		}
		_, _ = io.WriteString(w, <-read)
	})
	for range 10 {
		c, in := rawClient(t, s.server)
		_, _ = io.WriteString(c,
			"POST /app/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: "+
				"5\r\n\r\nhello")
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != http.StatusExpectationFailed {
			t.Fatalf("got %v, %v; want 417 and no 100", resp, err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if want := strings.Repeat("a", 90_000) + "hello <nil>"; err != nil || string(b) != want {
			t.Errorf("body of %d bytes, ends with %q, %v; want %d", len(b),
				b[max(0, len(b)-20):], err, len(want))
		}
	}
}

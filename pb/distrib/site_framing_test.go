package distrib_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perspective/pb/distrib"
	"perspective/pb/pbtest"
)

// smuggled is a request that stands in the body of another one.
const smuggled = "GET /app/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

// after is a request that stands behind one, and asks for the end.
const after = "GET /app/after HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// A serverLog keeps what net/http complains about.
type serverLog struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *serverLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// framed is a split whose server's log is kept, and whose handler does what the path says.
func framed(t *testing.T, bare bool) (*split, *serverLog, *atomic.Int64) {
	t.Helper()
	pbtest.NoLeaks(t)
	site := &distrib.Site{BodyGrace: time.Hour, WriteStall: time.Hour}
	s, logged, ran := &split{t: t, site: site}, &serverLog{}, &atomic.Int64{}
	s.site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s.server = httptest.NewUnstartedServer(s.site)
	if !bare {
		s.server.Config = s.site.Server()
		s.server.Config.ReadHeaderTimeout = time.Hour
		s.server.Listener = s.site.Clients(s.server.Listener)
	}
	s.server.Config.ErrorLog = log.New(logged, "", 0)
	s.server.Start()
	s.client = s.server.Client()
	t.Cleanup(func() {
		s.server.CloseClientConnections()
		s.server.Close()
		if err := s.site.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	s.back("app", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/app/no":
			w.WriteHeader(http.StatusForbidden)
		case "/app/flush":
			w.WriteHeader(http.StatusForbidden)
			_ = http.NewResponseController(w).Flush()
		case "/app/some":
			_, _ = io.ReadFull(r.Body, make([]byte, 1000))
			w.WriteHeader(http.StatusForbidden)
		case "/app/read":
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
			}
		case "/app/after":
		default:
			ran.Add(1)
		}
	})
	return s, logged, ran
}

// converse sends all of raw on a connection of its own, and reads what comes until the server
// closes it or has given max answers. The statuses are those of the whole answers.
func converse(t *testing.T, addr, raw string, most int) (statuses []int, closed bool) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return nil, false
	}
	var writing sync.WaitGroup
	writing.Go(func() { _, _ = io.WriteString(c, raw) })
	defer writing.Wait()
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	for len(statuses) < most {
		resp, err := http.ReadResponse(in, nil) //nolint:bodyclose // the connection ends it
		if err != nil {
			return statuses, true
		}
		if resp.StatusCode < 200 {
			continue
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return statuses, true
		}
		statuses = append(statuses, resp.StatusCode)
		if resp.Close {
			// Nothing more may come, though it takes a moment until the connection is closed.
			if n, err := io.Copy(io.Discard, in); n > 0 {
				t.Errorf("%d bytes come behind the last answer, %v", n, err)
			}
			return statuses, true
		}
	}
	return statuses, false
}

// A connection is never used again when a request's body was not read to its end, and nothing in a
// body is ever taken for a request.
func TestBodiesAreNeverRequests(t *testing.T) {
	chunked := func(path string, body string, size int) string {
		var b strings.Builder
		_, _ = fmt.Fprintf(&b,
			"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", path)
		for len(body) > 0 {
			n := min(size, len(body))
			_, _ = fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
			body = body[n:]
		}
		return b.String() + "0\r\n\r\n"
	}
	head := func(path, more string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + more + "\r\n"
	}
	sized := func(path string, n int) string {
		return head(path, fmt.Sprintf("Content-Length: %d\r\n", n)) +
			strings.Repeat(smuggled, n/len(smuggled)+1)[:n]
	}
	many := strings.Repeat(smuggled, 600_000/len(smuggled))
	te := "Transfer-Encoding: chunked\r\n"
	type test struct {
		name string
		raw  string
		// broken says that nobody can tell where the request ends.
		broken bool
		want   map[int]bool // the statuses that the first answer may have; nil: none may come
	}
	is := func(s ...int) map[int]bool {
		m := make(map[int]bool)
		for _, n := range s {
			m[n] = true
		}
		return m
	}
	tests := []test{
		{"chunks unread", chunked("/app/no", many, 60_000), false, is(403)},
		{"chunks unread, tiny", chunked("/app/no", strings.Repeat(smuggled, 100), len(smuggled)),
			false, is(403)},
		{"chunks unread after a flush", chunked("/app/flush", many, 60_000), false, is(403)},
		{"chunks read in part", chunked("/app/some", many, 60_000), false, is(403)},
		{"no size", head("/app/no", te) + "ZZ\r\n" + smuggled, true, is(400, 403)},
		{"no size, read", head("/app/read", te) + "ZZ\r\n" + smuggled, true, is(400)},
		{"no end of a chunk", head("/app/no", te) + "3\r\nabcX" + smuggled, true, is(400, 403)},
		{"no end of a chunk, read", head("/app/read", te) + "3\r\nabcX" + smuggled, true, is(400)},
		{"no end of a chunk, flushed", head("/app/flush", te) + "3\r\nabcX" + smuggled,
			true, is(400, 403)},
		{"bare LF in an extension", head("/app/no", te) + "3;a\nb\r\nabc\r\n0\r\n\r\n" + smuggled,
			true, is(400, 403)},
		{"bare LF in an extension, read",
			head("/app/read", te) + "3;a\nb\r\nabc\r\n0\r\n\r\n" + smuggled, true, is(400)},
		{"bare LF for CRLF", head("/app/read", te) + "3\nabc\n0\n\n" + smuggled, true, is(400)},
		{"size overflows", head("/app/no", te) + "10000000000000003\r\nabc\r\n0\r\n\r\n" + smuggled,
			true, is(400, 403)},
		{"size overflows, read", head("/app/read", te) + "10000000000000003\r\nabc\r\n0\r\n\r\n" +
			smuggled, true, is(400)},
		{"size is negative",
			head("/app/read", te) + "-3\r\nabc\r\n0\r\n\r\n" + smuggled, true, is(400)},
		{"size begins with 0x",
			head("/app/read", te) + "0x3\r\nabc\r\n0\r\n\r\n" + smuggled, true, is(400)},
		{"size is empty", head("/app/read", te) + "\r\nabc\r\n0\r\n\r\n" + smuggled, true, is(400)},
		{"trailer is none",
			head("/app/read", te) + "0\r\nno colon\r\n\r\n" + smuggled, true, is(400)},
		{"length and chunks",
			head("/app/read", "Content-Length: 5\r\n"+te) + "0\r\n\r\n" + smuggled, true, is(400)},
		{"chunks and length", head("/app/read", te+"Content-Length: 500\r\n") + "0\r\n\r\n" +
			smuggled, true, is(400)},
		{"length 0 and chunks",
			head("/app/no", te+"content-length:0\r\n") + "0\r\n\r\n" + smuggled, true, is(400)},
		{"length and chunks, elsewhere",
			head("/nowhere", te+"Content-Length: 5\r\n") + "0\r\n\r\n" + smuggled, true, is(400)},
		{"chunks in HTTP/1.0", "POST /app/read HTTP/1.0\r\nConnection: keep-alive\r\n" + te +
			"\r\n0\r\n\r\n" + smuggled, true, is(400)},
		{
			"chunks and length in HTTP/1.0",
			"POST /app/read HTTP/1.0\r\nConnection: keep-alive\r\n" + te +
				"Content-Length: 5\r\n\r\n0\r\n\r\n" + smuggled,
			true, is(400),
		},
		{"expects, unread", head("/app/no", "Expect: 100-continue\r\nContent-Length: 78\r\n") +
			smuggled + smuggled, false, is(403)},
		{"expects, flushed",
			head("/app/flush", "Expect: 100-continue\r\n"+te) + "ZZ\r\n" + smuggled, true, is(403)},
		{"elsewhere", sized("/nowhere", 200_000), false, is(404)},
		{"elsewhere, chunks", chunked("/nowhere", many, 60_000), false, is(404)},
		{"elsewhere, broken", head("/nowhere", te) + "ZZ\r\n" + smuggled, true, is(404)},
	}
	for _, n := range []int{65_537, 100_000, 150_000, 200_000, 250_000, 262_144, 600_000} {
		tests = append(tests,
			test{fmt.Sprintf("%d bytes unread", n), sized("/app/no", n), false, is(403)},
			test{fmt.Sprintf("%d bytes unread after a flush", n), sized("/app/flush", n),
				false, is(403)})
	}
	run := func(t *testing.T, times int, bare bool) {
		s, logged, ran := framed(t, bare)
		var wg sync.WaitGroup
		turns := make(chan struct{}, 300)
		for i := range times * len(tests) {
			tt := tests[i%len(tests)]
			turns <- struct{}{}
			wg.Go(func() {
				defer func() { <-turns }()
				got, closed := converse(t, s.server.Listener.Addr().String(), tt.raw+after, 3)
				// What is behind a body that is whole may be served, if all of the body was read.
				if len(got) > 1 && (tt.broken || len(got) > 2 || got[1] != http.StatusOK) ||
					tt.broken && !closed {
					t.Errorf("%s: answers %v, closed %v; want one, and the end",
						tt.name, got, closed)
				}
				// Under a server of one's own nobody sees that a request says two things, but the
				// end comes all the same.
				if len(got) > 0 && !tt.want[got[0]] && !(bare && tt.want[400]) {
					t.Errorf("%s: status = %d, want one of %v", tt.name, got[0], tt.want)
				}
			})
		}
		wg.Wait()
		if n := ran.Load(); n > 0 {
			t.Errorf("%d requests were found in bodies", n)
		}
		if out := logged.String(); out != "" {
			t.Errorf("the server says %.2000q", out)
		}
	}
	times := 20
	switch {
	case testing.Short():
		times = 4
	case os.Getenv("PERSPECTIVE_SOAK") != "":
		times = 200
	}
	t.Run("the server of the Site", func(t *testing.T) { run(t, times, false) })
	t.Run("a server of one's own", func(t *testing.T) { run(t, times/4, true) })
}

// A request that asks for another protocol and does not get it is one as any other: what comes
// behind it is looked at.
func TestUpgradeThatNobodyMakes(t *testing.T) {
	te := "Transfer-Encoding: chunked\r\n"
	doubtful := map[string]string{
		"length and chunks": "POST /app/read HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n" + te +
			"\r\n0\r\n\r\n",
		"chunks in HTTP/1.0": "POST /app/read HTTP/1.0\r\nConnection: keep-alive\r\n" + te +
			"\r\n0\r\n\r\n",
		"folded length": "POST /app/read HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n " +
			"5\r\n\r\n0\r\n\r\n",
	}
	for _, upgrade := range []string{"h2c", "foo", "", "websocket", "TLS/1.2"} {
		for name, raw := range doubtful {
			for _, path := range []string{"/app/after", "/nowhere"} {
				// a Site each, which ends with it
				t.Run(fmt.Sprintf("%s behind Upgrade: %q to %s", name, upgrade, path), func(
					t *testing.T,
				) {
					s, _, ran := framed(t, false)
					head := "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: " +
						"upgrade\r\nUpgrade: " + upgrade + "\r\n\r\n"
					got, closed := converse(t, s.server.Listener.Addr().String(),
						head+head+raw+smuggled, 4)
					if len(got) != 3 || got[2] != http.StatusBadRequest || !closed ||
						ran.Load() > 0 {
						t.Errorf("%v, closed %v, %d requests in bodies; want 400 as the third, "+
							"and the end", got, closed, ran.Load())
					}
				})
			}
		}
	}
}

// A connection that a handler beside the Site hijacks carries what it likes, under the Site's
// server and under another.
func TestHijackedConnections(t *testing.T) {
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprintf("a server of one's own: %v", own), func(t *testing.T) {
			s, _, _ := framed(t, true)
			mux := http.NewServeMux()
			mux.Handle("/", s.site)
			mux.HandleFunc("/echo", func(w http.ResponseWriter, _ *http.Request) {
				c, buffered, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c,
					"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: "+
						"echo\r\n\r\n")
				_, _ = io.Copy(c, buffered)
			})
			server := s.site.Server()
			if own {
				server = new(http.Server)
			}
			server.Handler = mux
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var serving sync.WaitGroup
			serving.Go(func() { _ = server.Serve(s.site.Clients(l)) })
			defer serving.Wait()
			defer func() { _ = server.Close() }()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			in := bufio.NewReader(c)
			for _, path := range []string{"/app/after", "/echo"} {
				_, _ = io.WriteString(c, "GET "+path+
					" HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
				resp, err := http.ReadResponse(in, nil) //nolint:bodyclose // the connection ends it
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil && path != "/echo" {
					t.Fatal(err)
				}
				if want := map[string]int{"/app/after": 200,
					"/echo": 101}[path]; resp.StatusCode != want {
					t.Fatalf("%s: status = %d, want %d", path, resp.StatusCode, want)
				}
			}
			for _, word := range []string{
				"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: " +
					"chunked\r\n\r\n0\r\n\r\n", "\x16\x03\x01", "no\nhead\n\n", "end",
			} {
				_, _ = io.WriteString(c, word)
				got := make([]byte, len(word))
				if n, err := io.ReadFull(in, got); err != nil || string(got) != word {
					t.Fatalf("%q comes back as %q, %v", word, got[:n], err)
				}
			}
		})
	}
}

// What is framed well is served, one request after another on one connection.
func TestRequestsShareAConnection(t *testing.T) {
	s, logged, ran := framed(t, false)
	one := "POST /app/read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " +
		"chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-A: b\r\n\r\n" +
		"POST /app/read HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" +
		"POST /app/read HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" +
		strings.Repeat("z", 100_000) +
		"POST /app/no HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" +
		"\r\nGET /app/ HTTP/1.1\r\nHost: x\r\n\r\n"
	got, closed := converse(t, s.server.Listener.Addr().String(), strings.Repeat(one, 20), 100)
	if closed || len(got) != 100 {
		t.Errorf("%d answers, closed %v; want 100 on one connection; the server says %q",
			len(got), closed, logged)
	}
	if n := ran.Load(); n != 20 {
		t.Errorf("%d of the last kind were served, want 20", n)
	}
}

// A handler that answers while it reads gets all, in HTTP/1 too.
func TestFullDuplexOverHTTP1(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 16)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(bytes.ToUpper(buf[:n]))
			_ = http.NewResponseController(w).Flush()
			if err != nil {
				return
			}
		}
	})
	c, in := rawClient(t, s.server)
	_, _ = io.WriteString(c,
		"POST /app/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	for i, word := range []string{"one", "two", "three"} {
		if i > 0 {
			_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(word), word)
		}
		got := make([]byte, len(word))
		if _, err := io.ReadFull(resp.Body, got); err != nil ||
			string(got) != strings.ToUpper(word) {
			t.Fatalf("got %q, %v for %q", got, err, word)
		}
	}
	_, _ = io.WriteString(c, "0\r\n\r\n")
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("at the end: %q, %v", rest, err)
	}
}

// A client that has gone is told nothing, and one that closes in the middle of its body leaves
// nothing behind.
func TestClientClosesInTheMiddle(t *testing.T) {
	s, logged, ran := framed(t, false)
	for _, path := range []string{"/app/no", "/app/read", "/app/flush", "/app/some", "/nowhere"} {
		for range 40 {
			c, err := net.Dial("tcp", s.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c,
				"POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n"+
					strings.Repeat(smuggled, 500))
			_ = c.Close()
		}
	}
	if resp, _ := s.get("/app/"); resp.StatusCode != http.StatusOK {
		t.Errorf("status = %d afterwards", resp.StatusCode)
	}
	if n := ran.Load(); n != 1 {
		t.Errorf("%d requests were found in bodies", n-1)
	}
	if out := logged.String(); out != "" {
		t.Errorf("the server says %.2000q", out)
	}
}

// A body must come at a rate, when the grace is over; a handler gets no request for ever.
func TestBodiesHaveAFloor(t *testing.T) {
	for _, size := range []int{1000, 1_000_000} {
		site := &distrib.Site{BodyGrace: 50 * time.Millisecond, BodyRate: 1 << 20}
		site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
		s := newSplit(t, site)
		failed := make(chan error, 1)
		s.back("app", func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			failed <- err
			<-r.Context().Done() // else the front may have this answer before it gives its own
		})
		c, in := rawClient(t, s.server)
		_, _ = fmt.Fprintf(c,
			"POST /app/ HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nsome", size)
		resp, err := http.ReadResponse(in, nil)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusRequestTimeout || !resp.Close {
				t.Errorf("%d bytes: status = %d, close %v; want 408 and the end", size,
					resp.StatusCode, resp.Close)
			}
		} else if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %v", size, err)
		}
		if size > 100_000 {
			if err := <-failed; err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the handler read to the end, %v", err)
			}
		}
	}
}

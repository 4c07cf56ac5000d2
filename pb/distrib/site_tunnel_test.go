package distrib_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"perspective/pb/distrib"
)

// A raw is a client's connection by hand.
type raw struct {
	*net.TCPConn

	in     *bufio.Reader
	status int // of the answer
	header http.Header
}

// upgrade asks for the protocol foo and reads the answer's head.
func (s *split) upgrade(path string) *raw {
	s.t.Helper()
	c, err := net.Dial("tcp", s.server.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	r := &raw{TCPConn: c.(*net.TCPConn), in: bufio.NewReader(c)}
	_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x.test\r\nConnection: Upgrade\r\n"+
		"Upgrade: bar, h2c, Foo\r\nX-More: yes\r\n\r\n")
	resp, err := http.ReadResponse(r.in, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = resp.Body.Close() // nothing of it was read yet
	r.status, r.header = resp.StatusCode, resp.Header
	return r
}

// take hijacks w and answers 101, in one of the two orders in which libraries do it.
func take(t *testing.T, w http.ResponseWriter, written bool) (net.Conn, *bufio.ReadWriter) {
	t.Helper()
	if !written {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "foo")
		w.Header().Set("X-Kept", "yes")
		w.Header().Set("Alt-Svc", "clear")
		w.WriteHeader(http.StatusSwitchingProtocols)
	}
	c, b, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return nil, nil
	}
	if written {
		head := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\n" +
			"X-Kept: yes\r\nAlt-Svc: clear\r\n\r\n"
		for _, part := range []string{head[:3], head[3:40], head[40:]} {
			if n, err := io.WriteString(c, part); n != len(part) || err != nil {
				t.Errorf("Write(%q) = %d, %v", part, n, err)
			}
		}
	}
	return c, b
}

// orders runs f for both orders of Hijack and the 101.
func orders(t *testing.T, f func(t *testing.T, written bool)) {
	t.Helper()
	for _, written := range []bool{false, true} {
		t.Run(fmt.Sprintf("the 101 written onto the connection: %v", written),
			func(t *testing.T) { f(t, written) })
	}
}

// A handler takes over its client's connection; bytes go both ways, and each direction has its end.
func TestUpgrade(t *testing.T) {
	orders(t, func(t *testing.T, written bool) {
		seen := make(chan string, 1)
		s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
			seen <- fmt.Sprint(r.Header["Upgrade"], r.Header["Connection"], r.Header["X-More"])
			c, b := take(t, w, written)
			if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrHijacked) {
				t.Errorf("Write after Hijack: %v", err)
			}
			if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, http.ErrHijacked) {
				t.Errorf("Hijack after Hijack: %v", err)
			}
			if got := c.LocalAddr().String(); got != "x.test" {
				t.Errorf("LocalAddr = %q", got)
			}
			if got := c.RemoteAddr().String(); got != r.RemoteAddr {
				t.Errorf("RemoteAddr = %q, want %q", got, r.RemoteAddr)
			}
			if _, err := io.Copy(c, b); err != nil {
				t.Errorf("echo: %v", err)
			}
			_, _ = io.WriteString(c, "bye") // the client's half is closed, this one is not
			if err := c.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
			if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write after Close: %v", err)
			}
			if err := c.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("second Close: %v", err)
			}
		})
		c := s.upgrade("/app/")
		if got, want := <-seen, "[bar, Foo] [Upgrade] [yes]"; got != want {
			t.Errorf("the handler sees %s, want %s", got, want)
		}
		if h := c.header; c.status != http.StatusSwitchingProtocols || h.Get("Upgrade") != "Foo" ||
			h.Get("Connection") != "Upgrade" || h.Get("X-Kept") != "yes" ||
			h.Get("Alt-Svc") != "" || h.Get("Content-Length") != "" {
			t.Errorf("answer %d %v", c.status, h)
		}
		big := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
		var writing sync.WaitGroup
		writing.Go(func() {
			for _, p := range [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n"), big} {
				if _, err := c.Write(p); err != nil {
					t.Error(err)
				}
			}
			_ = c.CloseWrite()
		})
		got, err := io.ReadAll(c.in)
		writing.Wait()
		if want := len(big) + 18 + 3; err != nil || len(got) != want ||
			!bytes.HasSuffix(got, []byte("bye")) || !bytes.HasSuffix(got[:len(got)-3], big) {
			t.Errorf("%d bytes come back, %v; want %d", len(got), err, want)
		}
	})
}

// The back end closes its half, and still hears what the client says.
func TestTunnelHalfClosedByTheBackEnd(t *testing.T) {
	orders(t, func(t *testing.T, written bool) {
		heard := make(chan string, 1)
		s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
			c, _ := take(t, w, written)
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, "last")
			if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Errorf("CloseWrite = %v", err)
			}
			b, err := io.ReadAll(c)
			heard <- fmt.Sprint(string(b), err)
		})
		c := s.upgrade("/app/")
		if b, err := io.ReadAll(c.in); string(b) != "last" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
		_, _ = io.WriteString(c, "still here")
		_ = c.CloseWrite()
		if got := <-heard; got != "still here<nil>" {
			t.Errorf("the handler hears %q", got)
		}
	})
}

// Deadlines on a hijacked connection do what net.Conn says, before and behind the 101.
func TestTunnelDeadlines(t *testing.T) {
	done, speak := make(chan struct{}), make(chan struct{})
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		late := func(what string, err error) {
			t.Helper()
			if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() ||
				!errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v, want a timeout", what, err)
			}
		}
		buf := make([]byte, 10)
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err = c.Read(buf)
		late("Read before the 101", err)
		_ = c.SetDeadline(time.Time{})
		_, _ = io.WriteString(c,
			"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err = c.Read(buf)
		late("Read", err)
		_ = c.SetReadDeadline(time.Time{})
		close(speak)
		if n, err := io.ReadFull(c, buf[:5]); err != nil || string(buf[:n]) != "hello" {
			t.Errorf("Read after a deadline: %q, %v", buf[:n], err)
		}
		_ = c.SetWriteDeadline(time.Now().Add(time.Millisecond))
		for err = nil; err == nil; { // until nothing more fits between here and the client
			_, err = c.Write(make([]byte, 1<<16))
		}
		late("Write", err)
		// One that is moved while somebody waits.
		_ = c.SetReadDeadline(time.Now().Add(time.Hour))
		var waiting sync.WaitGroup
		waiting.Go(func() {
			_, err := c.Read(buf)
			late("Read that waits", err)
		})
		_ = c.SetReadDeadline(time.Unix(1, 0))
		waiting.Wait()
	})
	c := s.upgrade("/app/")
	<-speak
	_, _ = io.WriteString(c, "hello")
	<-done
}

// A client that goes ends the handler's reads, writes and context, and a back end that dies ends
// the client's connection, visibly.
func TestTunnelEnds(t *testing.T) {
	orders(t, func(t *testing.T, written bool) {
		ended := make(chan error, 1)
		in := make(chan struct{}, 1)
		s, r := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
			c, _ := take(t, w, written)
			_, _ = io.WriteString(c, "x") // which waits for the tunnel
			in <- struct{}{}
			if r.URL.Path == "/app/panic" {
				panic("at the disco")
			}
			defer func() { _ = c.Close() }()
			_, err := io.Copy(io.Discard, c)
			if err != nil {
				<-r.Context().Done()
			}
			ended <- err
		})
		// The client has it, so that the kernel has not told of its reset before the tunnel is
		// there.
		open := func(path string) *raw {
			c := s.upgrade(path)
			<-in
			if b, err := c.in.ReadByte(); b != 'x' || err != nil {
				t.Errorf("got %q, %v", b, err)
			}
			return c
		}
		c := open("/app/")
		_ = c.SetLinger(0)
		_ = c.Close()
		if err := <-ended; err == nil {
			t.Error("a reset looks like a clean end to the handler")
		}
		c = open("/app/")
		_ = c.Close()
		if err := <-ended; err != nil {
			t.Errorf("a clean end: %v", err)
		}
		c = open("/app/panic")
		if _, err := io.ReadAll(c.in); err == nil {
			t.Error("a panic looks like a clean end to the client")
		}
		c = open("/app/")
		r.kill()
		if _, err := io.ReadAll(c.in); err == nil {
			t.Error("the death of the back end looks like a clean end to the client")
		}
		if err := <-ended; err == nil {
			t.Error("the death of the link looks like a clean end to the handler")
		}
	})
}

// A handler may answer by hand with anything that is HTTP.
func TestHijackForAPlainAnswer(t *testing.T) {
	var waiting sync.WaitGroup
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		c, b, err := w.(http.Hijacker).Hijack()
		if r.ProtoMajor == 2 {
			if !errors.Is(err, http.ErrNotSupported) {
				t.Errorf("Hijack over HTTP/2: %v", err)
			}
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		text, _ := strings.CutPrefix(r.URL.Query().Get("say"), " ")
		waiting.Go(func() { // the connection outlives the handler
			_, _ = b.WriteString(strings.Replace(text, "long", strings.Repeat("a", 66_000), 1))
			_ = b.Flush()
			_ = c.Close()
		})
	})
	defer waiting.Wait()
	for _, tt := range []struct{ name, say, status, body string }{
		{"until the end", "HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nall there is", "200", "all there is"},
		{"of a length", "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc", "404", "abc"},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
			"200", "abc"},
		{"bare line feeds", "HTTP/1.1 200 OK\nX-A: b\n\nabc", "200", "abc"},
		{"interim first", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 403 No\r\n\r\nno",
			"403", "no"},
		{"no body", "HTTP/1.1 204 No Content\r\n\r\n", "204", ""},
		{"not HTTP", "Now we speak raw TCP", "500", "internal server error\n"},
		{"a head too large", "HTTP/1.1 200 OK\r\nX: long", "500", "internal server error\n"},
		{"a head that is none", "HTTP/1.1 OK\r\n\r\n", "500", "internal server error\n"},
		{"nothing", "", "", ""},
		{"half a head", "HTTP/1.1 200 OK\r\nX", "", ""},
		{"a body too short", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "200", "abc cut"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := strings.NewReplacer("\r", "%0d", "\n", "%0a", " ", "+", "#", "%23").Replace(tt.say)
			c, err := net.Dial("tcp", s.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, "GET /app/?say="+q+" HTTP/1.1\r\nHost: x\r\n\r\n")
			in := bufio.NewReader(c)
			resp, err := http.ReadResponse(in, nil)
			for err == nil && resp.StatusCode < 200 {
				resp, err = http.ReadResponse(in, nil)
			}
			if err != nil || tt.status == "" {
				if err == nil || tt.status != "" {
					t.Errorf("answer %v, %v; want %q", resp, err, tt.status)
				}
				return
			}
			defer func() { _ = resp.Body.Close() }()
			b, err := io.ReadAll(resp.Body)
			body := string(b)
			if err != nil {
				body += " cut"
			}
			if fmt.Sprint(resp.StatusCode) != tt.status || body != tt.body {
				t.Errorf("answer %s with %q, want %s with %q", resp.Status, body, tt.status,
					tt.body)
			}
			if tt.status != "500" && !resp.Close {
				t.Error("the connection does not end behind it")
			}
		})
	}
	s.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
		s.site.ServeHTTP(w, r)
	})
	if resp, _ := s.get("/app/"); resp.StatusCode != http.StatusOK {
		t.Errorf("over HTTP/2: %d", resp.StatusCode)
	}
}

// What is no upgrade is a request as any other.
func TestUpgradeNotGranted(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/app/101" {
			w.Header().Set("Upgrade", "other")
			w.WriteHeader(http.StatusSwitchingProtocols)
			if _, _, err := w.(http.Hijacker).Hijack(); err == nil {
				t.Error("a 101 that the client did not ask for can be hijacked")
			}
			return
		}
		if r.URL.Path == "/app/kept" {
			w.Header().Set("Upgrade", "foo")
			w.WriteHeader(http.StatusSwitchingProtocols)
			if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Errorf("a body behind 101: %v", err)
			}
			return
		}
		w.Header().Set("X-Seen", strings.Join(r.Header["Upgrade"], ","))
		w.WriteHeader(http.StatusUpgradeRequired)
	})
	head := func(more string) string {
		return "GET /app/ HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\n" + more + "\r\n"
	}
	for _, tt := range []struct{ name, raw, want string }{
		{"refused by the handler", head("Upgrade: foo\r\n"), "426 foo"},
		{"h2c", head("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"), "426 "},
		{"TLS and HTTP", head("Upgrade: TLS/1.2, HTTP/2.0, , h2\r\n"), "426 "},
		{"among others", head("Upgrade: TLS/1.2, foo/2\r\nUpgrade: bar\r\n"), "426 foo/2, bar"},
		{"HTTP/1.0", "GET /app/ HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n", "426 "},
		{"not of the connection", "GET /app/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" +
			"Upgrade: foo\r\n\r\n", "426 "},
		{"a small body", head("Upgrade: foo\r\nContent-Length: 3\r\n") + "abc", "426 foo"},
		{"a long body", head("Upgrade: foo\r\nContent-Length: 70000\r\n") +
			strings.Repeat("a", 70_000), "426 "},
		{"chunks that nobody looks at", head("Upgrade: foo\r\nTransfer-Encoding: chunked\r\n") +
			"0\r\n\r\n", "400 "},
		{"a protocol that was not asked for", strings.Replace(head("Upgrade: foo\r\n"), "/app/",
			"/app/101", 1), "500 "},
		{"101 without Hijack", strings.Replace(head("Upgrade: foo\r\n"), "/app/", "/app/kept", 1),
			"500 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := net.Dial("tcp", s.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			var writing sync.WaitGroup
			writing.Go(func() { _, _ = io.WriteString(c, tt.raw) })
			defer writing.Wait()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if got := fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("X-Seen")); got != tt.want {
				t.Errorf("answer %q, want %q", got, tt.want)
			}
			_ = c.Close()
		})
	}
}

// A tunnel has no time limit, and takes a place among the client's streams.
func TestTunnelsAreCounted(t *testing.T) {
	site := &distrib.Site{}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: distrib.Limits{
		Hold: time.Minute, HeaderTimeout: time.Minute, ResponseTimeout: 50 * time.Millisecond,
		ClientStreams: 2}})
	s := newSplit(t, site)
	s.back("app", func(w http.ResponseWriter, r *http.Request) {
		c, b := take(t, w, true)
		if c == nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.Copy(c, b)
	})
	var open []*raw
	for len(open) < 2 {
		c := s.upgrade("/app/")
		if c.status == http.StatusGatewayTimeout {
			continue // a busy machine took longer than the time for a response
		}
		if c.status != http.StatusSwitchingProtocols {
			t.Fatalf("status = %d", c.status)
		}
		open = append(open, c)
	}
	for {
		c := s.upgrade("/app/")
		if c.status == http.StatusGatewayTimeout {
			continue // as above
		}
		if c.status != http.StatusServiceUnavailable {
			t.Errorf("the third: %d, want 503", c.status)
		}
		break
	}
	for range 3 {
		timer := time.NewTimer(30 * time.Millisecond) // longer than a response may take, together
		<-timer.C
		for i, c := range open {
			word := fmt.Sprint("hello ", i)
			_, _ = io.WriteString(c, word)
			got := make([]byte, len(word))
			if _, err := io.ReadFull(c.in, got); err != nil || string(got) != word {
				t.Fatalf("echo = %q, %v", got, err)
			}
		}
	}
}

package distrib_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perspective/pb/distrib"
	"perspective/pb/pbtest"
)

// faithful does what the path says, in ways that handlers do.
func faithful(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	switch strings.TrimPrefix(r.URL.Path, "/app/") {
	case "small":
		_, _ = io.WriteString(w, "<html>hello")
	case "nothing":
	case "empty":
		w.WriteHeader(http.StatusNoContent)
	case "unchanged":
		w.Header().Set("ETag", `"1"`)
		w.WriteHeader(http.StatusNotModified)
	case "error":
		http.Error(w, "no", http.StatusTeapot)
	case "redirect":
		http.Redirect(w, r, "/app/elsewhere", http.StatusFound)
	case "range":
		http.ServeContent(w, r, "a.txt", time.Time{}, strings.NewReader("0123456789"))
	case "length":
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "hello")
	case "close":
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "the last")
	case "undated":
		w.Header()["Date"] = nil
		_, _ = io.WriteString(w, "some day")
	case "untyped":
		w.Header()["Content-Type"] = nil
		_, _ = io.WriteString(w, "<html>")
	case "hints":
		for i := range 20 {
			w.Header().Set("Link", fmt.Sprintf("</%d.css>; rel=preload", i))
			w.WriteHeader(http.StatusEarlyHints)
		}
		_, _ = io.WriteString(w, "page")
	case "hints and echo":
		for range 10 {
			w.WriteHeader(http.StatusEarlyHints)
		}
		b, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %v", b, err)
	case "long":
		_, _ = w.Write(bytes.Repeat([]byte("long "), 50_000))
	case "flushed":
		_, _ = io.WriteString(w, "one ")
		_ = rc.Flush()
		_, _ = io.WriteString(w, "two")
	case "trailer":
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "4")
	case "echo":
		n, err := io.Copy(w, r.Body)
		_, _ = fmt.Fprint(w, " ", n, " ", err)
	case "out of time":
		_ = rc.SetWriteDeadline(time.Unix(1, 0))
		_, _ = io.WriteString(w, "hello")
	case "long out of time":
		_ = rc.SetWriteDeadline(time.Unix(1, 0))
		_, _ = w.Write(bytes.Repeat([]byte("long "), 50_000))
	case "closed":
		_ = r.Body.Close()
		n, err := r.Body.Read(make([]byte, 5))
		_, _ = fmt.Fprint(w, n, " ", err)
	case "size":
		_, _ = fmt.Fprint(w, r.ContentLength, r.Header["Content-Length"])
	case "answer first":
		_ = rc.EnableFullDuplex()
		w.WriteHeader(http.StatusOK)
		_ = rc.Flush()
		b, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %v", b, err)
	case "late":
		_ = rc.SetReadDeadline(time.Unix(1, 0))
		b, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprint(w, len(b) < 60_000, errors.Is(err, os.ErrDeadlineExceeded))
	}
}

// said is what a client makes of the answers to raw, in words.
func said(t *testing.T, addr, raw string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	go func() { _, _ = io.WriteString(c, raw) }() // ends with the connection
	in := bufio.NewReader(c)
	method, _, _ := strings.Cut(raw, " ")
	var b strings.Builder
	for {
		//nolint:bodyclose // the connection ends it
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return b.String() + err.Error()
		}
		if date := resp.Header["Date"]; len(date) > 0 {
			resp.Header.Set("Date", "a date")
		}
		resp.Header.Del("X-Request-ID") // the front's own
		_, _ = fmt.Fprintln(&b, resp.Status, resp.Proto, resp.ContentLength,
			resp.TransferEncoding, resp.Close)
		if resp.ProtoMinor == 0 {
			resp.Header.Del("Connection") // which says what is so anyway
		}
		for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
			_, _ = fmt.Fprintln(&b, name, resp.Header[name])
		}
		if resp.StatusCode < 200 {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_, _ = fmt.Fprintf(&b, "%d %.40q %v %v", len(body), body, err, resp.Trailer)
		return b.String()
	}
}

// The same handler gives the same answers under net/http alone and behind the front.
func TestAnswersAsNetHTTP(t *testing.T) {
	s, _ := oneBack(t, faithful)
	bare := httptest.NewServer(http.HandlerFunc(faithful))
	defer bare.Close()
	get := func(path string) string { return "GET /app/" + path + " HTTP/1.1\r\nHost: x\r\n\r\n" }
	post := func(path, more, body string) string {
		return fmt.Sprintf("POST /app/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s",
			path, len(body), more, body)
	}
	for _, raw := range []string{
		get("small"), get("nothing"), get("empty"), get("unchanged"), get("error"), get("redirect"),
		get("range"), get("length"),
		get("close"), get("undated"), get("untyped"), get("hints"), get("long"), get("flushed"),
		get("trailer"), get("echo"),
		"GET /app/range HTTP/1.1\r\nHost: x\r\nRange: bytes=2-4\r\n\r\n",
		"HEAD /app/small HTTP/1.1\r\nHost: x\r\n\r\n",
		"HEAD /app/length HTTP/1.1\r\nHost: x\r\n\r\n",
		"HEAD /app/nothing HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /app/small HTTP/1.0\r\n\r\n",
		"GET /app/flushed HTTP/1.0\r\n\r\n",
		"GET /app/small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		post("echo", "", "hello"),
		post("echo", "Expect: 100-continue\r\n", "hello"),
		get("out of time"), get("long out of time"),
		"HEAD /app/long out of time HTTP/1.1\r\nHost: x\r\n\r\n",
		post("closed", "", "hello"),
		post("closed", "Connection: close\r\n", strings.Repeat("z", 70_000)),
		post("size", "", "hello"),
		post("size", "", ""),
		get("size"),
		post("hints and echo", "Expect: 100-continue\r\n", "hello"),
		post("answer first", "", "hello"),
		post("answer first", "Expect: 100-continue\r\n", "hello"),
		post("late", "Connection: close\r\n", strings.Repeat("z", 60_000)),
	} {
		method, rest, _ := strings.Cut(raw, " ")
		path, more, _ := strings.Cut(rest, " HTTP/")
		raw = method + " " + strings.ReplaceAll(path, " ", "%20") + " HTTP/" + more
		name, _, _ := strings.Cut(raw, "\r")
		if got, want := said(t, s.server.Listener.Addr().String(), raw), said(t,
			bare.Listener.Addr().String(), raw); got != want {
			t.Errorf("%s, behind the front:\n%s\nalone:\n%s", name, got, want)
		}
	}
}

// A write over the Content-Length counts though it fails, as under net/http: what is written later
// is not the body, and the answer breaks off.
func TestWriteOverTheLengthSpoilsTheAnswer(t *testing.T) {
	errs := make(chan error, 2)
	s, _ := oneBack(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "3")
		for _, body := range []string{"xxxxx", "yyy"} {
			_, err := io.WriteString(w, body)
			errs <- err
		}
	})
	resp, err := s.client.Get(s.server.URL + "/app/")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
	}
	if err == nil {
		t.Error("the client took the answer for whole")
	}
	for range 2 {
		if err := <-errs; !errors.Is(err, http.ErrContentLength) {
			t.Errorf("Write over the length: %v, want http.ErrContentLength", err)
		}
	}
}

// A handler sees how its client came, as under net/http.
func TestTLSReachesTheHandler(t *testing.T) {
	pbtest.NoLeaks(t)
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			_, _ = io.WriteString(w, "none")
			return
		}
		_, _ = fmt.Fprint(w, r.TLS.Version, r.TLS.CipherSuite, r.TLS.ServerName,
			r.TLS.NegotiatedProtocol, r.TLS.HandshakeComplete,
			len(r.TLS.PeerCertificates), r.TLS.PeerCertificates[0].Subject,
			len(r.TLS.VerifiedChains))
	}
	ask := func(h http.Handler, then func()) string {
		server := httptest.NewUnstartedServer(h)
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}
		server.StartTLS()
		defer server.Close()
		if then != nil {
			defer then()
		}
		client := server.Client()
		config := client.Transport.(*http.Transport).TLSClientConfig
		config.ServerName = "example.com"
		config.Certificates = server.TLS.Certificates
		resp, err := client.Get(server.URL + "/app/")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	s := &split{t: t, site: &distrib.Site{}}
	s.site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s.back("app", h)
	got, want := ask(s.site, func() { _ = s.site.Close() }), ask(http.HandlerFunc(h), nil)
	if got != want || !strings.Contains(want, "example.com") {
		t.Errorf("behind the front: %s, alone: %s", got, want)
	}
}

// A cutConn ends when something is written after it was told so.
type cutConn struct {
	net.Conn

	cut atomic.Bool
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.cut.Load() {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// A GET whose answer streams is sent to the next back end when the first dies before any byte left.
func TestStreamIsAskedForAgain(t *testing.T) {
	site := &distrib.Site{}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	front, back := pair(t)
	first := &cutConn{Conn: front}
	cut := make(chan struct{}, 2)
	s.serve("app", back, func(w http.ResponseWriter, r *http.Request) {
		first.cut.Store(true) // the front's next word would be for the stream
		cut <- struct{}{}
		_, _ = w.Write(make([]byte, 100_000))
	})
	if err := site.Attach("app", first); err != nil {
		t.Fatal(err)
	}
	var status, size int
	var asking sync.WaitGroup
	asking.Go(func() {
		resp, body := s.get("/app/")
		status, size = resp.StatusCode, len(body)
	})
	<-cut
	s.back("app",
		func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(make([]byte, 100_001)) })
	asking.Wait()
	if status != http.StatusOK || size != 100_001 {
		t.Errorf("status = %d with %d bytes, want 200 with 100001", status, size)
	}
}

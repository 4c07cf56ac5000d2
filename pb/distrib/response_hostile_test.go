package distrib

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http/httpguts"

	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/pbtest"
)

// A hostileBack answers each request with what the test says.
type hostileBack struct {
	pb.Referenceable
	pb.Concurrent

	answer func(ctx context.Context, q *request) (*response, error)
	stream io.Reader // the body of what says that it is streamed; nil: there is none
	files  *os.File  // the front's end of the socket for files; nil: there is none
}

func (h *hostileBack) RemoteServe(ctx context.Context, b []byte) ([]byte, error) {
	q, _, err := readRequest(b)
	if err != nil {
		return nil, err
	}
	p, err := h.answer(ctx, &q)
	if err != nil {
		return nil, err
	}
	return p.append(p.body), nil
}

func (h *hostileBack) RemoteOnce(ctx context.Context, b []byte) ([]byte, error) {
	return h.RemoteServe(ctx, b)
}

func (h *hostileBack) RemoteTunnel(context.Context, uint64) (io.ReadWriteCloser, error) {
	if h.stream == nil {
		return nil, errNoBody
	}
	return pb.Duplex(func(s *pb.ByteStream, _ error) { _, _ = io.Copy(s, h.stream) }), nil
}

func (h *hostileBack) RemoteBody(context.Context, uint64) (io.Reader, error) {
	if h.stream == nil {
		return nil, errNoBody
	}
	return pb.Reader(h.stream), nil
}

// A hostileSite is a front whose back end "evil" is in the test's hands, and "good" is an honest
// one.
type hostileSite struct {
	t      *testing.T
	site   *Site
	server *httptest.Server
	conn   *pb.Conn // evil's
}

func newHostileSite(
	t *testing.T, answer func(ctx context.Context, q *request) (*response, error),
) *hostileSite {
	t.Helper()
	return attackSite(t, &hostileBack{answer: answer})
}

func attackSite(t *testing.T, back *hostileBack) *hostileSite {
	t.Helper()
	pbtest.NoLeaks(t)
	s := &hostileSite{t: t, site: &Site{}}
	once := Limits{Hold: 20 * time.Millisecond} // it does not come again
	unhurried := Limits{Hold: time.Hour, HeaderTimeout: time.Hour}
	s.site.Handle("/evil/", Route{Back: "evil", Limits: once})
	s.site.Handle("/good/", Route{Back: "good", Limits: unhurried})
	s.server = httptest.NewServer(s.site)
	s.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	var evil pb.Node
	front, far := unixPair(t)
	if err := s.site.attach("evil", "", front, linkOwner{files: back.files}); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.conn, err = evil.Attach(t.Context(), far, pb.Dialer); err != nil {
		t.Fatal(err)
	}
	if _, err := pb.Do[struct{}](t.Context(), s.conn.Root(), "Ready", "evil", back,
		""); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	front, far = unixPair(t)
	if err := s.site.Attach("good", front); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- (&Mount{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "good")
		}),
			Logger: slog.New(slog.DiscardHandler)}).ServeConn(ctx, far)
	}()
	t.Cleanup(func() {
		s.server.CloseClientConnections()
		s.server.Close()
		_ = evil.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ServeConn() = %v", err)
		}
		_ = s.site.Close()
	})
	return s
}

func unixPair(t testing.TB) (front, back net.Conn) {
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

// raw sends one request by hand and returns all that came back until the connection's end.
func (s *hostileSite) raw(request string) string {
	s.t.Helper()
	c, err := net.Dial("tcp", s.server.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, request); err != nil {
		s.t.Fatal(err)
	}
	b, _ := io.ReadAll(c) // a reset is one of the expected ends
	return string(b)
}

const closing = "Host: x\r\nConnection: close\r\n\r\n"

// good checks that another mount does not notice.
func (s *hostileSite) good() {
	s.t.Helper()
	if got := s.raw("GET /good/ HTTP/1.1\r\n" + closing); !strings.HasSuffix(got, "good") {
		s.t.Errorf("the other mount: %q", got)
	}
}

func TestHostileResponses(t *testing.T) {
	long := strings.Repeat("a", maxHeaderBytes)
	many := make([]string, 2*maxFields+2)
	for i := range many {
		many[i] = "X"
	}
	stream := func(records ...[]byte) io.Reader {
		return bytes.NewReader(slices.Concat(records...))
	}
	data := func(s string) []byte { return append(appendRecordHead(nil, recordData, len(s)), s...) }
	end, tail := appendEnd(nil, nil), appendEnd(nil, []string{"X", "a"})
	flush := appendRecordHead(nil, recordFlush, 0)
	for _, tt := range []struct {
		name   string
		resp   *response
		stream io.Reader
		status string // of what the client sees; empty: the connection just ends
		cut    bool   // the end is not a clean one, or the body is cut
		reset  bool   // the link ends
	}{
		{name: "CR LF in a value", resp: &response{
			status: 200,
			length: -1,
			header: []string{"X-A", "a\r\nSet-Cookie: x=1"},
		}, status: "502", reset: true},
		{name: "NUL in a value", resp: &response{
			status: 200,
			length: -1,
			header: []string{"X-A", "a\x00b"},
		}, status: "502", reset: true},
		{name: "space in a name", resp: &response{
			status: 200,
			length: -1,
			header: []string{"X A", "a"},
		}, status: "502", reset: true},
		{name: "line in a name", resp: &response{
			status: 200,
			length: -1,
			header: []string{"X-A: b\r\nX", "a"},
		}, status: "502", reset: true},
		{name: "empty name", resp: &response{status: 200, length: -1, header: []string{"", "a"}},
			status: "502", reset: true},
		{name: "line in a trailer's name", resp: &response{
			status:   200,
			length:   -1,
			trailers: []string{"a\r\nb"},
		}, status: "502", reset: true},
		{name: "too many fields",
			resp: &response{status: 200, length: -1, header: many}, status: "502"},
		{name: "header too long",
			resp: &response{status: 200, length: -1, header: []string{"X", long}}, status: "502"},
		{name: "odd header", resp: &response{status: 200, length: -1, header: []string{"X"}},
			status: "502", reset: true},
		{name: "status 99", resp: &response{status: 99, length: -1}, status: "502", reset: true},
		{name: "status 101", resp: &response{status: 101, length: -1}, status: "502", reset: true},
		{name: "status 101 that nobody asked for", resp: &response{status: 101, length: -1,
			streamed: true, header: []string{"Upgrade", "foo"}}, status: "502", reset: true},
		{name: "status 600", resp: &response{status: 600, length: -1}, status: "600"},
		{name: "status 1000", resp: &response{status: 1000, length: -1},
			status: "502", reset: true},
		{name: "too many trailers announced",
			resp: &response{status: 200, length: -1, trailers: many[:maxFields+1]}, status: "502"},
		{name: "a trailer announced whose name is too long",
			resp: &response{status: 200, length: -1, trailers: []string{long}}, status: "502"},
		{name: "trailers too long",
			resp: &response{status: 200, length: -1, fields: []string{"X", long}}, status: "502"},
		{name: "header too long beside a stream", resp: &response{
			status:   200,
			length:   -1,
			streamed: true,
			header:   []string{"X", long},
		}, stream: stream(end), status: "502"},
		{name: "empty data record", resp: &response{status: 200, length: -1, streamed: true},
			stream: stream(data("abc"), data(""), end), status: "200", cut: true, reset: true},
		{name: "two flush records", resp: &response{status: 200, length: -1, streamed: true},
			stream: stream(data("abc"), flush, flush, end), status: "200", cut: true, reset: true},
		{name: "empty trailers",
			resp: &response{
				status:   200,
				length:   -1,
				streamed: true,
			},
			stream: stream(data("abc"), []byte{3, 0, 0, 0, 1, 0x90}, end),
			status: "200",
			cut:    true,
			reset:  true},
		{name: "flush after trailers",
			resp: &response{
				status:   200,
				length:   -1,
				streamed: true,
			},
			stream: stream(data("abc"), tail[:len(tail)-recordHead], flush, end),
			status: "200",
			cut:    true,
			reset:  true},
		{name: "negative length", resp: &response{status: 200, length: -2},
			status: "502", reset: true},
		{name: "body too large for a message", resp: &response{
			status: 200,
			length: -1,
			body:   make([]byte, smallBody+1),
		}, status: "502", reset: true},
		{name: "longer than its length", resp: &response{
			status: 200,
			length: 3,
			body:   []byte("abcdef"),
		}, status: "200", cut: true, reset: true},
		{name: "shorter than its length",
			resp: &response{status: 200, length: 9, body: []byte("abc")}, cut: true},
		{name: "stream longer than its length", resp: &response{
			status:   200,
			length:   3,
			streamed: true,
		}, stream: stream(data("abcdef"), end), status: "200", cut: true, reset: true},
		{name: "stream shorter than its length", resp: &response{
			status:   200,
			length:   9,
			streamed: true,
		}, stream: stream(data("abc"), end), status: "200", cut: true},
		{name: "stream without an end", resp: &response{status: 200, length: -1, streamed: true},
			stream: stream(data("abc")), status: "200", cut: true},
		{name: "record without its data", resp: &response{status: 200, length: -1, streamed: true},
			stream: stream(data("abc")[:6]), status: "200", cut: true},
		{name: "stream that is not there",
			resp: &response{status: 200, length: -1, streamed: true}, cut: true},
		{name: "body beside a stream", resp: &response{
			status:   200,
			length:   -1,
			streamed: true,
			body:     []byte("abc"),
		}, stream: stream(end), status: "502", reset: true},
		{name: "unknown record", resp: &response{status: 200, length: -1, streamed: true},
			stream: stream([]byte{9, 0, 0, 0, 0}), status: "200", cut: true, reset: true},
		{name: "record of 4 GiB", resp: &response{status: 200, length: -1, streamed: true},
			stream: stream([]byte{1, 255, 255, 255, 255}), status: "200", cut: true, reset: true},
		{name: "trailers of 4 GiB", resp: &response{status: 200, length: -1, streamed: true},
			stream: stream([]byte{3, 255, 255, 255, 255}), status: "200", cut: true, reset: true},
		{name: "trailers that kill",
			resp: &response{
				status:   200,
				length:   -1,
				streamed: true,
			},
			stream: stream([]byte{3, 0, 0, 0, 5, 0xdd, 255, 255, 255, 255}, end),
			status: "200",
			cut:    true,
			reset:  true},
		{name: "line in a trailer",
			resp: &response{
				status:   200,
				length:   -1,
				streamed: true,
			},
			stream: stream(data("abc"), appendEnd(nil, []string{"X", "a\r\nb"})),
			status: "200",
			cut:    true,
			reset:  true},
		{name: "data after trailers",
			resp: &response{
				status:   200,
				length:   -1,
				streamed: true,
			},
			stream: stream(appendEnd(nil, []string{"X", "a"})[:10], data("abc"), end),
			status: "200",
			cut:    true,
			reset:  true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := attackSite(t, &hostileBack{
				answer: func(context.Context, *request) (*response, error) { return tt.resp, nil },
				stream: tt.stream,
			})
			got := s.raw("GET /evil/ HTTP/1.1\r\n" + closing)
			if tt.cut && got == "" {
				tt.status = "" // cut off while it was still buffered
			}
			if tt.status == "" && got != "" ||
				tt.status != "" && !strings.HasPrefix(got, "HTTP/1.1 "+tt.status) {
				t.Errorf("the client sees %q, want status %s", got, tt.status)
			}
			if tt.cut && tt.status != "" {
				resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = resp.Body.Close() }()
				if b, err := io.ReadAll(resp.Body); err == nil && string(b) != "abc" || len(b) > 3 {
					t.Errorf("the client takes %q for the whole (%v)", b, err)
				}
			}
			if strings.Contains(got, "x=1") {
				t.Errorf("a header was injected: %q", got)
			}
			if tt.reset {
				<-s.conn.Done()
			} else if err := s.conn.Sync(t.Context()); err != nil {
				t.Errorf("the link ended: %v", err)
			}
			s.good()
		})
	}
}

func TestOriginWideHeadersAreStripped(t *testing.T) {
	stripped := "Service-Worker-Allowed Clear-Site-Data Strict-Transport-Security Alt-Svc NEL " +
		"Report-To Reporting-Endpoints " +
		"Public-Key-Pins Public-Key-Pins-Report-Only Set-Cookie2 X-Accel-Redirect X-Sendfile " +
		"Server Connection Keep-Alive " +
		"Proxy-Authenticate Transfer-Encoding Content-Length Trailer Upgrade Te Pb-Identity " +
		"X-Request-Id"
	var header []string
	for name := range strings.FieldsSeq(stripped) {
		header = append(header, name, "1", strings.ToLower(name), "2")
	}
	header = append(header, "x-kept", "1", "set-cookie", "a=1; domain=x", "Set-Cookie",
		"__Host-s=1", "Content-Type", "text/x")
	s := newHostileSite(t, func(context.Context, *request) (*response, error) {
		return &response{status: 200, length: -1, header: header, body: []byte("abc")}, nil
	})
	resp, err := s.server.Client().Get(s.server.URL + "/evil/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	delete(resp.Header, "Date")
	if id := resp.Header["X-Request-Id"]; len(id) != 1 || len(id[0]) != 32 {
		t.Errorf("X-Request-Id = %q, want the front's", id)
	}
	delete(resp.Header, "X-Request-Id")
	want := http.Header{
		"X-Kept":         {"1"},
		"Set-Cookie":     {"~evil.a=1; Path=/evil"},
		"Content-Type":   {"text/x"},
		"Content-Length": {"3"},
	}
	if !maps.EqualFunc(resp.Header, want, slices.Equal) {
		t.Errorf("header = %v, want %v", resp.Header, want)
	}
}

func TestBodiesWhereNoneMayBe(t *testing.T) {
	status := 204
	s := newHostileSite(t, func(context.Context, *request) (*response, error) {
		return &response{status: status, length: -1, body: []byte("HTTP/1.1 200 OK\r\n\r\n")}, nil
	})
	for _, tt := range []struct {
		method string
		status int
	}{{"GET", 204}, {"GET", 304}, {"HEAD", 200}} {
		status = tt.status
		got := s.raw(tt.method + " /evil/ HTTP/1.1\r\n" + closing)
		if _, body, _ := strings.Cut(got, "\r\n\r\n"); body != "" ||
			!strings.HasPrefix(got, fmt.Sprint("HTTP/1.1 ", tt.status)) {
			t.Errorf("%s %d = %q", tt.method, tt.status, got)
		}
	}
}

func TestHostileInterim(t *testing.T) {
	s := newHostileSite(t, func(ctx context.Context, _ *request) (*response, error) {
		for _, note := range []any{
			[]any{101, "Upgrade", "x"}, []any{200}, []any{100}, []any{103, "X"},
			[]any{103, "X", "a\r\nb: c"}, []any{"103"}, []any{},
			"103", 103, []any{103, 3, 4}, []any{103, "Set-Cookie", "a=1", "Link", "ok"}, nil,
		} {
			if err := pb.Note(ctx, note); err != nil {
				t.Errorf("Note(%v) = %v", note, err)
			}
		}
		return &response{status: 200, length: -1, body: []byte("end")}, nil
	})
	got := s.raw("GET /evil/ HTTP/1.1\r\n" + closing)
	if n := strings.Count(got, "HTTP/1.1 "); n != 2 || strings.Count(got, "103 Early Hints") != 1 ||
		strings.Contains(got, "b: c") ||
		strings.Contains(got, "a=1") || !strings.HasSuffix(got, "end") {
		t.Errorf("the client sees %q, want one 103 with a Link and one 200", got)
	}
}

// Notes for ever cost the link, whatever they say.
func TestNotesForEver(t *testing.T) {
	for _, note := range []any{nil, []any{103}, []any{103, "Link", "x"}, 7} {
		s := newHostileSite(t, func(ctx context.Context, _ *request) (*response, error) {
			for {
				if err := pb.Note(ctx, note); err != nil {
					return nil, err
				}
			}
		})
		got := s.raw("GET /evil/ HTTP/1.1\r\n" + closing)
		if n := strings.Count(got, "103 Early Hints"); n > maxInformed ||
			!strings.Contains(got, "HTTP/1.1 50") {
			t.Errorf("%v for ever: %d interim responses, and %.200q at the end", note, n,
				got[max(0, len(got)-200):])
		}
		<-s.conn.Done()
	}
}

func TestNotesWithoutEnd(t *testing.T) {
	s := newHostileSite(t, func(ctx context.Context, _ *request) (*response, error) {
		for range 1000 {
			if err := pb.Note(ctx, []any{103, "Link", "x"}); err != nil {
				return nil, err
			}
		}
		return &response{status: 200, length: -1}, nil
	})
	if n := strings.Count(s.raw("GET /evil/ HTTP/1.1\r\n"+closing),
		"103 Early Hints"); n > maxInformed {
		t.Errorf("%d interim responses, want at most %d", n, maxInformed)
	}
}

// What a back end can call in the front beyond announcing itself.
func TestGate(t *testing.T) {
	s := newHostileSite(t, func(context.Context, *request) (*response, error) {
		return &response{status: 200, length: -1}, nil
	})
	for _, id := range []uint64{0, 1, 2, 1 << 60} {
		if _, err := pb.Do[struct{}](t.Context(), s.conn.Root(), "Start", id); err == nil {
			t.Errorf("Start(%d) of a request that is not there succeeded", id)
		}
	}
	if _, err := pb.Do[struct{}](t.Context(), s.conn.Root(), "Ready", "good",
		&hostileBack{}, ""); err == nil {
		t.Error("Ready for another mount succeeded")
	}
	if _, err := pb.Do[struct{}](t.Context(), s.conn.Root(), "Ready", "evil",
		&hostileBack{}, ""); err == nil {
		t.Error("a second Ready succeeded")
	}
	for _, instance := range []string{"a b", strings.Repeat("x", 65)} {
		if _, err := pb.Do[struct{}](t.Context(), s.conn.Root(), "Ready", "evil",
			&hostileBack{}, instance); err == nil {
			t.Errorf("Ready as the instance %q succeeded", instance)
		}
	}
	for _, method := range []string{"Serve", "Attach", "Handle", "Close", "Watch"} {
		_, err := pb.Do[any](t.Context(), s.conn.Root(), method)
		if _, none := errors.AsType[*pb.NoSuchMethodError](err); !none {
			t.Errorf("%s = %v, want no such method", method, err)
		}
	}
	s.good()
}

// A back end that names another request's number cannot start it: the number is its own link's.
func TestPostWithoutStartIsNotRepeatedBlindly(t *testing.T) {
	runs := 0
	s := newHostileSite(t, func(_ context.Context, q *request) (*response, error) {
		runs++
		return &response{status: 200, length: -1, body: []byte(fmt.Sprint(q.bits&bitAsk != 0))}, nil
	})
	if got := s.raw("POST /evil/ HTTP/1.1\r\nContent-Length: 1\r\n" + closing +
		"x"); !strings.HasSuffix(got, "true") || runs != 1 {
		t.Errorf("got %q after %d runs", got, runs)
	}
}

func FuzzResponse(f *testing.F) {
	for _, p := range []*response{
		{status: 200, length: -1, header: []string{"A", "b"}, body: []byte("x")},
		{status: 304, length: 3, trailers: []string{"X"}, fields: []string{"X", "y"}},
	} {
		f.Add(p.append(p.body))
	}
	rt := &route{cookies: newCookieJar("a", "/a", OwnCookies, nil)}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p response
		if p.read(b) != nil {
			return
		}
		h := http.Header{}
		if rt.copyHeader(h, p.header) != nil {
			return
		}
		for name, values := range h {
			if !httpguts.ValidHeaderFieldName(name) || http.CanonicalHeaderKey(name) != name ||
				ruleOf(name).rule&dropResponse != 0 {
				t.Fatalf("header name %q passes", name)
			}
			for _, v := range values {
				if !httpguts.ValidHeaderFieldValue(v) {
					t.Fatalf("header value %q passes", v)
				}
			}
		}
	})
}

func FuzzRequest(f *testing.F) {
	e := jelly.GetEncoder()
	e.Reset(nil, nil)
	e.EncodeRaw([]byte("body"))
	(&request{
		method: "GET",
		target: "/",
		host:   "h",
		client: "c:1",
		length: -1,
		id:     7,
		header: []string{"A", "b\xff"},
	}).append(e)
	f.Add(bytes.Clone(e.Buffer()))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, body, err := readRequest(b)
		if err != nil {
			return
		}
		if len(body) > len(b) || len(q.header)%2 != 0 || len(q.header) > 2*maxFields {
			t.Fatalf("%d bytes became a body of %d and a header of %d", len(b),
				len(body), len(q.header))
		}
	})
}

func FuzzRecords(f *testing.F) {
	f.Add(appendEnd([]byte{1, 0, 0, 0, 1, 'x', 2, 0, 0, 0, 0}, []string{"X", "y"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &recordReader{src: bytes.NewReader(b)}
		n, err := io.Copy(io.Discard, r)
		if n > int64(len(b)) || err == nil != r.ended {
			t.Fatalf("%d bytes out of %d, %v, ended %v", n, len(b), err, r.ended)
		}
	})
}

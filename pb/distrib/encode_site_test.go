package distrib_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"perspective/pb/distrib"
)

// encoding serves a back end whose answers may be compressed, to clients that undo nothing by
// themselves.
func encoding(t *testing.T, h http.HandlerFunc) *split {
	t.Helper()
	site := &distrib.Site{}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried,
		Encode: []string{"zstd", "gzip"}})
	s := newSplit(t, site)
	s.client.Transport.(*http.Transport).DisableCompression = true
	s.back("app", h)
	return s
}

// plain undoes an encoding.
func plain(t *testing.T, name string, body io.Reader) io.Reader {
	t.Helper()
	switch name {
	case "gzip":
		r, err := gzip.NewReader(body)
		if err != nil {
			t.Fatal(err)
		}
		return r
	case "zstd":
		r, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxWindow(1<<20))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		return r
	}
	return body
}

// What may be compressed is, and comes out as it went in; everything else is left as it is.
func TestEncode(t *testing.T) {
	text := strings.Repeat("all work and no play makes jack a dull boy\n", 4000)
	s := encoding(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		for name, values := range q {
			if name != "n" && name != "status" && name != "flush" {
				w.Header()[http.CanonicalHeaderKey(name)] = values
			}
		}
		n, status := len(text), http.StatusOK
		_, _ = fmt.Sscan(q.Get("n"), &n)
		_, _ = fmt.Sscan(q.Get("status"), &status)
		if q.Get("length") != "" {
			w.Header().Set("Content-Length", q.Get("n"))
		}
		w.WriteHeader(status)
		if q.Has("flush") {
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = io.WriteString(w, text[:n])
	})
	const page = "content-type=text/html"
	for _, test := range []struct {
		query, accept, want string // "": as it is
		n                   int
	}{
		{page + "&n=5000", "gzip", "gzip", 5000},
		{page + "&n=5000", "gzip, zstd", "zstd", 5000},
		{page, "gzip", "gzip", len(text)},
		{page, "zstd", "zstd", len(text)},
		{page + "&n=100000&length=1", "zstd", "zstd", 100000},
		{page + "&n=5000&flush=1", "gzip", "gzip", 5000},
		{"content-type=application/problem%2Bjson;charset=utf-8&n=5000&status=404", "gzip", "gzip",
			5000},
		{page + "&n=1024", "gzip", "gzip", 1024},
		{page + "&n=1023", "gzip", "", 1023},
		{page + "&n=5000", "", "", 5000},
		{page + "&n=5000", "gzip;q=0", "", 5000},
		{"content-type=image/png&n=5000", "gzip", "", 5000},
		{"content-type=image/png", "gzip", "", len(text)},
		{page + "&n=5000&content-encoding=br", "gzip", "", 5000},
		{page + "&n=5000&cache-control=public,no-transform", "gzip", "", 5000},
		{page + "&n=5000&content-range=bytes+0-4999/9000&status=206", "gzip", "", 5000},
		{page + "&n=0&status=204", "gzip", "", 0},
		{page + "&n=0&status=304", "gzip", "", 0},
	} {
		req, err := http.NewRequest(http.MethodGet, s.server.URL+"/app/?etag=%22x%22&"+
			"accept-ranges=bytes&"+test.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if test.accept != "" {
			req.Header.Set("Accept-Encoding", test.accept)
		}
		resp, raw := s.send(req)
		body, err := io.ReadAll(plain(t, test.want, strings.NewReader(raw)))
		if err != nil || string(body) != text[:test.n] {
			t.Errorf("%s, %q: %d bytes, %v", test.query, test.accept, len(body), err)
		}
		encoded := test.want != ""
		got := resp.Header.Get("Content-Encoding")
		if got != test.want && !strings.Contains(test.query, "=br") {
			t.Errorf("%s, %q: Content-Encoding %q, want %q", test.query, test.accept, got,
				test.want)
		}
		if weak := resp.Header.Get("ETag") == `W/"x"`; weak != encoded ||
			encoded == (resp.Header.Get("Accept-Ranges") != "") ||
			encoded && (resp.Header.Get("Vary") != "Accept-Encoding" || len(raw) >= test.n) {
			t.Errorf("%s, %q: header %v, %d bytes", test.query, test.accept, resp.Header, len(raw))
		}
	}
	req, err := http.NewRequest(http.MethodHead, s.server.URL+"/app/?n=5000&"+page, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip")
	if resp, _ := s.send(req); resp.Header.Get("Content-Encoding") != "" ||
		resp.ContentLength != 5000 {
		t.Errorf("HEAD: %+v", resp)
	}
}

// What a handler flushes reaches the client though it is compressed, and a body that breaks off is
// no whole one.
func TestEncodedStreams(t *testing.T) {
	goOn := make(chan struct{})
	s := encoding(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			<-goOn
		}
		if r.URL.Path == "/app/breaks" {
			panic(http.ErrAbortHandler)
		}
	})
	for _, path := range []string{"/app/", "/app/breaks"} {
		for _, name := range []string{"gzip", "zstd"} {
			req, err := http.NewRequest(http.MethodGet, s.server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept-Encoding", name)
			resp, err := s.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if got := resp.Header.Get("Content-Encoding"); got != name {
				t.Fatalf("Content-Encoding %q, want %q", got, name)
			}
			body := plain(t, name, resp.Body)
			for i := range 3 {
				want := fmt.Sprintf("data: %d\n\n", i)
				got := make([]byte, len(want))
				if _, err := io.ReadFull(body, got); err != nil || string(got) != want {
					t.Errorf("%s, %s: %q, %v", path, name, got, err)
				}
				goOn <- struct{}{}
			}
			rest, err := io.ReadAll(body)
			if len(rest) > 0 || (err == nil) != (path == "/app/") {
				t.Errorf("%s, %s: the end is %q, %v", path, name, rest, err)
			}
			_ = resp.Body.Close()
		}
	}
}

// An encoding that there is not is a mistake in the configuration.
func TestUnknownEncoding(t *testing.T) {
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), `no encoding "br"`) {
			t.Errorf("Handle() panicked with %v", p)
		}
	}()
	new(distrib.Site).Handle("/", distrib.Route{Back: "app", Encode: []string{"br"}})
}

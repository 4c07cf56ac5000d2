package distrib_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"perspective/pb/distrib"
	"perspective/pb/pbtest"
)

// overHTTP2 is oneBack on a server with TLS and HTTP/2.
func overHTTP2(t *testing.T, h http.HandlerFunc) *split {
	t.Helper()
	pbtest.NoLeaks(t)
	s := &split{t: t, site: &distrib.Site{}}
	s.site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s.server = httptest.NewUnstartedServer(s.site)
	s.server.EnableHTTP2 = true
	s.server.StartTLS()
	s.client = s.server.Client()
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		s.server.CloseClientConnections()
		s.server.Close()
		if err := s.site.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	s.back("app", h)
	return s
}

func TestHTTP2(t *testing.T) {
	s := overHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Seen", fmt.Sprint(r.Proto, " ", r.Header.Get("X-Forwarded-Proto")))
		n, err := io.Copy(w, r.Body)
		w.Header().Set("X-Sum", fmt.Sprint(n, " ", err))
	})
	for _, size := range []int{0, 10, 60_000, 1 << 20} {
		body := make([]byte, size)
		_, _ = (&pattern{}).Read(body)
		resp, got := s.do(http.MethodPost, "/app/", bytes.NewReader(body))
		if got != string(body) {
			t.Errorf("%d bytes came back as %d", size, len(got))
		}
		if got, want := resp.Trailer.Get("X-Sum"), fmt.Sprint(size, " <nil>"); got != want {
			t.Errorf("trailer X-Sum = %q, want %q", got, want)
		}
		if got, want := resp.Header.Get("X-Seen"), "HTTP/2.0 https"; got != want {
			t.Errorf("the handler sees %q, want %q", got, want)
		}
	}
}

// A handler may answer long before the client has sent its body, and both may go on.
func TestFullDuplex(t *testing.T) {
	s := overHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 16)
		for {
			n, err := r.Body.Read(buf)
			_, _ = w.Write(bytes.ToUpper(buf[:n]))
			w.(http.Flusher).Flush()
			if err != nil {
				return
			}
		}
	})
	up, feed := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, s.server.URL+"/app/", up)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = feed.Write([]byte("one")) }()
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	for i, word := range []string{"one", "two", "three"} {
		if i > 0 {
			if _, err := feed.Write([]byte(word)); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, len(word))
		if _, err := io.ReadFull(resp.Body, got); err != nil ||
			string(got) != string(bytes.ToUpper([]byte(word))) {
			t.Fatalf("got %q, %v for %q", got, err, word)
		}
	}
	_ = feed.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("at the end: %q, %v", rest, err)
	}
}

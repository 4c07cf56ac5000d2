package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/coder/websocket"

	"perspective/pb/distrib"
)

// A role is what a process that the benchmark has started does.
type role struct {
	name, addr, back, files string
}

func (r role) serve() error {
	switch r.name {
	case "direct":
		return r.listen("tcp", r.addr, newHandler(r.files))
	case "back": // of a split site
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return distrib.Serve(ctx, newHandler(r.files))
	case "socket": // behind a proxy
		return r.listen("unix", r.back, newHandler(r.files))
	case "proxy":
		return r.listen("tcp", r.addr, r.proxy())
	}
	return fmt.Errorf("there is no role %q", r.name)
}

func (r role) listen(network, addr string, h http.Handler) error {
	l, err := net.Listen(network, addr)
	if err != nil {
		return err
	}
	if network == "unix" { // nginx' workers have another user
		if err := os.Chmod(addr, 0o777); err != nil {
			return err
		}
	}
	return (&http.Server{Handler: h}).Serve(l)
}

func (r role) proxy() http.Handler {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 512 // the default of 2 would make a connection for most requests
	t.MaxIdleConns = 512
	t.DisableCompression = true
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", r.back)
	}
	back := &url.URL{Scheme: "http", Host: "bench.invalid"}
	return &httputil.ReverseProxy{Transport: t, Rewrite: func(q *httputil.ProxyRequest) {
		q.SetURL(back)
		q.SetXForwarded()
	}}
}

// newHandler is what all of them serve.
func newHandler(files string) http.Handler {
	page := bytes.Repeat([]byte("a page of text, "), 1<<10/16)
	large := bytes.Repeat([]byte("many more text, "), 64<<10/16)
	mux := http.NewServeMux()
	text := func(body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = w.Write(body) // the client may be gone
		}
	}
	mux.HandleFunc("/page", text(page))
	mux.HandleFunc("/large", text(large))
	mux.HandleFunc("/post", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprintln(w, n)
	})
	mux.HandleFunc("/ws", serveWebSocket)
	mux.HandleFunc("/events", serveEvents)
	if files != "" {
		mux.HandleFunc("/files/", func(w http.ResponseWriter, r *http.Request) {
			http.ServeFile(w, r, filepath.Join(files, filepath.Base(r.URL.Path)))
		})
	}
	return mux
}

func serveWebSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = c.CloseNow() }()
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

// serveEvents sends one event, and keeps the stream open until the client goes.
func serveEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "data: here\n\n")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

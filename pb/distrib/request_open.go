package distrib

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"perspective/internal/prefix"
)

var (
	noRequest  http.Request
	protoNames = map[[2]int]string{
		{1, 0}: "HTTP/1.0",
		{1, 1}: "HTTP/1.1",
		{2, 0}: "HTTP/2.0",
		{3, 0}: "HTTP/3.0",
	}
)

// open makes what a handler gets.
func (o *mountObject) open(
	ctx context.Context, q *request, body []byte, stream io.ReadCloser,
) (*responseWriter, error) {
	u, err := url.ParseRequestURI(q.target)
	if err != nil {
		return nil, prefix.Errorf("distrib: %w", err)
	}
	w := &responseWriter{
		object: o,
		header: make(http.Header),
		id:     q.id,
		head:   q.method == http.MethodHead,
		length: -1,

		sessionKeys: q.session,
		secure:      q.bits&bitSecure != 0,
		user:        q.user,
	}
	w.ctx.writer = w
	w.ctx.base = ctx                           //nolint:fatcontext // w is new: nothing nests
	w.request = *noRequest.WithContext(&w.ctx) //nolint:contextcheck // it is made of ctx
	r := &w.request
	r.Method, r.URL, r.RequestURI = q.method, u, q.target
	r.ProtoMajor, r.ProtoMinor = q.protocol()
	if r.Proto = protoNames[[2]int{r.ProtoMajor, r.ProtoMinor}]; r.Proto == "" {
		r.Proto = fmt.Sprintf("HTTP/%d.%d", r.ProtoMajor, r.ProtoMinor)
	}
	r.Host, r.RemoteAddr = q.host, q.client
	r.ContentLength = q.length
	r.TLS = q.tls
	r.Header = q.makeHeader()
	if id := r.Header["X-Request-Id"]; len(id) == 1 {
		w.requestID = id[0]
	}
	if q.bits&bitUpgrade != 0 {
		w.offered = upgradeTokens(r.Header["Upgrade"])
	}
	switch {
	case stream != nil:
		b := &requestBody{r: r, stream: stream, w: w, ask: q.bits&bitContinue != 0}
		b.records.src = stream
		r.Body, w.upload = b, b
		if b.ask {
			w.guard = new(sync.Mutex)
		}
		if len(q.trailers) > 0 {
			r.Trailer = make(http.Header, len(q.trailers))
			for _, name := range q.trailers {
				r.Trailer[name] = nil
			}
		}
	case len(body) > 0:
		w.small = &smallRequestBody{Reader: bytes.NewReader(body)}
		r.Body = w.small
	default:
		r.Body = http.NoBody
	}
	return w, nil
}

// makeHeader makes the header, with what the front says of the client under the names that handlers
// look for.
func (q *request) makeHeader() http.Header {
	h := make(http.Header, len(q.header)/2+2)
	values := make([]string, len(q.header)/2+2)
	one := func(name, v string) {
		values[0] = v
		h[name] = values[:1:1]
		values = values[1:]
	}
	for i := 0; i+1 < len(q.header); i += 2 {
		if old, ok := h[q.header[i]]; ok {
			h[q.header[i]] = append(old, q.header[i+1])
			continue
		}
		one(q.header[i], q.header[i+1])
	}
	one("X-Forwarded-For", hostOf(q.client))
	if q.bits&bitSecure != 0 {
		one("X-Forwarded-Proto", "https")
	} else {
		one("X-Forwarded-Proto", "http")
	}
	return h
}

// A smallRequestBody is a body that came with its request.
type smallRequestBody struct {
	*bytes.Reader

	deadline time.Time // for reading; zero: none
	closed   atomic.Bool
}

// Read reads what is there, until the deadline: as under net/http, a handler that sets one hears of
// it.
func (b *smallRequestBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if !b.deadline.IsZero() && b.Len() > 0 && !time.Now().Before(b.deadline) {
		return 0, os.ErrDeadlineExceeded
	}
	return b.Reader.Read(p)
}

// WriteTo is Read for all of it.
func (b *smallRequestBody) WriteTo(w io.Writer) (int64, error) {
	if _, err := b.Read(nil); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return b.Reader.WriteTo(w)
}

// Close makes Read fail.
func (b *smallRequestBody) Close() error {
	b.closed.Store(true)
	return nil
}

// A requestBody is the body of a request that takes a stream.
type requestBody struct {
	r       *http.Request
	w       *responseWriter
	stream  io.ReadCloser
	records recordReader
	ask     bool // the front waits to be asked for the body
	closed  atomic.Bool

	mu    sync.Mutex
	late  bool
	timer *time.Timer // the read deadline; nil: none
}

// Read asks the client for the body if it waits for that, and reads it.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.ask {
		if err := b.w.goOn(); err != nil {
			return 0, err
		}
		b.ask = false
	}
	n, err := b.records.Read(p)
	if err != nil && b.isLate() {
		return n, os.ErrDeadlineExceeded
	}
	if err != nil && !errors.Is(err, io.EOF) && b.closed.Load() {
		return n, http.ErrBodyReadAfterClose
	}
	if b.records.ended && b.records.trailer != nil {
		for i := 0; i+1 < len(b.records.trailer); i += 2 {
			name := b.records.trailer[i]
			b.r.Trailer[name] = append(b.r.Trailer[name], b.records.trailer[i+1])
		}
		b.records.trailer = nil
	}
	return n, err
}

// Close tells the front that nobody reads any more.
func (b *requestBody) Close() error {
	b.closed.Store(true)
	b.deadline(time.Time{})
	return b.stream.Close()
}

// deadline ends reading at t; zero: never.
func (b *requestBody) deadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	if !t.IsZero() {
		b.timer = time.AfterFunc(time.Until(t), b.expire)
	}
}

func (b *requestBody) expire() {
	b.mu.Lock()
	b.late = true
	b.mu.Unlock()
	_ = b.stream.Close() // it is over for the handler
}

func (b *requestBody) isLate() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.late
}

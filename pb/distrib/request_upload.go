package distrib

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

var (
	errUploadEnded = errors.New("distrib: the request is over")
	errTrailers    = fmt.Errorf("distrib: the client's trailers are over %d fields or %d bytes",
		maxFields, maxHeaderBytes)
)

// prepareBody looks at the request's body: none, small and read now, or one that takes a stream. It
// returns the status of a refusal, or 0.
func (ex *exchange) prepareBody() int {
	r, q := ex.r, &ex.req
	ex.notes.ex = ex
	ex.client = ex.site.bodyOf(ex.w, r)
	ex.seen.reads(ex.client)
	expects := hasToken(r.Header["Expect"], "100-continue")
	switch {
	case ex.client == nil:
		return 0
	case r.ContentLength > 0 && r.ContentLength <= smallBody && !expects && len(r.Trailer) == 0:
		return ex.readBody(int(r.ContentLength))
	}
	q.length = r.ContentLength
	for name := range r.Trailer {
		if ex.route.forwards(name) && ruleOf(name).rule&dropTrailer == 0 {
			q.trailers = append(q.trailers, name)
		}
		if len(name) > maxTrailerName || len(q.trailers) > maxFields {
			return http.StatusRequestHeaderFieldsTooLarge
		}
	}
	if !ex.stream() {
		ex.w.Header()["Retry-After"] = []string{strconv.Itoa(ex.retryAfter())}
		return http.StatusServiceUnavailable
	}
	ex.upload = &upload{r: r, body: ex.client, names: q.trailers, over: make(chan struct{})}
	if expects {
		q.bits |= bitContinue
		ex.notes.wanted = make(chan struct{})
		ex.upload.wanted = ex.notes.wanted
	}
	// The back end may answer while the body still comes. HTTP/2 can do so anyway, and says that it
	// cannot be asked.
	_ = http.NewResponseController(ex.w).EnableFullDuplex()
	return 0
}

// readBody reads a small body whole.
func (ex *exchange) readBody(n int) int {
	ex.pooled = getBuffer()
	*ex.pooled = slices.Grow(*ex.pooled, n)
	ex.body = (*ex.pooled)[:n]
	ex.req.length = int64(n)
	if _, err := io.ReadFull(ex.client, ex.body); err != nil {
		if ex.client.slow.Load() {
			return http.StatusRequestTimeout
		}
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return http.StatusRequestEntityTooLarge
		}
		return http.StatusBadRequest
	}
	ex.client.complete.Store(true) // its length was known
	return 0
}

// An upload is the records of a request's body on its way to the back end. The link's goroutine
// reads it; end takes it away from there. A nil *upload is no body.
type upload struct {
	r      *http.Request
	body   *clientBody
	names  []string      // of trailers that may pass
	wanted chan struct{} // closed when the handler asks for the body; nil: it goes at once
	over   chan struct{} // closed by end

	mu      sync.Mutex
	touched bool
	reading chan struct{} // closed when the read under way ends; nil: none is
	ended   bool
	tail    []byte // records that are ready
	last    bool   // nothing follows tail
}

// rewind makes the body ready to be sent again. It is false if some of it is gone.
func (ex *exchange) rewind() bool {
	u := ex.upload
	if u == nil {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.touched {
		return false
	}
	// The goroutine of the link that ended may still come to read: it gets an end of its own.
	u.ended = true
	close(u.over)
	ex.upload = &upload{
		r:      u.r,
		body:   u.body,
		names:  u.names,
		wanted: u.wanted,
		over:   make(chan struct{}),
	}
	return true
}

// Read fills p with records.
func (u *upload) Read(p []byte) (int, error) {
	if u.wanted != nil {
		select {
		case <-u.wanted:
		case <-u.over:
			return 0, errUploadEnded
		}
	}
	if len(u.tail) > 0 || u.last {
		return u.drain(p)
	}
	if len(p) < 512 { // too small for a head and something worth it
		var buf [4 << 10]byte
		n, err := u.fill(buf[:])
		if err != nil {
			return 0, err
		}
		u.tail = append(u.tail, buf[:n]...)
		return u.drain(p)
	}
	return u.fill(p)
}

func (u *upload) drain(p []byte) (int, error) {
	if len(u.tail) == 0 {
		return 0, io.EOF
	}
	n := copy(p, u.tail)
	u.tail = u.tail[n:]
	return n, nil
}

// fill reads once from the client and puts that into p as a record.
func (u *upload) fill(p []byte) (int, error) {
	done := make(chan struct{})
	u.mu.Lock()
	if u.ended {
		u.mu.Unlock()
		return 0, errUploadEnded
	}
	u.touched, u.reading = true, done
	u.body.arm() // under the lock, so that the deadline that end sets comes after it
	u.mu.Unlock()
	n, err := u.body.read(p[recordHead:])
	if errors.Is(err, io.EOF) {
		var fields []string
		if fields, err = u.trailers(); err == nil {
			u.tail = appendEnd(u.tail, fields)
			u.last = true
		}
	}
	u.mu.Lock()
	u.reading = nil
	close(done)
	u.mu.Unlock()
	if n > 0 {
		appendRecordHead(p[:0], recordData, n)
		return recordHead + n, nil
	}
	if err == nil && u.last {
		return u.drain(p)
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	if u.body.slow.Load() {
		err = errSlowBody
	}
	return 0, err
}

// trailers are there once the body was read. More than a header block is the client's fault, of
// which the body fails.
func (u *upload) trailers() ([]string, error) {
	var fields []string
	size := 0
	for _, name := range u.names {
		for _, v := range u.r.Trailer[name] {
			fields = append(fields, name, v)
			size += len(name) + len(v)
		}
	}
	if len(fields) > 2*maxFields || size > maxHeaderBytes {
		return nil, errTrailers
	}
	return fields, nil
}

// Close does nothing: the body is net/http's to close.
func (u *upload) Close() error { return nil }

// end keeps the link's goroutine from the body, which may not be touched once the request was
// served. Where it waits for a client that sends nothing, the client's connection cannot be used
// again anyway.
func (u *upload) end() {
	if u == nil {
		return
	}
	u.mu.Lock()
	if !u.ended {
		u.ended = true
		close(u.over)
	}
	reading := u.reading
	u.mu.Unlock()
	if reading == nil {
		return
	}
	if http.NewResponseController(u.body.w).SetReadDeadline(time.Unix(1, 0)) != nil {
		_ = u.body.Close() // a body that knows no deadline
	}
	<-reading
}

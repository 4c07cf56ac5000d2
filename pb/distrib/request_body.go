package distrib

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

const (
	// defaultBodyGrace and defaultBodyRate let a telephone through that drives under a bridge, and
	// take a client that means to hold what it has for as long as it can.
	defaultBodyGrace = 10 * time.Second
	defaultBodyRate  = 1 << 10

	// lingerTime is how long the server may go on reading what a client still sends of a body that
	// nobody wants. Without it the client's kernel throws the answer away, for the connection was
	// reset before it was read.
	lingerTime = 500 * time.Millisecond
)

// errSlowBody comes with a body that came more slowly than the Site allows.
var errSlowBody = errors.New("distrib: the request's body comes too slowly")

// A clientBody is the body of a request as the client sends it. It knows whether all of it was
// read, which decides whether the connection can be used again, and ends a client that sends too
// slowly. Time in which nobody reads does not count. One goroutine reads it at a time.
type clientBody struct {
	src     io.ReadCloser
	w       http.ResponseWriter
	http2   bool
	rate    int           // bytes a second; 0: no floor
	grace   time.Duration // the most that may be in hand
	hand    time.Duration // how long the next bytes may be waited for
	armed   time.Time     // the deadline that was set last
	patient bool          // its first bytes may take any time
	until   time.Time     // the server's own deadline for the whole request; zero: none

	taken    atomic.Int64 // bytes that were read
	complete atomic.Bool  // read to its end, without an error
	slow     atomic.Bool
}

// bodyOf returns the body of r, nil if there is none.
func (s *Site) bodyOf(w http.ResponseWriter, r *http.Request) *clientBody {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	b := &clientBody{
		src:   r.Body,
		w:     w,
		http2: r.ProtoMajor > 1,
		grace: s.BodyGrace,
		rate:  s.BodyRate,
	}
	if b.grace <= 0 {
		b.grace = defaultBodyGrace
	}
	switch {
	case b.rate == 0:
		b.rate = defaultBodyRate
	case b.rate < 0:
		b.rate = 0
	}
	b.hand = b.grace
	if srv, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok &&
		srv.ReadTimeout > 0 {
		b.until = time.Now().Add(srv.ReadTimeout)
	}
	return b
}

// arm sets the deadline of the read that is about to begin.
func (b *clientBody) arm() {
	if b.rate == 0 || b.patient {
		return
	}
	want := time.Now().Add(b.hand)
	if !b.until.IsZero() && want.After(b.until) {
		want = b.until
	}
	// Setting it costs something, so a deadline that is a little early stays.
	if early := want.Sub(b.armed); early >= 0 && early < b.hand/4 {
		return
	}
	b.armed = want
	// A server without deadlines reads as before.
	_ = http.NewResponseController(b.w).SetReadDeadline(want)
}

// read reads. arm was called before.
func (b *clientBody) read(p []byte) (int, error) {
	began := time.Now()
	n, err := b.src.Read(p)
	b.taken.Add(int64(n))
	if b.patient {
		b.patient = n == 0
	} else if b.rate > 0 {
		b.hand = min(b.grace,
			b.hand-time.Since(began)+time.Duration(n)*time.Second/time.Duration(b.rate))
		b.hand = max(b.hand, time.Millisecond)
		if b.http2 { // where the deadline ends the body, also when nobody reads it
			b.armed = time.Time{}
			_ = http.NewResponseController(b.w).SetReadDeadline(b.until)
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.complete.Store(true)
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.slow.Store(true)
	}
	return n, err
}

// Read is for a handler of the front's own.
func (b *clientBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return b.src.Read(p)
	}
	b.arm()
	return b.read(p)
}

// Close is net/http's.
func (b *clientBody) Close() error { return b.src.Close() }

// unread says whether something of it may be left on the client's connection, which must never be
// taken for a request. HTTP/2 has frames for that.
func (b *clientBody) unread() bool { return b != nil && !b.http2 && !b.complete.Load() }

// tooSlow says whether the client sent it more slowly than it may.
func (b *clientBody) tooSlow() bool { return b != nil && b.slow.Load() }

// linger bounds the time that the server takes to read what is left.
func (b *clientBody) linger() {
	if b.unread() {
		// Without it the read takes as long as the client likes.
		_ = http.NewResponseController(b.w).SetReadDeadline(time.Now().Add(lingerTime))
	}
}

package distrib

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errAway = errors.New("distrib: the back end is not there")
	errBusy = errors.New("distrib: the back end has too much to do")
)

// A backEnd is what the front knows of one back end: its link, once it is ready, and the requests
// that wait for it.
type backEnd struct {
	name    string
	limits  Limits
	log     *slog.Logger
	slots   chan struct{}        // one taken for each request under way
	headers timeouts             // to the beginning of an answer
	clients timeouts             // to noticing that a client has gone
	ready   atomic.Pointer[link] // requests go there; nil: wait

	requests, streams, waiting shares // of clients

	mu      sync.Mutex
	closed  bool
	made    uint64        // links so far
	changed chan struct{} // closed and replaced when a link becomes ready
	links   map[*link]struct{}
}

func newBackEnd(name string, limits Limits, log *slog.Logger) *backEnd {
	return &backEnd{
		name:   name,
		limits: limits,
		log:    log.With("back", name),
		slots:  make(chan struct{}, limits.Requests),

		requests: shares{sum: limits.Requests + limits.Waiting, each: limits.ClientRequests},
		streams:  limits.streamShares(),
		waiting:  shares{sum: limits.Waiting, each: limits.ClientWaiting},

		headers: timeouts{after: limits.HeaderTimeout,
			expire: func(ex *exchange) { ex.ctx.end(errHeaderTimeout) }},
		clients: timeouts{after: unwatched, expire: func(ex *exchange) { ex.ctx.follow() }},
		changed: make(chan struct{}),
		links:   make(map[*link]struct{}),
	}
}

// enter takes a slot for a request. The caller gives it back by leave.
func (b *backEnd) enter(ctx *exchangeContext, key clientKey) (err error) {
	if !b.requests.take(key) {
		return errBusy
	}
	defer func() {
		if err != nil {
			b.requests.give(key)
		}
	}()
	select {
	case b.slots <- struct{}{}:
		return nil
	default:
	}
	ctx.follow()
	timer, err := b.queue(key, b.limits.Hold)
	if err != nil {
		return err
	}
	defer b.unqueue(key, timer)
	select {
	case b.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return errBusy
	case <-ctx.Done():
		return ctx.why()
	}
}

func (b *backEnd) leave(key clientKey) {
	<-b.slots
	b.requests.give(key)
}

// link waits for a link that is ready, at most as long as hold.
func (b *backEnd) link(ctx *exchangeContext, key clientKey, hold time.Duration) (*link, error) {
	ctx.follow()
	timer, err := b.queue(key, hold)
	if err != nil {
		return nil, err
	}
	defer b.unqueue(key, timer)
	for {
		b.mu.Lock()
		changed, closed := b.changed, b.closed
		b.mu.Unlock()
		if closed {
			return nil, errAway
		}
		if l := b.ready.Load(); l != nil {
			return l, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil, errAway
		case <-ctx.Done():
			return nil, ctx.why()
		}
	}
}

// queue counts one more that waits.
func (b *backEnd) queue(key clientKey, hold time.Duration) (*time.Timer, error) {
	if !b.waiting.take(key) {
		return nil, errBusy
	}
	return time.NewTimer(hold), nil
}

func (b *backEnd) unqueue(key clientKey, timer *time.Timer) {
	timer.Stop()
	b.waiting.give(key)
}

// maxLinks is how many links to one back end live at once: the one that serves, and those that end
// or begin. More come only of one that takes its own place again and again.
const maxLinks = 8

// add keeps a link that is not ready yet. Where there are too many, the oldest that does not serve
// is cut off.
func (b *backEnd) add(l *link) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	var oldest *link
	if len(b.links) >= maxLinks {
		for old := range b.links {
			if old != b.ready.Load() && (oldest == nil || old.number < oldest.number) {
				oldest = old
			}
		}
	}
	b.made++
	l.number = b.made
	b.links[l] = struct{}{}
	b.mu.Unlock()
	if oldest != nil {
		b.log.Warn("link cut off, the back end has too many", "links", maxLinks)
		oldest.close()
	}
	return true
}

func (b *backEnd) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// use makes l the link that requests go to, and returns the one before it.
func (b *backEnd) use(l *link) (before *link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, alive := b.links[l]; !alive {
		return nil
	}
	before = b.ready.Swap(l)
	b.wake()
	return before
}

// wake needs mu.
func (b *backEnd) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// lost takes l out of use: it ends, or will take nothing more.
func (b *backEnd) lost(l *link) { b.ready.CompareAndSwap(l, nil) }

// remove forgets a link that has ended.
func (b *backEnd) remove(l *link) {
	b.mu.Lock()
	delete(b.links, l)
	b.mu.Unlock()
	b.lost(l)
}

// close ends all links, and lets nobody wait any longer.
func (b *backEnd) close() {
	b.mu.Lock()
	b.closed = true
	links := make([]*link, 0, len(b.links))
	for l := range b.links {
		links = append(links, l)
	}
	b.wake()
	b.mu.Unlock()
	for _, l := range links {
		l.close()
	}
	b.headers.stop()
	b.clients.stop()
}

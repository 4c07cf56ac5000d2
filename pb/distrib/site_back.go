package distrib

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errAway = errors.New("distrib: the back end is not there")
	errBusy = errors.New("distrib: the back end has too much to do")
)

// A backEnd is what the front knows of one mount's back end: its instances, and what requests may
// cost. Where the mount gets other limits it gets another backEnd with the same instances.
type backEnd struct {
	*instances

	limits  Limits
	users   users         // requests, from when they have found it
	slots   chan struct{} // one taken for each request under way
	headers timeouts      // to the beginning of an answer
	clients timeouts      // to noticing that a client has gone

	requests, streams, waiting shares // of clients
}

// instances are the links to the instances of one mount. They last as long as the mount has a
// route.
type instances struct {
	name   string
	sticky stickiness
	log    *slog.Logger
	ready  atomic.Pointer[readySet] // requests go there; nil: wait

	mu      sync.Mutex
	closed  bool
	retired bool          // the mount has no route any more
	most    int           // that may serve
	made    uint64        // links so far
	changed chan struct{} // closed and replaced when a link becomes ready, or when all is over
	links   map[*link]struct{}
}

// newBackEnd makes the back end of a mount; of are the instances that it has.
func newBackEnd(of *instances, limits Limits) *backEnd {
	of.mu.Lock()
	of.most = limits.Instances
	of.mu.Unlock()
	return &backEnd{
		instances: of,
		limits:    limits,
		users:     newUsers(),
		slots:     make(chan struct{}, limits.Requests),

		requests: shares{sum: limits.Requests + limits.Waiting, each: limits.ClientRequests},
		streams:  limits.streamShares(),
		waiting:  shares{sum: limits.Waiting, each: limits.ClientWaiting},

		headers: timeouts{after: limits.HeaderTimeout,
			expire: func(ex *exchange) { ex.ctx.end(errHeaderTimeout) }},
		clients: timeouts{after: unwatched, expire: func(ex *exchange) { ex.ctx.follow() }},
	}
}

func newInstances(name string, sticky stickiness, log *slog.Logger) *instances {
	return &instances{
		name:    name,
		sticky:  sticky,
		log:     log.With("back", name),
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
		if l := b.ready.Load().choose(); l != nil {
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

// spareLinks is how many links that do not serve one back end may have, beside as many as it may
// have instances: those that begin or end. More come only of one that takes its own place again and
// again.
const spareLinks = 8

// add keeps a link that is not ready yet. Where there are too many, the oldest that does not serve
// is cut off.
func (b *instances) add(l *link) bool {
	b.mu.Lock()
	if b.closed || b.retired {
		b.mu.Unlock()
		return false
	}
	b.made++
	l.number = b.made
	b.links[l] = struct{}{}
	l.since = time.Now()
	oldest, links := b.crowded(l), len(b.links)
	b.mu.Unlock()
	if oldest != nil {
		b.log.Warn("link cut off, the back end has too many", "links", links)
		oldest.close()
	}
	return true
}

// crowded returns the oldest link that does not serve, but for l, if there are too many. It needs
// mu.
func (b *instances) crowded(l *link) (oldest *link) {
	set := b.ready.Load()
	if len(b.links)-set.size() <= spareLinks+b.most {
		return nil
	}
	for old := range b.links {
		if old != l && !set.has(old) && (oldest == nil || old.number < oldest.number) {
			oldest = old
		}
	}
	return oldest
}

func (b *instances) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// use makes l the link that the requests of its instance go to, and returns the one before it.
// instance is what the back end calls itself; it counts where the link has no instance yet.
func (b *instances) use(l *link, instance string) (before *link, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, alive := b.links[l]; !alive {
		return nil, nil //nolint:nilnil // there is nothing to do
	}
	if l.instance == "" {
		l.instance = cmp.Or(instance, b.name)
	}
	set, before := b.ready.Load().with(l)
	if set.size() > b.most {
		return nil, fmt.Errorf("distrib: the mount %s has %d instances, and may have no more",
			b.name, b.most)
	}
	l.since = time.Now()
	l.token = b.sticky.token(l.instance)
	b.ready.Store(set)
	b.wake()
	return before, nil
}

// wake needs mu.
func (b *instances) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// lost takes l out of use: it ends, or will take nothing more.
func (b *instances) lost(l *link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ready.Store(b.ready.Load().without(l))
}

// remove forgets a link that has ended.
func (b *instances) remove(l *link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.links, l)
	b.ready.Store(b.ready.Load().without(l))
	if b.retired {
		b.wake()
	}
}

// serves says whether a link is ready.
func (b *instances) serves() bool { return b.ready.Load() != nil }

// close ends all links, and lets nobody wait any longer.
func (b *instances) close() {
	b.mu.Lock()
	b.closed = true
	b.wake()
	b.mu.Unlock()
	for _, l := range b.all() {
		l.close()
	}
}

func (b *instances) all() []*link {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.links))
}

// close ends all links of a back end, and what watches over its requests.
func (b *backEnd) close() {
	b.instances.close()
	b.headers.stop()
	b.clients.stop()
}

// retire ends the links of a mount that has no route any more, when the requests that found it are
// over, at most drainTime later, and waits for that.
func (b *backEnd) retire() {
	timer := time.NewTimer(drainTime)
	defer timer.Stop()
	b.users.end()
	for waiting := true; waiting; {
		b.mu.Lock()
		changed, closed := b.changed, b.closed
		b.mu.Unlock()
		select {
		case <-b.users.gone:
			waiting = false
		case <-timer.C:
			waiting = false
		case <-changed:
			waiting = !closed
		}
	}
	b.mu.Lock()
	b.retired = true
	b.ready.Store(nil)
	b.mu.Unlock()
	for _, l := range b.all() {
		if l.serve.Load() != nil {
			l.dismiss(false)
		} else {
			l.close()
		}
	}
	for {
		b.mu.Lock()
		changed, left := b.changed, len(b.links)
		b.mu.Unlock()
		if left == 0 {
			break
		}
		<-changed // each link ends within drainTime
	}
	b.close()
}

package pb

import (
	"context"
	"slices"
	"sync"
)

// Serial, embedded beside a flavour, lets one method of the object run at a time, over all connections. A method that
// waits inside this package with its own context lets others run meanwhile, and goes on, in front of new calls, when
// its wait has ended and no other method runs: the object's state may have changed across the wait. The zero value is
// ready; it must not be copied. Calls that a program makes to its own object directly are not held back.
type Serial struct{ lock serialLock }

func (s *Serial) serial() *serialLock { return &s.lock }

// serializer tells who embeds Serial.
type serializer interface{ serial() *serialLock }

// A serialLock is held by at most one serialHold. Its owner hands it on directly: to one that comes back from a wait if
// there is one, else to the new call that waits longest. The zero value is unlocked.
type serialLock struct {
	mu     sync.Mutex
	busy   bool
	back   []*serialHold // come back from a wait
	queued []*serialHold // new calls
}

// A serialHold is one call's share in a serialLock. All its fields are guarded by the lock's mutex.
//
//	entering --granted--> held --pause--> paused --resume--> entering
//	entering, held, paused --leave--> over
type serialHold struct {
	lock    *serialLock
	held    bool
	over    bool
	granted chan struct{} // closed when a wait for the lock ends; nil if nobody waits
}

// enter waits for the lock. If ctx ends first, it returns why; there is nothing to leave then.
func (l *serialLock) enter(ctx context.Context) (*serialHold, error) {
	h := &serialHold{lock: l}
	l.mu.Lock()
	if !l.busy {
		l.busy, h.held = true, true
		l.mu.Unlock()
		return h, nil
	}
	h.granted = make(chan struct{})
	granted := h.granted
	l.queued = append(l.queued, h)
	l.mu.Unlock()
	select {
	case <-granted:
		return h, nil
	case <-ctx.Done():
		h.leave()
		return nil, context.Cause(ctx)
	}
}

// leave gives up what h has: the lock, or its place in front of it. A second leave does nothing.
func (h *serialHold) leave() {
	l := h.lock
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.over {
		return
	}
	h.over = true
	if h.granted != nil {
		is := func(o *serialHold) bool { return o == h }
		l.queued = slices.DeleteFunc(l.queued, is)
		l.back = slices.DeleteFunc(l.back, is)
		close(h.granted)
		h.granted = nil
	}
	if h.held {
		h.held = false
		l.handOn()
	}
}

// pause gives up the lock for the time of a wait. It does nothing if h does not hold it.
func (h *serialHold) pause() {
	h.lock.mu.Lock()
	defer h.lock.mu.Unlock()
	if h.held {
		h.held = false
		h.lock.handOn()
	}
}

// resume takes the lock back in front of new calls. It returns at once if h holds the lock, or is over. Goroutines of one
// method may resume together; they share the lock.
func (h *serialHold) resume() {
	l := h.lock
	l.mu.Lock()
	switch {
	case h.held || h.over:
		l.mu.Unlock()
		return
	case !l.busy:
		l.busy, h.held = true, true
		l.mu.Unlock()
		return
	case h.granted == nil:
		h.granted = make(chan struct{})
		l.back = append(l.back, h)
	}
	granted := h.granted
	l.mu.Unlock()
	<-granted
}

// handOn gives the lock, which is nobody's now, to the next. The caller holds l.mu.
func (l *serialLock) handOn() {
	var next *serialHold
	switch {
	case len(l.back) > 0:
		next = l.back[0]
		l.back = slices.Delete(l.back, 0, 1)
	case len(l.queued) > 0:
		next = l.queued[0]
		l.queued = slices.Delete(l.queued, 0, 1)
	default:
		l.busy = false
		return
	}
	next.held = true
	close(next.granted)
	next.granted = nil
}

type serialKey struct{}

// withSerial returns a ctx that carries h, for those who wait with it.
func withSerial(ctx context.Context, h *serialHold) context.Context {
	return context.WithValue(ctx, serialKey{}, h)
}

// serialFrom returns the hold of the method that ctx belongs to, or nil.
func serialFrom(ctx context.Context) *serialHold {
	h, _ := ctx.Value(serialKey{}).(*serialHold)
	return h
}

// withoutSerial returns a ctx whose waits leave the lock alone.
func withoutSerial(ctx context.Context) context.Context {
	if serialFrom(ctx) == nil {
		return ctx
	}
	return context.WithValue(ctx, serialKey{}, (*serialHold)(nil))
}

package pb

import (
	"context"
	"slices"
	"sync"
)

// Serial, embedded beside a flavour, lets one method of the object run at a time, over all
// connections. A method that waits inside this package with its own context lets others run
// meanwhile, and goes on, in front of new calls, when its wait has ended and no other method runs:
// the object's state may have changed across the wait. Connections take turns: of each one call
// runs, then one of the next connection that has calls, however many the others have. The zero
// value is ready; it must not be copied. Calls that a program makes to its own object directly are
// not held back.
type Serial struct{ lock serialLock }

func (s *Serial) serial() *serialLock { return &s.lock }

// serializer is the mark of a type that embeds Serial.
type serializer interface{ serial() *serialLock }

// A serialLock is held by at most one serialHold. Its owner hands it on directly: to one that comes
// back from a wait if there is one, else to a new call. The zero value is unlocked.
type serialLock struct {
	mu     sync.Mutex
	busy   bool
	back   serialLines // come back from a wait
	queued serialLines // new calls
}

// serialLines are the waiting calls, in one line for each connection. The first of the first line
// is next.
type serialLines []serialLine

// A serialLine is never empty.
type serialLine struct {
	conn  *Conn // nil for calls over none
	holds []*serialHold
}

// push puts h at the end of its connection's line.
func (l *serialLines) push(h *serialHold) {
	i := slices.IndexFunc(*l, func(s serialLine) bool { return s.conn == h.conn })
	if i < 0 {
		i = len(*l)
		*l = append(*l, serialLine{conn: h.conn})
	}
	(*l)[i].holds = append((*l)[i].holds, h)
}

// pop takes out the method that is next; the other connections are before the rest of its line. One
// method waits at least.
func (l *serialLines) pop() *serialHold {
	line := (*l)[0]
	*l = slices.Delete(*l, 0, 1)
	h := line.holds[0]
	if line.holds = slices.Delete(line.holds, 0, 1); len(line.holds) > 0 {
		*l = append(*l, line)
	}
	return h
}

// remove takes h out if it is there.
func (l *serialLines) remove(h *serialHold) {
	for i, line := range *l {
		j := slices.Index(line.holds, h)
		switch {
		case j < 0:
		case len(line.holds) == 1:
			*l = slices.Delete(*l, i, i+1)
			return
		default:
			(*l)[i].holds = slices.Delete(line.holds, j, j+1)
			return
		}
	}
}

// A serialHold is one call's share in a serialLock. All its fields are guarded by the lock's mutex.
//
//	entering --granted--> held --pause--> paused --resume--> entering
//	entering, held, paused --leave--> over
type serialHold struct {
	lock    *serialLock
	conn    *Conn // that the call came over; nil if there is none
	held    bool
	over    bool
	granted chan struct{} // closed when a wait for the lock ends; nil if nobody waits
}

// enter waits for the lock. If ctx ends first, it returns why; there is nothing to leave then.
func (l *serialLock) enter(ctx context.Context) (*serialHold, error) {
	h := &serialHold{lock: l, conn: ConnFrom(ctx)}
	l.mu.Lock()
	if !l.busy {
		l.busy, h.held = true, true
		l.mu.Unlock()
		return h, nil
	}
	h.granted = make(chan struct{})
	granted := h.granted
	l.queued.push(h)
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
		l.queued.remove(h)
		l.back.remove(h)
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

// resume takes the lock back in front of new calls. It returns at once if h holds the lock, or is
// over. Goroutines of one method may resume together; they share the lock.
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
		l.back.push(h)
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
		next = l.back.pop()
	case len(l.queued) > 0:
		next = l.queued.pop()
	default:
		l.busy = false
		return
	}
	next.held = true
	close(next.granted)
	next.granted = nil
}

type serialKey struct{}

// withSerial returns a ctx that carries h, for code that waits with it.
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

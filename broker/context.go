package broker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// callContext is the part of an Incoming that makes it a context.Context. Most methods never ask for Done, and then it
// costs no lock: who ends the context sets over and then looks at watched, who wants to be told does it the other way
// round, so one of them sees the other.
type callContext struct {
	deadline *time.Time   // nil: none; it does not change
	over     atomic.Int32 // 0, overCanceled or overDeadline
	watched  atomic.Bool
	watch    *contextWatch // under mu
	mu       sync.Mutex    // also of stored.stalled, and of notes against the answer
}

const (
	overCanceled = 1 + iota
	overDeadline
)

// contextWatch is what is there once somebody has asked to be told of the end.
type contextWatch struct {
	done   chan struct{}
	closed bool
	after  map[*afterFunc]struct{}
	timer  *time.Timer
}

type afterFunc struct{ f func() }

type incomingKey struct{}

// IncomingFrom finds the call that ctx, or what it was made from, belongs to;
// nil if to none.
func IncomingFrom(ctx context.Context) *Incoming {
	in, _ := ctx.Value(incomingKey{}).(*Incoming)
	return in
}

// Context is the method's context. Its values are those of Config.Context.
func (in *Incoming) Context() context.Context { return in }

// Deadline is when the caller stops waiting.
func (in *Incoming) Deadline() (t time.Time, ok bool) {
	if in.deadline == nil {
		return t, false
	}
	return *in.deadline, true
}

// Done is closed when the context ends.
func (in *Incoming) Done() <-chan struct{} {
	in.mu.Lock()
	defer in.mu.Unlock()
	w := in.wantWatch()
	if w.done == nil {
		w.done = make(chan struct{})
	}
	if in.over.Load() != 0 {
		w.close()
	} else {
		in.arm()
	}
	return w.done
}

// wantWatch makes room for who wants to be told. Needs mu.
func (in *Incoming) wantWatch() *contextWatch {
	if in.watch == nil {
		in.watch = new(contextWatch)
		in.watched.Store(true)
	}
	return in.watch
}

// close closes done, if it is there, once. Needs mu.
func (w *contextWatch) close() {
	if w.done != nil && !w.closed {
		w.closed = true
		close(w.done)
	}
}

// arm starts the deadline's timer when somebody waits for it. Needs mu.
func (in *Incoming) arm() {
	if in.watch.timer == nil && in.deadline != nil {
		in.watch.timer = time.AfterFunc(time.Until(*in.deadline), func() { in.endContext(overDeadline) })
	}
}

// Err says why the context ended: context.Canceled or
// context.DeadlineExceeded; context.Cause is not kept apart from it.
func (in *Incoming) Err() error {
	if in.deadline != nil && in.over.Load() == 0 && !time.Now().Before(*in.deadline) {
		in.endContext(overDeadline) // it does not become another error when the call is answered
	}
	switch in.over.Load() {
	case overCanceled:
		return context.Canceled
	case overDeadline:
		return context.DeadlineExceeded
	}
	return nil
}

// Value finds key in Config.Context.
func (in *Incoming) Value(key any) any {
	if key == (incomingKey{}) {
		return in
	}
	return in.b.config.Context.Value(key)
}

// AfterFunc lets package context follow the call without a goroutine.
func (in *Incoming) AfterFunc(f func()) (stop func() bool) {
	a := &afterFunc{f}
	in.mu.Lock()
	w := in.wantWatch()
	if in.over.Load() != 0 {
		in.mu.Unlock()
		go f() // ends with f, which context gave: it cancels a child
		return func() bool { return false }
	}
	if w.after == nil {
		w.after = make(map[*afterFunc]struct{})
	}
	w.after[a] = struct{}{}
	in.arm()
	in.mu.Unlock()
	return func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		_, ok := w.after[a]
		delete(w.after, a)
		return ok
	}
}

// cancel ends the context: the call was answered, or nobody wants it.
func (in *Incoming) cancel() { in.endContext(overCanceled) }

func (in *Incoming) endContext(why int32) {
	if !in.over.CompareAndSwap(0, why) {
		return
	}
	if !in.watched.Load() {
		return
	}
	in.mu.Lock()
	w := in.watch
	w.close()
	if w.timer != nil {
		w.timer.Stop()
	}
	after := w.after
	w.after = nil
	in.mu.Unlock()
	for a := range after {
		a.f() // package context's own: it locks and closes channels
	}
}

var _ context.Context = (*Incoming)(nil)

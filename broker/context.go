package broker

import (
	"context"
	"time"
)

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
func (in *Incoming) Deadline() (time.Time, bool) { return in.deadline, !in.deadline.IsZero() }

// Done is closed when the context ends.
func (in *Incoming) Done() <-chan struct{} {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.done == nil {
		in.done = make(chan struct{})
		if in.cause != nil {
			close(in.done)
		}
		in.arm()
	}
	return in.done
}

// arm starts the deadline's timer when somebody waits for it. Needs mu.
func (in *Incoming) arm() {
	if in.cause == nil && in.timer == nil && !in.deadline.IsZero() {
		in.timer = time.AfterFunc(time.Until(in.deadline), func() { in.cancel(context.DeadlineExceeded) })
	}
}

// Err says why the context ended: context.Canceled or
// context.DeadlineExceeded; context.Cause is not kept apart from it.
func (in *Incoming) Err() error {
	if in.deadline.IsZero() && !in.over.Load() {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.cause == nil && !in.deadline.IsZero() && !time.Now().Before(in.deadline) {
		return context.DeadlineExceeded
	}
	return in.cause
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
	if in.cause != nil {
		in.mu.Unlock()
		go f() // ends with f, which context gave: it cancels a child
		return func() bool { return false }
	}
	if in.after == nil {
		in.after = make(map[*afterFunc]struct{})
	}
	in.after[a] = struct{}{}
	in.arm()
	in.mu.Unlock()
	return func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		_, ok := in.after[a]
		delete(in.after, a)
		return ok
	}
}

// cancel ends the context.
func (in *Incoming) cancel(cause error) {
	in.mu.Lock()
	if in.cause != nil {
		in.mu.Unlock()
		return
	}
	in.cause = cause
	in.over.Store(true)
	if in.done != nil {
		close(in.done)
	}
	if in.timer != nil {
		in.timer.Stop()
	}
	after := in.after
	in.after = nil
	in.mu.Unlock()
	for a := range after {
		a.f() // package context's own: it locks and closes channels
	}
}

var _ context.Context = (*Incoming)(nil)

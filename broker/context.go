package broker

import (
	"context"
	"sync"
	"time"

	"perspective/internal/lazyctx"
)

// callContext is the part of an Incoming that makes it a context.Context. Most methods never ask
// for Done, and then it costs no lock.
type callContext struct {
	deadline *time.Time // nil: none; it does not change
	ending   lazyctx.End
	mu       sync.Mutex // of stored.stalled, and of notes against the answer
}

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
	done, _ := in.ending.Done(in.arm)
	return done
}

// arm starts the deadline's timer when the method or a context made from its own waits for it.
func (in *Incoming) arm() (disarm func() bool) {
	if in.deadline == nil {
		return nil
	}
	return time.AfterFunc(time.Until(*in.deadline),
		func() { in.ending.Finish(lazyctx.DeadlineExceeded) }).Stop
}

// Err says why the context ended: context.Canceled or
// context.DeadlineExceeded; context.Cause is not kept apart from it.
func (in *Incoming) Err() error {
	err := in.ending.Err()
	if err == nil && in.deadline != nil && !time.Now().Before(*in.deadline) {
		// it does not become another error when the call is answered
		in.ending.Finish(lazyctx.DeadlineExceeded)
		err = in.ending.Err()
	}
	return err
}

// Value finds key in Config.Context.
func (in *Incoming) Value(key any) any {
	if key == (incomingKey{}) {
		return in
	}
	if in.odd != nil && in.odd.trace != nil && key == (traceKey{}) {
		return &in.odd.trace
	}
	return in.b.config.Context.Value(key)
}

// AfterFunc lets package context follow the call without a goroutine.
func (in *Incoming) AfterFunc(f func()) (stop func() bool) { return in.ending.AfterFunc(f, in.arm) }

// cancel ends the context: the call was answered, or nobody wants it.
func (in *Incoming) cancel() { in.ending.Finish(lazyctx.Canceled) }

var _ context.Context = (*Incoming)(nil)

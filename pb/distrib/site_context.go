package distrib

import (
	"context"
	"time"

	"perspective/internal/lazyctx"
)

// unwatched is how long an exchange goes on without noticing that its client has gone. Most are
// over by then, and following the client's context costs them more than all else that a context
// does.
const unwatched = 20 * time.Millisecond

// An exchangeContext is what an exchange waits with. It ends when end is called, and, from follow
// on, with the request's context, whose values it has. request is needed.
type exchangeContext struct {
	request context.Context //nolint:containedctx // a context is made of another one
	ending  lazyctx.End
}

// Deadline is the request's.
func (c *exchangeContext) Deadline() (time.Time, bool) { return c.request.Deadline() }

// Value is the request's.
func (c *exchangeContext) Value(key any) any { return c.request.Value(key) }

// Done is closed at the end.
func (c *exchangeContext) Done() <-chan struct{} {
	done, _ := c.ending.Done(nil)
	return done
}

// Err is nil until the end.
func (c *exchangeContext) Err() error { return c.ending.Err() }

// AfterFunc lets contexts made from this one follow it without a goroutine each; see
// context.AfterFunc.
func (c *exchangeContext) AfterFunc(f func()) func() bool { return c.ending.AfterFunc(f, nil) }

// why is the cause of the end.
func (c *exchangeContext) why() error { return c.ending.Cause() }

// follow makes the end of the request's context end this one too.
func (c *exchangeContext) follow() {
	c.ending.Arm(func() (stop func() bool) {
		return context.AfterFunc(c.request, func() { c.end(context.Cause(c.request)) })
	})
}

// end ends the context. The first cause counts.
func (c *exchangeContext) end(cause error) {
	c.ending.Finish(&lazyctx.Reason{Err: context.Canceled, Cause: cause})
}

// onEnd has f called at the end, which may be now.
func (c *exchangeContext) onEnd(f func()) {
	if _, ok := c.ending.OnEnd(f, nil); !ok && c.why() != nil {
		f()
	}
}

// release is called when nobody waits with the context any more: nothing ends it from then on.
func (c *exchangeContext) release() { c.ending.Release() }

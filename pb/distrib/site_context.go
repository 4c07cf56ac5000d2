package distrib

import (
	"context"
	"sync"
	"time"
)

// unwatched is how long an exchange goes on without noticing that its client has gone. Most are over by then, and
// following the client's context costs them more than all else that a context does.
const unwatched = 20 * time.Millisecond

// An exchangeContext is what an exchange waits with. It ends when end is called, and, from follow on, with the
// request's context, whose values it has. request and done are needed.
type exchangeContext struct {
	request context.Context //nolint:containedctx // a context is made of another one
	done    chan struct{}

	mu    sync.Mutex
	cause error
	stop  func() bool // ends following
	over  bool
	after func() // called at the end; nil: nothing
}

// Deadline is the request's.
func (c *exchangeContext) Deadline() (time.Time, bool) { return c.request.Deadline() }

// Value is the request's.
func (c *exchangeContext) Value(key any) any { return c.request.Value(key) }

// Done is closed at the end.
func (c *exchangeContext) Done() <-chan struct{} { return c.done }

// Err is nil until the end.
func (c *exchangeContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		return nil
	}
	return context.Canceled
}

// why is the cause of the end.
func (c *exchangeContext) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// follow makes the end of the request's context end this one too.
func (c *exchangeContext) follow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop == nil && c.cause == nil && !c.over {
		c.stop = context.AfterFunc(c.request, func() { c.end(context.Cause(c.request)) })
	}
}

// end ends the context. The first cause counts.
func (c *exchangeContext) end(cause error) {
	c.mu.Lock()
	if c.cause != nil || c.over {
		c.mu.Unlock()
		return
	}
	c.cause = cause
	close(c.done)
	after := c.after
	c.mu.Unlock()
	if after != nil {
		after()
	}
}

// onEnd has f called at the end, which may be now. It is called at most once for a context.
func (c *exchangeContext) onEnd(f func()) {
	c.mu.Lock()
	ended := c.cause != nil
	c.after = f
	c.mu.Unlock()
	if ended {
		f()
	}
}

// release is called when nobody waits with the context any more: nothing ends it from then on.
func (c *exchangeContext) release() {
	c.mu.Lock()
	c.over, c.after = true, nil
	stop := c.stop
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
}

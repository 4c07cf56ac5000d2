package distrib

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"perspective/internal/lazyctx"
	"perspective/pb"
)

// A requestContext is the context of a handler. It begins as that of the call that brought the
// request, and lives on when the response is streamed and the call has been answered. Nothing is
// set up for it before the handler asks for Done.
type requestContext struct {
	base context.Context //nolint:containedctx // a context is made of another one
	// detached: the call is answered, or about to be; its context says nothing any more.
	detached atomic.Bool
	ending   lazyctx.End

	writer  *responseWriter         // which has the context
	session atomic.Pointer[Session] // made when it is first asked for
}

// Deadline is the call's.
func (c *requestContext) Deadline() (time.Time, bool) { return c.base.Deadline() }

// Value is the call's, beside the user and the session.
func (c *requestContext) Value(key any) any {
	switch key.(type) {
	case userContextKey:
		return c.writer.user
	case sessionContextKey:
		return c.writer.session()
	}
	return c.base.Value(key)
}

// Done is closed when the client has gone, the time is over, the link has ended, or the handler
// has.
func (c *requestContext) Done() <-chan struct{} {
	done, first := c.ending.Done(c.follow)
	if first {
		pb.Yield(c.base) // the caller is about to wait
	}
	return done
}

// Err is nil until Done is closed.
func (c *requestContext) Err() error {
	if !c.ending.Watched() {
		// The answer ends the call's context, and detached is set before that.
		if err := c.base.Err(); err != nil && !c.detached.Load() {
			c.end(err)
		}
	}
	return c.ending.Err()
}

// AfterFunc lets contexts made from this one follow it without a goroutine each; see
// context.AfterFunc.
func (c *requestContext) AfterFunc(f func()) func() bool { return c.ending.AfterFunc(f, c.follow) }

// follow has the end of the call end the context.
func (c *requestContext) follow() (stop func() bool) {
	if c.detached.Load() {
		return nil
	}
	return context.AfterFunc(c.base, func() {
		if !c.detached.Load() {
			c.end(c.base.Err())
		}
	})
}

// detach is called before the call is answered while the handler goes on. The error is that of a
// call that is given up.
func (c *requestContext) detach() error {
	if err := c.ending.Err(); err != nil {
		return err
	}
	if err := c.base.Err(); err != nil {
		return err // and follow's function is on its way
	}
	c.detached.Store(true)
	return nil
}

// end ends the context. The first reason counts.
func (c *requestContext) end(err error) {
	reason := lazyctx.Canceled
	if errors.Is(err, context.DeadlineExceeded) {
		reason = lazyctx.DeadlineExceeded
	}
	c.ending.Finish(reason)
}

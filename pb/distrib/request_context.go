package distrib

import (
	"context"
	"sync"
	"time"

	"perspective/pb"
)

// A requestContext is the context of a handler. It begins as that of the call that brought the request, and lives on when
// the response is streamed and the call has been answered. Nothing is set up for it before somebody asks for Done.
type requestContext struct {
	base context.Context //nolint:containedctx // a context is made of another one

	mu       sync.Mutex
	done     chan struct{}
	err      error
	detached bool // the call is answered; its context says nothing any more
	stop     func() bool
	after    map[*func()]struct{}
}

// Deadline is the call's.
func (c *requestContext) Deadline() (time.Time, bool) { return c.base.Deadline() }

// Value is the call's.
func (c *requestContext) Value(key any) any { return c.base.Value(key) }

// Done is closed when the client has gone, the time is over, the link has ended, or the handler has.
func (c *requestContext) Done() <-chan struct{} {
	done, first := c.makeDone()
	if first {
		pb.Yield(c.base) // who asks is about to wait
	}
	return done
}

func (c *requestContext) makeDone() (done chan struct{}, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done != nil {
		return c.done, false
	}
	c.done = make(chan struct{})
	if c.err != nil {
		close(c.done)
	}
	c.follow()
	return c.done, true
}

// Err is nil until Done is closed.
func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !c.detached && c.stop == nil {
		return c.base.Err()
	}
	return c.err
}

// AfterFunc lets contexts made from this one follow it without a goroutine each; see context.AfterFunc.
func (c *requestContext) AfterFunc(f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f() // ends with f, which is the caller's to wait for
		return func() bool { return false }
	}
	if c.after == nil {
		c.after = make(map[*func()]struct{})
	}
	c.after[&f] = struct{}{}
	c.follow()
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, pending := c.after[&f]
		delete(c.after, &f)
		return pending
	}
}

// follow has the end of the call end the context. Needs mu.
func (c *requestContext) follow() {
	if c.stop == nil && !c.detached && c.err == nil {
		c.stop = context.AfterFunc(c.base, c.callEnded)
	}
}

func (c *requestContext) callEnded() {
	c.mu.Lock()
	detached := c.detached
	c.mu.Unlock()
	if !detached {
		c.end(c.base.Err())
	}
}

// detach is called before the call is answered while the handler goes on. The error is that of a call that is given up.
func (c *requestContext) detach() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if err := c.base.Err(); err != nil {
		return err // and callEnded is on its way
	}
	c.detached = true
	return nil
}

// end ends the context. The first reason counts.
func (c *requestContext) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	c.detached = true
	if c.done != nil {
		close(c.done)
	}
	after, stop := c.after, c.stop
	c.after = nil
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
	for f := range after {
		go (*f)() // ends with f, which is its owner's to wait for
	}
}

package pb

import (
	"context"
	"sync"
)

// wakes lends channels to calls over one connection that somebody waits for and nobody else can have. Such a channel is
// not closed but gets one token, and can so be lent again. Each connection has its own, for a channel belongs to the
// place where it was made.
type wakes struct{ pool sync.Pool }

func (w *wakes) take() chan struct{} {
	if c, ok := w.pool.Get().(chan struct{}); ok {
		return c
	}
	return make(chan struct{}, 1)
}

// blockAlone is block for a call that its caller alone has: Do and the like, which hand out no Deferred.
func (c *call[T]) blockAlone(ctx context.Context) error {
	conn := c.over.Load()
	if conn == nil || ctx.Err() != nil {
		return c.block(ctx)
	}
	c.mu.Lock()
	if c.watchLocked() {
		c.mu.Unlock()
		return nil
	}
	wake := conn.wakes.take()
	c.wake = wake
	c.Deferred.state.Or(isLent)
	c.mu.Unlock()

	back := leaveTurn(ctx)
	select {
	case <-wake:
		conn.wakes.pool.Put(wake) // its one token is taken
		back()
		return nil
	case <-ctx.Done(): // the token may come yet: the channel is not lent again
	}
	back()
	if c.Deferred.state.Load()&isFired != 0 {
		return nil
	}
	return endOf(ctx, "wait for a Deferred")
}

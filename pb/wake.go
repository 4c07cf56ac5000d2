package pb

import "sync"

// wakes lends channels to direct calls over one connection. Such a channel gets one token and is then lent again. Each
// connection has its own, for a channel belongs to the place where it was made.
type wakes struct{ pool sync.Pool }

func (w *wakes) take() chan struct{} {
	if c, ok := w.pool.Get().(chan struct{}); ok {
		return c
	}
	return make(chan struct{}, 1)
}

// give takes back a channel in which no token is, and into which none will come.
func (w *wakes) give(c chan struct{}) { w.pool.Put(c) }

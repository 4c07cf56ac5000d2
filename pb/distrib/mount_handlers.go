package distrib

import (
	"context"
	"sync"
)

// handlers counts those that run for one link. The zero value is ready; it ends with wait.
type handlers struct {
	mu    sync.Mutex
	n     int
	ended bool
	quiet chan struct{} // closed when n becomes 0; nil: nobody waits for that
}

// enter counts one more, which leaves by leave; false after the end.
func (h *handlers) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return false
	}
	h.n++
	return true
}

func (h *handlers) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n--; h.n == 0 && h.quiet != nil {
		close(h.quiet)
		h.quiet = nil
	}
}

// waitIdle waits until no handler runs, or ctx ends.
func (h *handlers) waitIdle(ctx context.Context) {
	h.mu.Lock()
	if h.n == 0 {
		h.mu.Unlock()
		return
	}
	if h.quiet == nil {
		h.quiet = make(chan struct{})
	}
	quiet := h.quiet
	h.mu.Unlock()
	select {
	case <-quiet:
	case <-ctx.Done():
	}
}

// wait lets no handler begin any more and waits for those that run.
func (h *handlers) wait() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	h.waitIdle(context.Background())
}

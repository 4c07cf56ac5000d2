package distrib

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// freshTime is how long a connection that has just been accepted may take to bring its first
	// request while the server drains. net/http waits as long.
	freshTime = 5 * time.Second
	// restTime is how long a connection must have had nothing to do until its client is taken to
	// want nothing more.
	restTime = time.Second
	// drainPoll is the time between looks at the connections.
	drainPoll = 10 * time.Millisecond
)

// Drain ends a server that Server made, and what it serves, in order: the listeners, those that
// Clients returned, are closed, each request that is under way or comes over a connection that is
// there already is answered, and its connection ends behind the answer. Connections without a
// request are closed when they have had none for a second (5 s if they are new), so that no request
// meets its connection's end as long as its client is busy. http.Server.Shutdown, which Drain calls
// last, drops what it has read and not begun. Another process may accept from the same listeners
// meanwhile.
//
// It returns nil when nothing is left of them, or when ctx has ended: its error, and the rest is
// cut off. Hijacked connections go on, see Close. All of the site's servers answer in this way from
// now on.
func (s *Site) Drain(ctx context.Context, server *http.Server, listeners ...net.Listener) error {
	s.draining.Store(true)
	for _, l := range listeners {
		_ = l.Close() // it was only listening
	}
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for s.clients.busy(time.Now()) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			_ = server.Close()
			return ctx.Err()
		}
	}
	if err := server.Shutdown(ctx); err != nil {
		_ = server.Close()
		return err
	}
	return nil
}

// clientConns are the connections of clients that are open, and those that are just being accepted.
type clientConns struct {
	accepting atomic.Int64 // calls of Accept that may have a connection which is not in open yet

	mu   sync.Mutex
	open map[*clientConn]struct{}
}

func (c *clientConns) add(conn *clientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = make(map[*clientConn]struct{})
	}
	c.open[conn] = struct{}{}
}

func (c *clientConns) remove(conn *clientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
}

// busy says whether some connection has a request, or may be about to have one.
func (c *clientConns) busy(now time.Time) bool {
	if c.accepting.Load() > 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		rest := now.Sub(time.Unix(0, conn.since.Load()))
		switch http.ConnState(conn.state.Load()) {
		case http.StateActive:
			return true
		case http.StateNew:
			if rest < freshTime {
				return true
			}
		case http.StateIdle:
			if rest < restTime {
				return true
			}
		default: // it is no server's any more
		}
	}
	return false
}

// enter notes what the server does with the connection.
func (c *clientConn) enter(state http.ConnState) {
	c.since.Store(time.Now().UnixNano())
	c.state.Store(int32(state)) //nolint:gosec // there are five
}

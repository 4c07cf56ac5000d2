package pb

import (
	"context"
	"fmt"
	"slices"
)

// arrivals are the connections of a Node that have proved nothing yet, by the address that
// they come from. The zero value has none. All of it is under Node.mu.
type arrivals struct {
	byAddr map[string]*arrival
}

// An arrival is what one address has under way. It is there as long as one of the two is.
type arrival struct {
	strangers int         // being set up or, where a login is wanted, not logged in
	waiting   []*newcomer // not looked at yet: nobody reads them
}

// A newcomer is a connection that waits until others of its address have been set up. One of
// its functions is called, once, and without a lock.
type newcomer struct {
	begin func() // there is room
	leave func() // the node has ended
}

// arrive counts a connection that has proved nothing. now says that it may be set up at once;
// otherwise it waits for others of its address if kept is true, and has no place if it is false.
// Where nobody has to log in the others are done with soon, so there connections wait.
func (n *Node) arrive(addr string, l *Limits, w *newcomer) (now, kept bool) {
	if addr == "" {
		return true, true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.arrivals.byAddr[addr]
	if a == nil {
		if n.arrivals.byAddr == nil {
			n.arrivals.byAddr = make(map[string]*arrival)
		}
		a = new(arrival)
		n.arrivals.byAddr[addr] = a
	}
	switch {
	case a.strangers < l.Unauthenticated:
		a.strangers++
		return true, true
	case n.wantsLogin() || n.closed || len(a.waiting) >= l.Backlog:
		return false, false
	}
	a.waiting = append(a.waiting, w)
	return false, true
}

// known uncounts one: it has proved itself, or is over. The newcomer that waits longest takes
// its place.
func (n *Node) known(addr string) {
	if addr == "" {
		return
	}
	n.mu.Lock()
	a := n.arrivals.byAddr[addr]
	var next *newcomer
	switch {
	case len(a.waiting) > 0:
		next = a.waiting[0]
		a.waiting[0] = nil
		a.waiting = a.waiting[1:]
	case a.strangers > 1:
		a.strangers--
	default:
		delete(n.arrivals.byAddr, addr)
	}
	n.mu.Unlock()
	if next != nil {
		next.begin()
	}
}

// attend waits until a connection that a program attaches may be set up, as those that Serve
// accepts do. Without an error known must be called later.
func (n *Node) attend(ctx context.Context, addr string) error {
	limits := n.Limits.withDefaults()
	room, over := make(chan struct{}), make(chan struct{})
	w := &newcomer{begin: func() { close(room) }, leave: func() { close(over) }}
	switch now, kept := n.arrive(addr, &limits, w); {
	case now:
		return nil
	case !kept:
		select {
		case <-n.over():
			return ErrNodeClosed
		default:
		}
		return fmt.Errorf("%w: %s (Limits.Unauthenticated is %d)", ErrOverloaded, n.refusal(),
			limits.Unauthenticated)
	}
	select {
	case <-room:
		return nil
	case <-over:
		return ErrNodeClosed
	case <-ctx.Done():
	}
	if !n.giveUp(addr, w) {
		select {
		case <-room:
			n.known(addr)
		case <-over:
		}
	}
	return ctx.Err()
}

// giveUp takes a newcomer out that waits; false if it waits no more.
func (n *Node) giveUp(addr string, w *newcomer) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.arrivals.byAddr[addr]
	if a == nil {
		return false
	}
	i := slices.Index(a.waiting, w)
	if i >= 0 {
		a.waiting = slices.Delete(a.waiting, i, i+1)
	}
	return i >= 0
}

// turnAway gives those that wait, which wait no more. Needs mu, and Node.closed.
func (s *arrivals) turnAway() (all []*newcomer) {
	for _, a := range s.byAddr {
		all = append(all, a.waiting...)
		a.waiting = nil
	}
	return all
}

// wantsLogin says whether a connection may be a stranger's after it was set up.
func (n *Node) wantsLogin() bool { return n.Portal != nil && n.Allow == nil }

// refusal says why arrive had no place.
func (n *Node) refusal() string {
	if n.wantsLogin() {
		return "too many of this address are not logged in"
	}
	return "too many of this address wait to be set up"
}

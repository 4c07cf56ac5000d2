package pb

import (
	"net"
)

// arrivals are the connections of a Node that have proved nothing yet, by the address that
// they come from. The zero value has none. All of it is under Node.mu.
type arrivals struct {
	byAddr map[string]*arrival
}

// An arrival is what one address has under way. It is there as long as one of the two is.
type arrival struct {
	strangers int        // being set up or, where a login is wanted, not logged in
	waiting   []net.Conn // accepted and not looked at yet: nobody reads them
}

// arrive counts a connection that has proved nothing. now says that it may be set up at once;
// otherwise it waits for others of its address if kept is true, and has no place if it is false.
// Where nobody has to log in the others are done with soon, so there connections wait.
func (n *Node) arrive(nc net.Conn, addr string, l *Limits) (now, kept bool) {
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
	a.waiting = append(a.waiting, nc)
	return false, true
}

// known uncounts one: it has proved itself, or is over. Who waits longest takes its place.
func (n *Node) known(addr string) {
	if addr == "" {
		return
	}
	n.mu.Lock()
	a := n.arrivals.byAddr[addr]
	var next net.Conn
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
	if next != nil && !n.spawn(func() { n.setUp(next, addr) }) { // ends with the handshake
		_ = next.Close()
		n.known(addr) // the node is closed, so nobody waits any more
	}
}

// turnAway closes those that wait. Needs mu, and Node.closed.
func (s *arrivals) turnAway() {
	for _, a := range s.byAddr {
		for _, nc := range a.waiting {
			_ = nc.Close()
		}
		a.waiting = nil
	}
}

// wantsLogin says whether a connection may be a stranger's after it was set up.
func (n *Node) wantsLogin() bool { return n.Portal != nil && n.Allow == nil }

// refusal says why arrive had no place.
func (n *Node) refusal() string {
	if n.wantsLogin() {
		return "connection refused: too many of this address are not logged in"
	}
	return "connection refused: too many of this address wait to be set up"
}

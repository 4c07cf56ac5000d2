package pb

import (
	"fmt"
	"net"

	"perspective/cred"
	"perspective/internal/prefix"
)

// A refusedError says that Allow did not let a peer in.
type refusedError struct {
	peer *cred.Peer
	err  error
}

func (e *refusedError) Error() string {
	return prefix.Once("pb: Allow refused the peer: " + e.err.Error())
}

// Unwrap gives what Allow returned.
func (e *refusedError) Unwrap() error { return e.err }

// toPeer is what the peer's calls fail with. What Allow returned is for the log of this side.
func (e *refusedError) toPeer() error {
	switch {
	case e.peer.NodeID != "":
		return fmt.Errorf(
			"%w: node id %s; have it added to what Node.Allow takes there, as cred.AllowKeys does",
			cred.ErrNotAllowed, e.peer.NodeID)
	case e.peer.HasUID:
		return fmt.Errorf(
			"%w: uid %d; have it added to what Node.Allow takes there, as cred.AllowUIDs does",
			cred.ErrNotAllowed, e.peer.UID)
	}
	return fmt.Errorf("%w: the connection proves no key; dial a pb:// URL for that",
		cred.ErrNotAllowed)
}

// logRefused logs that Allow refused the peer at addr, and what to do if it should have come in.
func (n *Node) logRefused(addr net.Addr, e *refusedError) {
	remedy := "if it should come in, let Node.Allow take what it proves; this connection proves " +
		"nothing"
	who := []any{"peer", addr}
	switch {
	case e.peer.NodeID != "":
		who = append(who, "node", e.peer.NodeID)
		remedy = "if it should come in, add the node id to what Node.Allow takes, as " +
			"cred.AllowKeys does"
	case e.peer.HasUID:
		who = append(who, "uid", e.peer.UID)
		remedy = "if it should come in, add the uid to what Node.Allow takes, as cred.AllowUIDs " +
			"does"
	}
	n.logger().Warn("connection refused", append(who, "err", e, "remedy", remedy)...)
}

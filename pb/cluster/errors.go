package cluster

import (
	"errors"

	"perspective/pb"
)

var (
	// ErrClosed is what a cluster gives after Shutdown or Close.
	ErrClosed = errors.New("cluster: it has ended")
	// ErrNotStarted refuses what needs a cluster that runs.
	ErrNotStarted = errors.New("cluster: not started yet")
	// ErrStarted refuses a second Start.
	ErrStarted = errors.New("cluster: it was started before")
	// ErrNoProvider is the error of a call on a Service that no provider could
	// be reached for in the time there was. The call was not executed.
	ErrNoProvider = errors.New("cluster: no provider could be reached")
	// ErrNoService is what a node answers that does not provide the service it
	// was asked for.
	ErrNoService = errors.New("cluster: this node has no such service")
	// ErrNotMember is what a node answers to a peer that did not prove to be a
	// member: it must know a gossip key, or be on the same machine if there is
	// none.
	ErrNotMember = errors.New("cluster: services are for members only")
	// ErrBadEntry refuses what a member says of itself: it is malformed, not
	// signed by that member, or names an address that is not allowed.
	ErrBadEntry = errors.New("cluster: bad entry of a member")
)

func init() {
	pb.RegisterError("cluster.ErrClosed", ErrClosed)
	pb.RegisterError("cluster.ErrNoService", ErrNoService)
	pb.RegisterError("cluster.ErrNotMember", ErrNotMember)
}

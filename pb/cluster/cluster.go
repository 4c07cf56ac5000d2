package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"perspective/internal/lines"
	"perspective/internal/prefix"
	"perspective/pb"
)

// A Cluster is one node's membership in a cluster. The zero value works: it
// keeps to this machine and has a node of its own. Fields must not be changed
// after Start; the methods may be called by several goroutines at once. It ends
// with Shutdown or Close, and cannot be started again.
type Cluster struct {
	// Node is the node that calls and serves; nil: one that ends with the
	// cluster. It must have no Root, RootFor or listener yet: the cluster makes
	// its directory of services the root. A process that serves others too does
	// so with a second Node, which may have the same Key. Allow, if set, says
	// which nodes can connect at all. A Portal without Allow is refused: members
	// do not log in.
	Node *pb.Node
	// Name is the cluster's; empty: DefaultName. Gossip of other clusters is
	// not heard.
	Name string
	// Bind is where gossip is heard, a literal IP:PORT that the other members
	// reach, UDP and TCP; empty: DefaultBind. Port 0 is a free one.
	Bind string
	// Listen is the pb URL that Node listens at for the other members, with a
	// literal address that they reach; empty: a free port at Bind's address.
	Listen string
	// GossipKey is the secret of GossipKeySize bytes that makes a node a
	// member. Nil: there is none, and Bind, Listen and Join must be addresses
	// of this machine alone, where then every process can join.
	GossipKey []byte
	// OtherKeys are understood beside GossipKey, which alone is used for
	// sending; see Rekey.
	OtherKeys [][]byte
	// Join are members to begin with, each as its Addr gives it: NODEID@IP:PORT.
	// None: others have to join this one. Those that are not there are tried
	// again, also after they have been lost.
	Join []string
	// Networks is where members may be; empty: anywhere. Without a GossipKey it
	// is this machine.
	Networks []netip.Prefix
	// Trust says which nodes may provide which services to this one. Nil: all
	// members may provide all. It is called by several goroutines at once; one that
	// panics or ends its goroutine denies.
	Trust func(nodeID, service string) bool
	// Attempt is the time for connecting to one provider and getting the
	// service from it, before the next is tried; zero: DefaultAttempt.
	Attempt time.Duration
	// Waiting is how many calls on services may wait at once until a provider is
	// found, over all services; zero: DefaultWaiting. More fail at once, not
	// executed, with pb.ErrOverloaded.
	Waiting int
	// Logger gets what an administrator should know; nil: Node's.
	Logger *slog.Logger

	lines  lines.Log
	turn   atomic.Uint64 // of the next Target
	queued atomic.Int64  // calls in the queues of all services
	roster roster
	trials trials
	moves  memberlist.TransmitLimitedQueue // what is to be told of members that have moved

	tune  func(*memberlist.Config) // of tests; nil: none
	retry time.Duration            // of tests; zero: rejoinEvery

	// These are set by Start, and read only after it has begun to run.
	set      settings
	node     *pb.Node
	id       string
	listener net.Listener
	at       netip.AddrPort         // of listener
	ring     *memberlist.Keyring    // nil without a key
	gossip   *memberlist.Memberlist // nil if it could not be made
	gossipAt netip.AddrPort
	//nolint:containedctx // of all that the cluster does by itself: it ends with the cluster
	life context.Context
	stop context.CancelFunc
	over chan struct{} // closed when nothing runs any more

	mu       sync.Mutex
	phase    phase
	services map[string]any
	revision uint64        // of this node's entry: see meta.go
	news     chan struct{} // holds one: the services have changed; nil before Start
	links    map[string]*link
	work     sync.WaitGroup // added to under mu, and not when ended
}

// phase is how far the life of a Cluster is.
type phase int

const (
	idle     phase = iota
	starting       // Start is making the parts
	running
	leaving // Shutdown is telling the others
	ended
)

// Addr is what other members put into Join to find this one: NODEID@IP:PORT.
// It is empty before Start.
func (c *Cluster) Addr() string {
	if c.reached(running) {
		return c.id + "@" + c.gossipAt.String()
	}
	return ""
}

// NodeID is the node id of this member. It is empty before Start.
func (c *Cluster) NodeID() string {
	if c.reached(running) {
		return c.id
	}
	return ""
}

// Members are the nodes that the gossip tells of, this one among them, in the
// order of their ids.
func (c *Cluster) Members() []Member {
	known := c.roster.all()
	members := make([]Member, len(known))
	for i, m := range known {
		members[i] = Member{
			NodeID:   m.nodeID,
			Addr:     m.addr,
			Services: slices.Clone(m.services),
			Ask:      m.ask,
		}
	}
	return members
}

// Rekey makes primary the key that this node seals with, and others those that
// it understands beside. A cluster changes its key in three rounds over all
// members, so that each always understands all: first the new key among the
// others, then the new one as primary and the old one among the others, then
// the new one alone. A cluster that was started without a key stays without.
func (c *Cluster) Rekey(primary []byte, others ...[]byte) error {
	if !c.reached(running) {
		return ErrNotStarted
	}
	if c.ring == nil {
		return errors.New("cluster: it was started without a gossip key and keeps to this " +
			"machine; start it with one")
	}
	keys := append([][]byte{primary}, others...)
	for _, k := range keys {
		if len(k) != GossipKeySize {
			return fmt.Errorf("cluster: a gossip key has %d bytes: it must have %d",
				len(k), GossipKeySize)
		}
	}
	for _, k := range keys {
		if err := c.ring.AddKey(bytes.Clone(k)); err != nil {
			return prefix.Errorf("cluster: %w", err)
		}
	}
	if err := c.ring.UseKey(primary); err != nil {
		return prefix.Errorf("cluster: %w", err)
	}
	for _, old := range c.ring.GetKeys() {
		if !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, old) }) {
			if err := c.ring.RemoveKey(old); err != nil {
				return prefix.Errorf("cluster: %w", err)
			}
		}
	}
	return nil
}

// reached says whether the cluster has come at least so far. It was not so far
// if it ended before.
func (c *Cluster) reached(p phase) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.phase >= p && c.gossip != nil
}

// spawn runs f on a goroutine that the end of the cluster waits for.
func (c *Cluster) spawn(f func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spawnLocked(f)
}

// spawnLocked is spawn for a caller that holds mu.
func (c *Cluster) spawnLocked(f func()) error {
	switch c.phase {
	case idle, starting:
		return ErrNotStarted
	case ended:
		return ErrClosed
	case running, leaving:
		c.work.Go(f)
	}
	return nil
}

// enter lets a call of memberlist's in, whose timers and goroutines can outlive
// its end: false after the end of the cluster, which waits for leave.
func (c *Cluster) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == ended {
		return false
	}
	c.work.Add(1)
	return true
}

// leave takes back an enter.
func (c *Cluster) leave() { c.work.Done() }

func (c *Cluster) log() *slog.Logger {
	if c.Logger == nil && c.Node != nil {
		return c.lines.Logger(c.Node.Logger)
	}
	return c.lines.Logger(c.Logger)
}

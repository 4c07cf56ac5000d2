package cluster

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"perspective/pb"
)

// Hurry makes a cluster find out about others fast, for tests. Call it before
// Start.
func (c *Cluster) Hurry() *Cluster {
	c.retry = 100 * time.Millisecond
	before := c.tune
	c.tune = func(config *memberlist.Config) {
		config.GossipInterval = 10 * time.Millisecond
		config.ProbeInterval = 100 * time.Millisecond
		config.ProbeTimeout = 50 * time.Millisecond
		config.PushPullInterval = 300 * time.Millisecond
		config.SuspicionMult = 2
		config.TCPTimeout = 500 * time.Millisecond
		if before != nil {
			before(config)
		}
	}
	return c
}

// NeverDead has the gossip of a cluster suspect for longer than a test runs, and
// believe nobody dead. Call it before Hurry.
func (c *Cluster) NeverDead() {
	c.tune = func(config *memberlist.Config) { config.SuspicionMult = 10_000 }
}

// Until waits until the members are as is says.
func (c *Cluster) Until(ctx context.Context, is func([]Member) bool) error {
	for {
		next := c.roster.next()
		if is(c.Members()) {
			return nil
		}
		if _, err := next.Wait(ctx); err != nil {
			return err
		}
	}
}

// signed counts the entries of SignEntry, so that no two have one revision.
var signed atomic.Uint64

// SignEntry makes a node's entry for a cluster, newer than those before.
func SignEntry(
	node *pb.Node, cluster string, at, gossip netip.AddrPort, services ...string,
) ([]byte, error) {
	revision := uint64(time.Now().UnixMilli()) + signed.Add(1)
	return entry{revision: revision, addr: at, services: services}.sign(node, cluster, gossip)
}

// Forge puts a member into the roster without a check of its signature.
func (c *Cluster) Forge(nodeID string, at netip.AddrPort, services ...string) {
	c.roster.set(&member{nodeID: nodeID, entry: entry{addr: at, services: services}})
}

// Forget takes a member out, as if the gossip had believed it dead.
func (c *Cluster) Forget(nodeID string) {
	_ = c.roster.remove(nodeID)
	c.checkLink(nodeID)
}

// HearConflict has the gossip hear of a node from another address than it has.
func (c *Cluster) HearConflict(n *memberlist.Node) { (&gossip{c: c}).NotifyConflict(nil, n) }

// HearMoved has it hear from another member that a node has moved.
func (c *Cluster) HearMoved(n *memberlist.Node) {
	ip, _ := netip.AddrFromSlice(n.Addr)
	m := &member{nodeID: n.Name, gossip: netip.AddrPortFrom(ip.Unmap(), n.Port), meta: n.Meta}
	(&gossip{c: c}).NotifyMsg(tellMoved(m).Message())
}

// Proof is what a member proves its membership with.
func Proof(key []byte, cluster, nodeID string, binding []byte) []byte {
	return proofOf(key, cluster, nodeID, binding)
}

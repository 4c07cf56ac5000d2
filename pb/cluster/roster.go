package cluster

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"perspective/cred"
	"perspective/pb"
)

// A Member is a node of the cluster as the gossip tells of it: a hint. The node
// has signed it, but may have gone since.
type Member struct {
	// NodeID is the hash of its key.
	NodeID string
	// Addr is where it listens for pb.
	Addr netip.AddrPort
	// Services are the names of what it provides, in order, if Ask is false.
	Services []string
	// Ask says that it provides more than the gossip can carry: only the node
	// itself knows what.
	Ask bool
}

// member is a Member with what only this package needs.
type member struct {
	nodeID string
	gossip netip.AddrPort
	meta   []byte // as it was signed
	entry
}

// offers says whether the member may have the service, and whether it says so.
func (m *member) offers(service string) (may, says bool) {
	_, says = slices.BinarySearch(m.services, service)
	return says || m.ask, says
}

// movedFor is how long a node is looked for at an address that the gossip has not taken up, since
// it was last heard of there.
const movedFor = 30 * time.Second

// roster is the members this node knows of. The gossip writes it, any goroutine reads it. Its zero
// value is empty.
type roster struct {
	epoch atomic.Uint64 // counts the changes

	mu      sync.Mutex
	members map[string]*member // as memberlist has them
	// moved has members that announced a new address; an entry here overrides the one in members.
	// memberlist drops what a node says from a new address while it believes that the old one
	// lives, which takes it seconds to find out.
	moved   map[string]movedTo
	changed *pb.Deferred[struct{}] // fires at the next change; nil if nobody waits
}

// movedTo is a member at an address that memberlist has not taken up.
type movedTo struct {
	*member
	heard time.Time // the last time
}

// set puts a member in, in place of what was known of it.
func (r *roster) set(m *member) (isNew bool) {
	r.mu.Lock()
	if r.members == nil {
		r.members = make(map[string]*member)
	}
	isNew = r.getLocked(m.nodeID) == nil
	r.members[m.nodeID] = m
	if moved := r.moved[m.nodeID].member; moved != nil && moved.revision <= m.revision {
		delete(r.moved, m.nodeID)
	}
	r.change()
	return isNew
}

// move puts a member in that was heard of at another address than memberlist has, if what it says
// is the newest. It says whether that was news.
func (r *roster) move(m *member, now time.Time) bool {
	r.mu.Lock()
	r.settleLocked(now)
	// memberlist already has it at this address.
	if old := r.members[m.nodeID]; old != nil && old.gossip == m.gossip {
		r.mu.Unlock()
		return false
	}
	if known := r.getLocked(m.nodeID); known != nil && known.revision >= m.revision {
		if r.moved[m.nodeID].member == m {
			r.moved[m.nodeID] = movedTo{m, now}
		}
		r.mu.Unlock()
		return false
	}
	if r.moved == nil {
		r.moved = make(map[string]movedTo)
	}
	r.moved[m.nodeID] = movedTo{m, now}
	r.change()
	return true
}

// settleLocked drops the entries of moved that were not heard of for movedFor. Each method that
// reads the members calls it first. The caller holds mu.
func (r *roster) settleLocked(now time.Time) {
	for id, m := range r.moved {
		if now.Sub(m.heard) > movedFor {
			delete(r.moved, id)
		}
	}
}

// remove takes a member out; false if it lives on at another address.
func (r *roster) remove(nodeID string) (gone bool) {
	r.mu.Lock()
	r.settleLocked(time.Now())
	delete(r.members, nodeID)
	gone = r.moved[nodeID].member == nil
	r.change()
	return gone
}

// change wakes the waiters. It unlocks mu, which the caller holds.
func (r *roster) change() {
	r.epoch.Add(1)
	d := r.changed
	r.changed = nil
	r.mu.Unlock()
	if d != nil {
		d.Callback(struct{}{})
	}
}

// next fires when something has changed since the call. To wait for something,
// call next, look, then wait.
func (r *roster) next() *pb.Deferred[struct{}] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed == nil {
		r.changed = &pb.Deferred[struct{}]{}
	}
	return r.changed
}

func (r *roster) get(nodeID string) *member {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settleLocked(time.Now())
	return r.getLocked(nodeID)
}

func (r *roster) getLocked(nodeID string) *member {
	if m := r.moved[nodeID].member; m != nil {
		return m
	}
	return r.members[nodeID]
}

// count is how many members there are, or a few more.
func (r *roster) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.members) + len(r.moved)
}

// all gives the members in the order of their ids.
func (r *roster) all() []*member {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settleLocked(time.Now())
	all := make([]*member, 0, len(r.members)+len(r.moved))
	for id, m := range r.members {
		if r.moved[id].member == nil {
			all = append(all, m)
		}
	}
	for _, m := range r.moved {
		all = append(all, m.member)
	}
	slices.SortFunc(all, func(a, b *member) int { return strings.Compare(a.nodeID, b.nodeID) })
	return all
}

// gossip is the delegate of memberlist, which calls its methods with a lock held: none of them may
// wait, nor call memberlist.
type gossip struct {
	c      *Cluster
	config *memberlist.Config // BindPort is the real one once it listens
}

// memberFrom reads what the gossip says of a node, if that node has signed it.
func (g *gossip) memberFrom(n *memberlist.Node) (*member, error) {
	ip, ok := netip.AddrFromSlice(n.Addr)
	if !ok {
		return nil, fmt.Errorf("%w: gossip address", ErrBadEntry)
	}
	at := netip.AddrPortFrom(ip.Unmap(), n.Port)
	if known := g.c.roster.get(n.Name); known != nil && known.gossip == at &&
		bytes.Equal(known.meta, n.Meta) {
		return known, nil
	}
	if _, err := cred.ParseNodeID(n.Name); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadEntry, err)
	}
	if err := verify(n.Meta, n.Name, g.c.set.name, at); err != nil {
		return nil, err
	}
	e, err := decode(n.Meta)
	if err != nil {
		return nil, err
	}
	return &member{nodeID: n.Name, gossip: at, meta: bytes.Clone(n.Meta), entry: e}, nil
}

// NotifyAlive accepts a node that has signed its entry and whose address is allowed.
func (g *gossip) NotifyAlive(n *memberlist.Node) error {
	m, err := g.memberFrom(n)
	if err == nil && !g.c.set.allows(m.addr.Addr()) {
		err = fmt.Errorf("%w: members may not be at %v", ErrBadEntry, m.addr.Addr())
	}
	return err
}

// NotifyMerge refuses the whole list of a node that brings a forged entry: an honest one has none.
func (g *gossip) NotifyMerge(all []*memberlist.Node) error {
	for _, n := range all {
		if _, err := g.memberFrom(n); err != nil {
			return err
		}
	}
	return nil
}

// NotifyJoin is called for a member that has come, or come back.
func (g *gossip) NotifyJoin(n *memberlist.Node) { g.NotifyUpdate(n) }

// NotifyUpdate is called for a member that has changed its entry. NotifyAlive has accepted it.
func (g *gossip) NotifyUpdate(n *memberlist.Node) {
	if !g.c.enter() {
		return
	}
	defer g.c.leave()
	m, err := g.memberFrom(n)
	if err != nil {
		return
	}
	if g.c.roster.set(m) {
		g.c.log().Info("member came", "member", m.nodeID, "addr", m.addr)
	}
	if now := g.c.roster.get(m.nodeID); now != nil {
		g.c.moveLink(now)
	}
}

// NotifyLeave is called for a member that has left, or that memberlist believes dead.
func (g *gossip) NotifyLeave(n *memberlist.Node) {
	if !g.c.enter() {
		return
	}
	defer g.c.leave()
	if g.c.roster.remove(n.Name) {
		g.c.log().Info("member went", "member", n.Name)
	}
	g.c.checkLink(n.Name)
}

// NodeMeta gives this node's own entry.
func (g *gossip) NodeMeta(int) []byte {
	port := uint16(g.config.BindPort) //nolint:gosec // a port
	meta, err := g.c.entry().sign(g.c.node, g.c.set.name,
		netip.AddrPortFrom(g.c.set.bind.Addr(), port))
	if err != nil {
		return nil // nobody will believe it
	}
	return meta
}

// LocalState has nothing to say beyond the entry.
func (g *gossip) LocalState(bool) []byte { return nil }

// MergeRemoteState drops what other programs with the key send.
func (g *gossip) MergeRemoteState([]byte, bool) {}

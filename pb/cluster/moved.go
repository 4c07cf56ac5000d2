package cluster

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// Members tell each other of a member that has moved in a message of its own, for memberlist passes
// on no entry that it drops. A receiver to which it is news passes it on. Its bytes are
//
//	version    1 byte, 1
//	node       1 byte length, and the node id
//	ip         1 byte 4 or 16, and that many bytes
//	port       2 bytes, big-endian; both of the gossip
//	entry      the rest
//
// The receiver believes it for the entry's signature, which covers the gossip address too. The
// sender does not matter.

const (
	movedVersion = 1
	// movedTold is how often a member tells of one, times the logarithm of the number of members.
	movedTold = 4
)

// movedMessage is a message that tells of a member, named after its node: a later one is sent in
// its place.
type movedMessage struct {
	nodeID string
	bytes  []byte
}

func (b movedMessage) Name() string    { return b.nodeID }
func (b movedMessage) Message() []byte { return b.bytes }
func (movedMessage) Finished()         {}

// Invalidates says whether other tells of the same node.
func (b movedMessage) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(movedMessage)
	return ok && o.nodeID == b.nodeID
}

// tellMoved gives the message that tells of a member.
func tellMoved(m *member) movedMessage {
	ip := m.gossip.Addr().AsSlice()
	//nolint:gosec // node ids are short
	b := append([]byte{movedVersion, byte(len(m.nodeID))}, m.nodeID...)
	b = append(append(b, byte(len(ip))), ip...) //nolint:gosec // 4 or 16
	b = binary.BigEndian.AppendUint16(b, m.gossip.Port())
	return movedMessage{m.nodeID, append(b, m.meta...)}
}

// hearMoved reads a message that tells of a member, of which nothing is believed yet.
func hearMoved(b []byte) (*memberlist.Node, error) {
	r := metaReader{left: b}
	version := r.byte()
	name := string(r.take(int(r.byte())))
	ip, ok := netip.AddrFromSlice(r.take(int(r.byte())))
	port := r.take(2)
	if r.short || version != movedVersion || !ok || ip.Is4In6() {
		return nil, fmt.Errorf("%w: message of %d bytes, version %d", ErrBadEntry, len(b), version)
	}
	return &memberlist.Node{
		Name: name,
		Addr: ip.AsSlice(),
		Port: binary.BigEndian.Uint16(port),
		Meta: r.left,
	}, nil
}

// NotifyConflict is told of an entry from another gossip address than its node has, when
// NotifyAlive has let it in and before memberlist drops it: the node has come back elsewhere, and
// memberlist believes that the old one lives. What the node says last is believed at once.
func (g *gossip) NotifyConflict(_, other *memberlist.Node) {
	if other.Name == g.c.id || !g.c.enter() {
		return
	}
	defer g.c.leave()
	g.move(other)
}

// NotifyMsg hears of a member that has moved. It drops what else programs with the key send.
func (g *gossip) NotifyMsg(b []byte) {
	n, err := hearMoved(b)
	if err != nil || n.Name == g.c.id || !g.c.enter() {
		return
	}
	defer g.c.leave()
	if g.c.roster.get(n.Name) == nil {
		return // no member
	}
	g.move(n)
}

// move takes up where a member has moved to, and tells the others, if the member says so and that
// is news.
func (g *gossip) move(n *memberlist.Node) {
	m, err := g.memberFrom(n)
	if err != nil || !g.c.set.allows(m.gossip.Addr()) || !g.c.set.allows(m.addr.Addr()) ||
		!g.c.roster.move(m, time.Now()) {
		return
	}
	g.c.log().Info("member moved", "member", m.nodeID, "addr", m.addr)
	g.c.moves.QueueBroadcast(tellMoved(m))
	g.c.moveLink(m)
}

// GetBroadcasts gives what is to be told of members that have moved.
func (g *gossip) GetBroadcasts(overhead, limit int) [][]byte {
	return g.c.moves.GetBroadcasts(overhead, limit)
}

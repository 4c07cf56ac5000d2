package cluster

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"perspective/cred"
	"perspective/pb"
)

// Register provides obj as the named service: members that ask for the name get
// a reference to it. obj is anything that crosses by reference; a
// *pb.RemoteReference lends on what another node has. It may be called before
// Start. The other members hear of it within a moment.
//
// Names are 1 to 64 letters, digits, dots, dashes and underscores. Register
// panics if peers could call nothing on obj, with the reason.
func (c *Cluster) Register(name string, obj any) error {
	if !validName(name) {
		return fmt.Errorf("cluster: service name %q: want 1 to %d letters, digits, dots, dashes "+
			"or underscores", name, maxName)
	}
	if _, remote := obj.(*pb.RemoteReference); !remote {
		pb.Methods(obj)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == ended {
		return ErrClosed
	}
	if _, taken := c.services[name]; taken {
		return fmt.Errorf("cluster: service %q is registered already", name)
	}
	if c.services == nil {
		c.services = make(map[string]any)
	}
	c.services[name] = obj
	c.announceLocked()
	return nil
}

// Unregister takes a service back: no node gets it any more, and a Target that has it moves to
// another provider for the next call if there is one. References that were given out stay good. A
// name that is not registered is no error.
func (c *Cluster) Unregister(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.services[name]; ok {
		delete(c.services, name)
		c.announceLocked()
	}
}

// announceLocked has the others told of the services. The caller holds mu.
func (c *Cluster) announceLocked() {
	c.reviseLocked()
	select {
	case c.news <- struct{}{}: // nil before Start
	default:
	}
}

// reviseLocked gives this node's entry a revision above all that it had, also in processes before
// this one: its clock tells them apart. After a clock was set back, a node that moves is found when
// the gossip believes the old one dead. The caller holds mu.
func (c *Cluster) reviseLocked() {
	c.revision = max(c.revision+1, uint64(max(time.Now().UnixMilli(), 0)))
}

// entry is what this node says of itself now.
func (c *Cluster) entry() entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return entry{revision: c.revision, addr: c.at, services: slices.Sorted(maps.Keys(c.services))}
}

// directory is the root of the cluster's node: where members ask for services.
type directory struct {
	pb.Referenceable
	pb.Concurrent
	c *Cluster
}

// RemoteService gives a service to a member. proof is what prove made on the
// other side of this connection.
func (d *directory) RemoteService(ctx context.Context, name string, proof []byte) (any, error) {
	c := d.c
	peer := pb.ConnFrom(ctx).Peer()
	if !c.admits(&peer, proof) {
		c.log().Warn("service refused: the peer has proved no membership", "service",
			name[:min(len(name), maxName)], "peer", peer.String())
		return nil, ErrNotMember
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == ended {
		return nil, ErrClosed
	}
	if obj, ok := c.services[name]; ok {
		return obj, nil
	}
	return nil, ErrNoService
}

// prove makes the proof that this node knows the gossip key, good for one
// connection and one direction. Without a key there is nothing to prove.
func (c *Cluster) prove(conn *pb.Conn) []byte {
	if c.ring == nil {
		return nil
	}
	return proofOf(c.ring.GetPrimaryKey(), c.set.name, c.id, conn.Peer().Binding)
}

// admits says whether a peer has proved to be a member.
func (c *Cluster) admits(peer *cred.Peer, proof []byte) bool {
	if c.ring == nil {
		at, ok := peer.Addr.(*net.TCPAddr)
		return ok && at.IP.IsLoopback()
	}
	if peer.NodeID == "" || len(peer.Binding) == 0 {
		return false
	}
	for _, key := range c.ring.GetKeys() {
		if hmac.Equal(proof, proofOf(key, c.set.name, peer.NodeID, peer.Binding)) {
			return true
		}
	}
	return false
}

// proofOf binds the key to the cluster, to the proving node and to the TLS session (channel
// binding), so that the proof can neither be relayed nor reflected.
func proofOf(key []byte, cluster, nodeID string, binding []byte) []byte {
	mac := hmac.New(sha256.New, key)
	for _, part := range [][]byte{[]byte("perspective cluster member 1"), []byte(cluster),
		[]byte(nodeID), binding} {
		mac.Write([]byte{byte(len(part))}) //nolint:gosec // each is short, or of one length
		mac.Write(part)
	}
	return mac.Sum(nil)
}

package cluster

import (
	"context"
	"net/netip"
	"time"

	"perspective/internal/prefix"
	"perspective/pb"
)

// signOfLife is the time that a member which the gossip believes dead has to
// answer over its connection.
const signOfLife = 2 * time.Second

// link is the connection to a member that this node has opened, or is opening.
type link struct {
	pb.Deferred[*pb.Conn]
	addr    netip.AddrPort
	opening context.Context //nolint:containedctx // of the opening alone
	stop    context.CancelFunc
}

// connect gives the one connection to a member at its address that this node has
// opened, opening it if need be. ctx rules only the waiting.
func (c *Cluster) connect(ctx context.Context, m *member) (*pb.Conn, error) {
	c.mu.Lock()
	to := c.links[m.nodeID]
	// A link to another address is one to another process, which ends by itself.
	if to == nil || to.addr != m.addr || to.hasEnded() {
		to = &link{addr: m.addr}
		//nolint:contextcheck // the connection outlives the call
		to.opening, to.stop = context.WithTimeout(c.life, c.set.attempt)
		//nolint:contextcheck // as above
		if err := c.spawnLocked(func() { c.keep(m, to) }); err != nil {
			c.mu.Unlock()
			to.stop()
			return nil, err
		}
		if c.links == nil {
			c.links = make(map[string]*link)
		}
		c.links[m.nodeID] = to
	}
	c.mu.Unlock()
	conn, err := to.Wait(ctx)
	if err != nil {
		return nil, err
	}
	return conn, conn.Err()
}

// hasEnded says whether a link is of no use any more; keep is about to find out.
func (l *link) hasEnded() bool {
	conn, err, fired := l.Result()
	return fired && (err != nil || conn.Err() != nil)
}

// keep opens a connection and ends with it.
func (c *Cluster) keep(m *member, to *link) {
	// The node id in the URL is what counts: the dial fails unless the peer proves that key.
	conn, err := c.node.Dial(to.opening,
		pb.Address{Scheme: "pb", NodeID: m.nodeID, Host: m.addr.String()}.String())
	to.stop()
	if err != nil {
		c.unlink(m.nodeID, to)
		to.Errback(err)
		return
	}
	stop := context.AfterFunc(c.life, func() { _ = conn.Close() })
	to.Callback(conn)
	<-conn.Done()
	stop()
	c.unlink(m.nodeID, to)
	c.log().Debug("connection to a member ended", "member", m.nodeID, "err", conn.Err())
}

func (c *Cluster) unlink(nodeID string, to *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.links[nodeID] == to {
		delete(c.links, nodeID)
	}
}

// moveLink has a member that is at another address than before waited for there alone: a connection
// that is being opened to the old address could take its whole time, and one that stands may be to
// a process that is no more.
func (c *Cluster) moveLink(m *member) {
	c.mu.Lock()
	to := c.links[m.nodeID]
	c.mu.Unlock()
	if to != nil && to.addr != m.addr {
		to.stop() // of no effect when it stands
		c.checkLink(m.nodeID)
	}
}

// checkLink asks a member that is said to be gone whether it lives, if there is
// a connection, and ends that if no answer comes. What answers is kept: gossip
// alone ends no connection.
func (c *Cluster) checkLink(nodeID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	link := c.links[nodeID]
	if link == nil {
		return
	}
	conn, err, fired := link.Result()
	if !fired || err != nil {
		return
	}
	_ = c.spawnLocked(func() { // ends within signOfLife; after the end there is nothing to check
		ctx, cancel := context.WithTimeout(c.life, signOfLife)
		defer cancel()
		if err := conn.Sync(ctx); err != nil && conn.Err() == nil {
			c.log().Warn("connection closed: the member is said to be gone and does not answer",
				"member", nodeID, "err", err)
			_ = conn.Close()
		}
	})
}

// liveLinks gives the connections that stand.
func (c *Cluster) liveLinks() []*pb.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	var conns []*pb.Conn
	for _, link := range c.links {
		if conn, err, fired := link.Result(); fired && err == nil {
			conns = append(conns, conn)
		}
	}
	return conns
}

// ask has a member give the named service, and remembers how that went.
func (c *Cluster) ask(ctx context.Context, m *member, service string) (*pb.RemoteReference, error) {
	trying, cancel := context.WithTimeout(ctx, c.set.attempt)
	defer cancel()
	conn, err := c.connect(trying, m)
	if err != nil {
		if ctx.Err() == nil {
			c.trials.fail(m.nodeID, time.Now())
		}
		return nil, prefix.Errorf("cluster: member %s: %w", m.nodeID, err)
	}
	c.trials.forgive(m.nodeID)
	ref, err := pb.Do[*pb.RemoteReference](trying, conn.Root(), "Service", service, c.prove(conn))
	switch {
	case err == nil:
		c.trials.forgive(trialOf(m.nodeID, service))
	case ctx.Err() == nil:
		c.trials.fail(trialOf(m.nodeID, service), time.Now())
	}
	return ref, err
}

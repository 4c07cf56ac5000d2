package cluster

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"perspective/internal/prefix"
	"perspective/pb"
)

// farewell bounds the wait for a member that the leaving can be told to.
const farewell = time.Second

// Start listens, begins to gossip and tries each address of Join once. It does
// not fail because nobody is there: it goes on trying until the cluster ends.
// An error means that the fields or this machine are at fault, or that ctx
// ended; nothing is left behind then, and the Cluster is of no more use. ctx
// rules only Start itself, which outlasts it by five seconds at most.
func (c *Cluster) Start(ctx context.Context) error {
	c.mu.Lock()
	if c.phase != idle {
		defer c.mu.Unlock()
		if c.phase == ended {
			return ErrClosed
		}
		return ErrStarted
	}
	c.phase = starting
	c.news = make(chan struct{}, 1)
	c.over = make(chan struct{})
	c.reviseLocked()
	c.mu.Unlock()
	c.life, c.stop = context.WithCancel(context.Background())
	if err := c.open(); err != nil {
		c.finish()
		return err
	}
	if !c.run() { // Close was faster
		c.finish()
		return ErrClosed
	}
	c.joinAll(ctx, slog.LevelWarn)
	switch {
	case c.life.Err() != nil: // Close came meanwhile
		return ErrClosed
	case ctx.Err() != nil:
		_ = c.Close()
		return prefix.Errorf("cluster: start: %w", context.Cause(ctx))
	}
	return nil
}

// open makes the parts: the node, its listener, the gossip.
func (c *Cluster) open() (err error) {
	if c.set, err = c.settings(); err != nil {
		return err
	}
	if c.node = c.Node; c.node == nil {
		c.node = &pb.Node{Logger: c.Logger}
	}
	if c.node.Root != nil || c.node.RootFor != nil {
		return errors.New("cluster: Node has a root: the cluster is the root of its node, use " +
			"another Node for yours")
	}
	if c.node.Portal != nil && c.node.Allow == nil {
		return errors.New(
			"cluster: Node has a Portal and no Allow: members do not log in, use another Node")
	}
	if c.id, err = c.node.ID(); err != nil {
		return prefix.Errorf("cluster: %w", err)
	}
	if c.ring, err = newKeyring(c.GossipKey, c.OtherKeys); err != nil {
		return prefix.Errorf("cluster: %w", err)
	}
	if c.listener, err = c.node.Listen(c.set.listen); err != nil {
		return prefix.Errorf("cluster: %w", err)
	}
	if c.at, err = literal(c.listener.Addr().String()); err != nil {
		return prefix.Errorf("cluster: Listen: %w", err)
	}
	c.moves.NumNodes, c.moves.RetransmitMult = c.roster.count, movedTold
	g := &gossip{c: c}
	g.config = c.set.gossipConfig(c.id, c.ring, g, c.log())
	if c.tune != nil {
		c.tune(g.config)
	}
	made, err := memberlist.Create(g.config)
	if err != nil {
		return prefix.Errorf("cluster: gossip at %v: %w", c.set.bind, err)
	}
	//nolint:gosec // a port
	c.gossipAt = netip.AddrPortFrom(c.set.bind.Addr(), uint16(g.config.BindPort))
	c.node.Root = &directory{c: c}
	c.mu.Lock()
	c.gossip = made
	c.mu.Unlock()
	return nil
}

// run starts what the cluster does by itself; false if it has been closed.
func (c *Cluster) run() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == ended {
		return false
	}
	c.phase = running
	c.work.Go(c.serve)    // ends when the listener is closed
	c.work.Go(c.announce) // ends with life
	c.work.Go(c.rejoin)   // ends with life
	return true
}

// serve lets the other members in.
func (c *Cluster) serve() {
	err := c.node.Serve(c.listener)
	if c.life.Err() == nil {
		c.log().Warn("members can not connect any more: the listener has ended", "err", err)
	}
}

// announce tells the others when the services have changed. Two changes at once
// could be told in the wrong order, so nobody else does.
func (c *Cluster) announce() {
	for {
		select {
		case <-c.news:
		case <-c.life.Done():
			return
		}
		c.mu.Lock()
		here := c.phase == running
		c.mu.Unlock()
		if !here {
			continue // memberlist knows nothing of this node when it has left
		}
		// It is on its way when UpdateNode begins to wait for its arrival, which
		// nobody here needs; only a time above zero keeps it from waiting for ever.
		_ = c.gossip.UpdateNode(time.Nanosecond)
	}
}

// rejoin looks after lost members of Join: the gossip forgets those that have
// been away for long.
func (c *Cluster) rejoin() {
	if len(c.set.join) == 0 {
		return
	}
	every := c.retry
	if every <= 0 {
		every = rejoinEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.joinAll(c.life, slog.LevelDebug)
		case <-c.life.Done():
			return
		}
	}
}

// joinAll tries those of Join that are no members, and logs failures at level.
func (c *Cluster) joinAll(ctx context.Context, level slog.Level) {
	for _, to := range c.set.join {
		if ctx.Err() != nil || c.life.Err() != nil {
			return
		}
		if to.nodeID == c.id || c.roster.get(to.nodeID) != nil {
			continue
		}
		_, err := c.gossip.Join([]string{to.String()})
		if err == nil && c.roster.get(to.nodeID) == nil {
			err = errors.New("another node is there, or one of another cluster")
		}
		if err != nil {
			c.log().Log(ctx, level, "could not join; trying again", "member", to.nodeID, "addr",
				to.addr, "err", err)
		}
	}
}

// Shutdown leaves in order:
//
//  1. It tells the other members, which turn to other providers.
//  2. It waits for the answers to this node's calls to services.
//  3. It ends.
//
// Calls that other members have made are answered by Node, which lives on: call its Shutdown next.
// When ctx ends first, Shutdown ends as Close does and returns ctx's error.
func (c *Cluster) Shutdown(ctx context.Context) error {
	c.mu.Lock()
	if c.phase != running {
		c.mu.Unlock()
		return c.Close()
	}
	c.phase = leaving
	c.mu.Unlock()
	defer c.finish()
	timeout := farewell
	if end, ok := ctx.Deadline(); ok {
		timeout = max(min(timeout, time.Until(end)), time.Millisecond) // zero is no end
	}
	if err := c.gossip.Leave(timeout); err != nil {
		c.log().Debug("left without a word", "err", err)
	}
	conns := c.liveLinks()
	errs := make([]error, len(conns))
	var wg sync.WaitGroup
	for i, conn := range conns {
		wg.Go(func() { errs[i] = conn.Shutdown(ctx) }) // ends with ctx
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Close ends the cluster at once: calls to services fail, and the others find
// out by themselves. It returns when nothing of the cluster runs any more, but
// the Node, if it was given one, with what others have opened to it. A Shutdown
// under way is waited for.
func (c *Cluster) Close() error {
	c.mu.Lock()
	was, over := c.phase, c.over
	if was == idle || was == starting || was == running {
		c.phase = ended
	}
	c.mu.Unlock()
	switch {
	case over == nil: // it was never started
	case was == running:
		c.finish()
	default: // Start, Shutdown or another Close does it
		<-over
	}
	return nil
}

// finish ends everything, once.
func (c *Cluster) finish() {
	c.mu.Lock()
	c.phase = ended
	c.mu.Unlock()
	c.stop()
	if c.gossip != nil {
		if err := c.gossip.Shutdown(); err != nil {
			c.log().Debug("gossip ended badly", "err", err)
		}
	}
	if c.listener != nil {
		_ = c.listener.Close()
	}
	c.work.Wait()
	if c.Node == nil && c.node != nil {
		_ = c.node.Close()
	}
	close(c.over)
}

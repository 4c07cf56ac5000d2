package pb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"perspective/broker"
	"perspective/cred"
	"perspective/internal/guard"
	"perspective/internal/lines"
	"perspective/internal/prefix"
	"perspective/jelly"
)

// A Conn is one connection to a peer. Both sides call each other over it. Its
// methods may be called by several goroutines at once. It ends with Close, with
// its Node, or when the peer or the network ends it; Done is closed then.
type Conn struct {
	node   *Node
	broker *broker.Broker
	name   string // of the peer, for people
	peer   cred.Peer
	log    *slog.Logger
	around *surroundings
	errors errorCodec
	root   *RemoteReference
	boot   *RemoteReference
	// refusal is set if Allow did not let the peer in: it lives on for Limits.Login, or until the
	// peer leaves, so that each call of the peer's is told so.
	refusal *refusedError
	ready   chan struct{} // closed when broker is set: calls may come before New returns
	choose  sync.Once     // of chosen, the node's root for this connection
	chosen  any
	noRoot  error // why there is none: RootFor failed
	direct  directCalls

	mu       sync.Mutex
	sessions []*session
	trusted  bool // the limits for strangers do not hold
	admitted bool // the root may be called
	guest    bool // the root may be called for a login alone
	// shut: the last login has ended. It is set with admitted, for a goroutine that reads without
	// mu.
	shut  atomic.Bool
	known func()
	timer *time.Timer
	ended bool
}

// connect makes a Conn: proof of identity, the node's Allow, then the broker. served says that
// it came to Serve, which has nobody but the peer to tell that it was refused.
//
//nolint:funlen // one step after another
func (n *Node) connect(
	ctx context.Context, rwc io.ReadWriteCloser, side Side, known func(), served bool,
) (_ *Conn, err error) {
	rwc = n.guarded(rwc)
	stop := context.AfterFunc(ctx, func() { _ = rwc.Close() })
	defer stop()
	kept := false // what was refused lives on to be told so
	defer func() {
		if err != nil && !kept {
			_ = rwc.Close()
		}
	}()
	var peer *cred.Peer
	err = guard.Run(func() (err error) { // the functions of Node.TLS are a program's too
		peer, err = peerOf(ctx, rwc, side)
		return err
	})
	if err != nil {
		return nil, n.fault("Node.TLS", addrOf(rwc), err)
	}
	var refusal *refusedError
	if n.Allow != nil {
		err := guard.Run(func() error { return n.Allow(ctx, peer) })
		if err != nil {
			refusal = &refusedError{peer: peer,
				err: n.fault("Node.Allow", peerName(rwc, peer), err)}
		}
		//nolint:errorlint // guard gives it bare; methods of others are not asked
		_, broken := err.(*guard.PanicError)
		if refusal != nil && (broken || !served) {
			return nil, refusal
		}
	}
	if err := n.check(); err != nil {
		return nil, err
	}
	limits := n.Limits.withDefaults()
	n.watchUnseen()
	c := &Conn{
		node:  n,
		peer:  *peer,
		name:  peerName(rwc, peer),
		known: known,
		ready: make(chan struct{}),
	}
	c.log = n.logger().With("conn", c.name)
	if addr := addrOf(rwc); addr != "" && addr != c.name {
		c.log = c.log.With("addr", addr)
	}
	c.around = &surroundings{
		logger:   c.log,
		around:   n.Around,
		types:    n.Types,
		peer:     c.name,
		conn:     c,
		released: c.released,
	}
	c.errors = errorCodec{tracebacks: n.UnsafeTracebacks, with: c.around}
	c.refusal = refusal
	c.admitted = (n.Allow != nil || n.Portal == nil) && refusal == nil
	c.guest = !c.admitted
	c.trusted = (c.admitted || peer.HasUID || side == Dialer) && refusal == nil
	base, err := n.contextOf(c)
	if err != nil {
		return nil, err
	}
	config := broker.Config{
		Dialer:   side == Dialer,
		Limits:   limits.ofConn(),
		Node:     n.nodeID(),
		Types:    n.Types,
		Refs:     refs{c},
		CallRefs: func(in *broker.Incoming) jelly.Refs { return callRefs{refs{c}, in} },
		Errors:   c.errors,
		Forward:  c.forward,
		Boot: &lateObject{
			conn: c,
			find: c.bootObject,
			with: &surroundings{logger: c.log, peer: c.name, conn: c},
		},
		Root:    &lateObject{conn: c, find: c.rootObject, with: c.around, shut: &c.shut},
		Context: base,
		Ended:   func() { n.remove(c) },
		Logger:  c.log,
		Memory:  n.memory(),
	}
	if n.Observe != nil {
		config.Refused = c.observeRefused
	}
	if !c.trusted {
		stranger := limits.beforeLogin()
		config.Stranger = &stranger
	}
	c.broker, err = broker.New(rwc, config)
	if err != nil {
		return nil, err
	}
	if n.Root != nil && n.RootFor == nil {
		c.broker.SetKey(1, identityOf(n.Root))
	}
	if c.boot, err = c.reference(0); err == nil {
		c.root, err = c.reference(1)
	}
	if err == nil {
		err = n.add(c, limits)
	}
	if err != nil {
		c.turnAway()
		return nil, err
	}
	c.admit(limits)
	close(c.ready)
	if refusal != nil {
		kept = true
		return nil, refusal
	}
	return c, nil
}

// contextOf is what the contexts of the methods that are called over c inherit.
func (n *Node) contextOf(c *Conn) (context.Context, error) {
	base := context.WithValue(context.Background(), connKey{}, c)
	if n.ConnContext == nil || c.refusal != nil {
		return base, nil //nolint:nilerr // no method will be called
	}
	var made context.Context
	err := guard.Run(func() error {
		made = n.ConnContext(base, c) //nolint:fatcontext // it is a new one
		return nil
	})
	if err == nil && made == nil {
		err = errors.New(
			"pb: Node.ConnContext gave nil; return a context made from the one that it gets")
	}
	if err != nil {
		return nil, n.fault("Node.ConnContext", c.name, err)
	}
	return made, nil
}

// fault logs err if it is a panic in what the program gave, and returns what becomes of the
// connection.
func (n *Node) fault(what, peer string, err error) error {
	if !lines.Fault(context.Background(), n.logger(), what, err, "peer", peer) {
		return err
	}
	return prefix.Errorf("pb: %s: %w", what, err)
}

// turnAway ends a connection that has no place here. Calls that came already
// wait for ready, and must not.
func (c *Conn) turnAway() {
	c.mu.Lock()
	c.admitted = false
	c.mu.Unlock()
	_ = c.broker.Close()
	close(c.ready)
}

// admit starts the time for the login, if the peer is not trusted yet.
func (c *Conn) admit(limits Limits) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trusted {
		c.known()
		return
	}
	c.timer = time.AfterFunc(limits.Login, func() {
		if c.refusal != nil {
			_ = c.Close()
			return
		}
		c.log.Warn("connection closed: no login in time", "limit", limits.Login)
		_ = c.Close()
	})
}

// trust is called after a login.
func (c *Conn) trust() {
	c.mu.Lock()
	first := !c.trusted
	c.trusted, c.admitted = true, true
	c.shut.Store(false)
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	if first {
		c.broker.Trust()
		c.known()
	}
}

// add puts c among the node's connections, and has it taken out at its end.
func (n *Node) add(c *Conn, limits Limits) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrNodeClosed
	}
	switch {
	case c.refusal != nil && n.refused >= limits.Refused:
		return c.refusal
	case c.refusal == nil && limits.Conns > 0 && len(n.conns)-n.refused >= limits.Conns:
		return fmt.Errorf("pb: %d connections are there already", limits.Conns)
	}
	if n.conns == nil {
		n.conns = make(map[*Conn]struct{})
	}
	select {
	case <-c.broker.Done(): // remove may have looked for it already
		return c.broker.Err()
	default:
	}
	n.conns[c] = struct{}{}
	n.keepSweepingLocked()
	if c.refusal != nil {
		n.refused++
	}
	n.serving.Add(1)
	return nil
}

// remove ends what add began. The broker calls it at the connection's end.
func (n *Node) remove(c *Conn) {
	n.mu.Lock()
	_, there := n.conns[c]
	n.mu.Unlock()
	if !there {
		return
	}
	defer n.serving.Done()
	c.end()
	n.mu.Lock()
	delete(n.conns, c)
	if c.refusal != nil {
		n.refused--
	}
	n.mu.Unlock()
}

// end lets go of what belongs to a connection that is over.
func (c *Conn) end() {
	<-c.ready
	c.mu.Lock()
	c.ended = true
	sessions := c.sessions
	c.sessions = nil
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.known()
	for _, s := range sessions {
		s.login.Logout()
	}
}

// Root is the peer's root object. It is there at once: nothing is asked. If the
// peer has none, calls on it fail.
func (c *Conn) Root() *RemoteReference { return c.root }

// Peer gives the proved facts about the peer.
func (c *Conn) Peer() cred.Peer { return c.peer }

// Node is the node that the connection belongs to.
func (c *Conn) Node() *Node { return c.node }

// String names the peer for people.
func (c *Conn) String() string { return c.name }

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.broker.Done() }

// Err says why it ended; nil while it lives.
func (c *Conn) Err() error { return c.broker.Err() }

// Close ends the connection at once. Calls in flight fail.
func (c *Conn) Close() error { return c.broker.Close() }

// Shutdown ends the connection in order, as Node.Shutdown does for all.
func (c *Conn) Shutdown(ctx context.Context) error { return c.broker.Shutdown(ctx) }

// Greeted is closed when the peer has shown, by its preface, that it speaks this
// protocol. It stays open if the connection ends before that.
func (c *Conn) Greeted() <-chan struct{} { return c.broker.Greeted() }

// Sync is a round trip: when it returns the peer has read everything that was
// sent before it.
func (c *Conn) Sync(ctx context.Context) error { return c.broker.Sync(ctx) }

// Stats counts what the connection has done and what it holds. It may be called at any
// time, also after the end.
func (c *Conn) Stats() Stats { return Stats(c.broker.Stats()) }

// reference is the one reference for the peer's object id.
func (c *Conn) reference(id uint64) (*RemoteReference, error) {
	h, err := c.broker.Import(id, func() *broker.Handle {
		r := &RemoteReference{conn: c}
		r.handle.Owner = r
		return &r.handle
	})
	if err != nil {
		return nil, err
	}
	return h.Owner.(*RemoteReference), nil
}

// pure reports whether decoding a t runs no user's code.
func (c *Conn) pure(t reflect.Type) bool {
	if t == reflect.TypeFor[*RemoteReference]() || t == reflect.TypeFor[struct{}]() {
		return true
	}
	p, err := c.node.Types.Plan(t)
	return err == nil && p.Pure()
}

// peerName is what a peer is called in logs and errors.
func peerName(rwc io.ReadWriteCloser, p *cred.Peer) string {
	if p.NodeID != "" {
		return p.NodeID
	}
	if p.HasUID {
		return fmt.Sprintf("the peer with uid %d, pid %d", p.UID, p.PID) // as in "call X on …"
	}
	if addr := addrOf(rwc); addr != "" {
		return addr
	}
	return "attached"
}

// addrOf is the address of the other end; empty if there is none.
func addrOf(rwc io.ReadWriteCloser) string {
	if nc, ok := rwc.(net.Conn); ok && nc.RemoteAddr() != nil {
		return nc.RemoteAddr().String()
	}
	return ""
}

// isAdmitted reports whether the peer may call the root.
func (c *Conn) isAdmitted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.admitted
}

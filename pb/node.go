package pb

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"perspective/broker"
	"perspective/cred"
	"perspective/internal/accept"
	"perspective/internal/guard"
	"perspective/internal/lines"
	"perspective/jelly"
)

// A Node serves and dials connections on behalf of one process. Both sides of a
// connection call each other, the one that dialed and the other. The zero value works:
// it serves nothing but can dial and call. Fields must not be changed once the
// node is in use; its methods may be called by several goroutines at once. A
// Node ends with Shutdown or Close.
type Node struct {
	// Root is the object that peers can call without having been given one.
	// Nil: there is none. With a Portal only peers that have logged in, and
	// those that Allow let through, can call it.
	Root any
	// RootFor chooses the root for each connection, if not nil; Root is not
	// used then. It runs once a connection, before the first call.
	RootFor func(*Conn) any
	// Portal lets peers log in. Nil: they can not, and need not. One whose checkers
	// can not do their work, for want of the password file for example, is an error
	// of Listen, Serve, Attach and Dial, until its Load first gave none.
	Portal *cred.Portal
	// Allow decides from the proved facts whether a peer may connect at all. Nil: every
	// peer may, and must then log in if there is a Portal. Of a peer that Allow refuses
	// the log has the node id and what to do. That peer's calls fail as not executed with
	// cred.ErrNotAllowed for the time of Limits.Login, and then the connection is closed;
	// at once if it came to Attach, or if Limits.Refused such peers are there already.
	Allow cred.AllowFunc
	// Types are the values that cross by copy; nil: all that jelly.Register
	// was told.
	Types *jelly.Registry
	// Limits bound what one peer can make this process spend; zero fields are
	// the defaults.
	Limits Limits
	// Memory is what the peers of all connections make this node hold together: calls
	// that run or wait with their decoded arguments, answers that are encoded, wait or are
	// kept, what came over byte streams and was not read. Zero: 256 MiB. Two bytes are
	// counted for one, as the garbage collector takes them, three of byte streams. While
	// more than three eighths are held, an eighth of Limits.Handlers run, for what methods
	// make is not counted. One connection holds at most half; of several, each holds at most
	// what leaves as much free for each other one. A call that finds no room waits, for
	// Limits.MemoryWait at most, and fails with ErrOverloaded; a byte stream is reset. 256 KiB
	// of each connection do not count. Memory should be at least eight times
	// Limits.Values.DecodedBytes, or the largest messages never find room.
	Memory int64
	// TLS is where certificates and roots for names of the web come from; nil:
	// the system's roots, and no certificate but that of Key. Versions and
	// verification are the node's own.
	TLS *tls.Config
	// Key is this node's identity: URLs name the node by its hash, the node id. Zero: a
	// new key that no peer knows, made when it is first needed.
	Key Key
	// Plain lets Listen take addresses other than this machine's own for
	// pb+tcp, which neither hides nor proves anything.
	Plain bool
	// Logger gets what an administrator should know; nil: slog.Default. Of one
	// kind and one peer it gets a line a second, which tells as "more" how many
	// were left out, and no value over 1 KiB (a stack: 16 KiB). Values are as the
	// peer sent them: handlers quote.
	Logger *slog.Logger
	// Around stands around the calls of peers that this node's methods run for; nil: nothing does.
	Around Interceptor
	// Observe is told of all calls, this node's and those of its peers, also of those that
	// are refused; nil: nobody is.
	Observe Observer
	// UnsafeTracebacks sends the stacks of methods that panic to their callers.
	UnsafeTracebacks bool
	// ConnContext adds values to what the methods called over a connection
	// have as ctx; nil: none. It runs once a connection.
	ConnContext func(ctx context.Context, c *Conn) context.Context

	log       lines.Log
	loaded    atomic.Bool // the Portal
	mu        sync.Mutex
	closed    bool
	ending    chan struct{} // see over
	conns     map[*Conn]struct{}
	refused   int // of conns, those that Allow did not let in
	listeners map[net.Listener]struct{}
	arrivals  arrivals
	serving   sync.WaitGroup
	sweeper   *time.Timer // runs while there are connections, or failures that nobody has looked at
	unseen    unseenLog
	made      Key // the key of a node without one
	shared    *broker.Memory
}

// A Side is which end of a connection a node is.
type Side int

// The sides. The Dialer has opened the connection.
const (
	Acceptor Side = iota
	Dialer
)

func (n *Node) logger() *slog.Logger { return n.log.Logger(n.Logger) }

// defaultMemory is Node.Memory where it is zero.
const defaultMemory = 256 << 20

// memory is what all connections share.
func (n *Node) memory() *broker.Memory {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.shared == nil {
		size := n.Memory
		if size <= 0 {
			size = defaultMemory
		}
		n.shared = broker.NewMemory(size)
	}
	return n.shared
}

// Serve accepts connections until the node or the listener is closed. Those of
// a listener made by Listen with a pb URL speak TLS; a listener of another kind
// is served as it is. It gives ErrNodeClosed after Shutdown or Close. Whatever
// it gives, the listener is closed. When the process or the machine has run out
// of descriptors or memory it logs so and goes on after a wait of 5 ms, which
// doubles up to a second, as net/http's Serve does.
func (n *Node) Serve(ln net.Listener) error {
	ln = &guardedListener{ln, n}
	if err := n.check(); err != nil {
		_ = ln.Close() // or peers would connect and wait for nobody
		return err
	}
	if err := n.track(ln); err != nil {
		return err
	}
	defer n.untrack(ln)
	err := accept.Each(ln, n.over(), n.logger(), func(nc net.Conn) error {
		if !n.spawn(func() { n.accept(nc) }) { // ends with the handshake
			_ = nc.Close()
			return ErrNodeClosed
		}
		return nil
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrNodeClosed
	}
	return err
}

// over is closed when the node is.
func (n *Node) over() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ending == nil {
		n.ending = make(chan struct{})
		if n.closed {
			close(n.ending)
		}
	}
	return n.ending
}

func (n *Node) track(ln net.Listener) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		_ = ln.Close()
		return ErrNodeClosed
	}
	if n.listeners == nil {
		n.listeners = make(map[net.Listener]struct{})
	}
	n.listeners[ln] = struct{}{}
	return nil
}

func (n *Node) untrack(ln net.Listener) {
	n.mu.Lock()
	delete(n.listeners, ln)
	n.mu.Unlock()
	_ = guard.Run(ln.Close) // it may be closed already
}

// sweepTime is how often a node looks for what the collector took: references, on all
// of its connections, and failures that nobody looked at.
const sweepTime = time.Second

// sweep tells the peers of the references, and the log of the failures.
func (n *Node) sweep() {
	for _, c := range n.Conns() {
		c.broker.Sweep()
	}
	n.watchUnseen()
	n.tellUnseen()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || len(n.conns) == 0 && !n.unseen.pending() {
		n.sweeper = nil
		return
	}
	n.sweeper.Reset(sweepTime)
}

// keepSweeping starts the sweeper, unless it runs or the node has ended.
func (n *Node) keepSweeping() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.keepSweepingLocked()
	}
}

func (n *Node) keepSweepingLocked() {
	if n.sweeper == nil {
		// ends when there is nothing to look for, or with stop
		n.sweeper = time.AfterFunc(sweepTime, n.sweep)
	}
}

// spawn runs f on a goroutine that Close waits for; false after the end.
func (n *Node) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.serving.Go(f)
	return true
}

// accept makes a Conn of what Serve accepted.
func (n *Node) accept(nc net.Conn) {
	limits := n.Limits.withDefaults()
	addr := addressOf(nc)
	w := &newcomer{leave: func() { _ = nc.Close() }}
	w.begin = func() {
		if !n.spawn(func() { n.setUp(nc, addr) }) { // ends with the handshake
			_ = nc.Close()
			n.known(addr) // the node is closed, so nobody waits any more
		}
	}
	switch now, kept := n.arrive(addr, &limits, w); {
	case now:
		n.setUp(nc, addr)
	case !kept:
		text := "connection refused: " + n.refusal()
		//nolint:sloglint // one of two
		n.logger().Warn(text, "peer", nc.RemoteAddr(), "limit", limits.Unauthenticated)
		_ = nc.Close()
	}
}

// setUp makes a Conn of what has a place among the arrivals.
func (n *Node) setUp(nc net.Conn, addr string) {
	known := sync.OnceFunc(func() { n.known(addr) })
	ctx, cancel := context.WithTimeout(context.Background(), n.Limits.withDefaults().Login)
	defer cancel()
	if _, err := n.connect(ctx, nc, Acceptor, known, true); err != nil {
		known()
		if r, ok := errors.AsType[*refusedError](err); ok {
			n.logRefused(nc.RemoteAddr(), r)
			return
		}
		n.logger().Warn("connection refused", "peer", nc.RemoteAddr(), "err", err)
	}
}

// addressOf is the part of an address that connections are counted by; empty
// for peers that the kernel knows.
func addressOf(rwc io.ReadWriteCloser) string {
	nc, ok := rwc.(net.Conn)
	if !ok {
		return ""
	}
	a, ok := nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	ip := a.IP
	if ip.To4() == nil {
		ip = ip.Mask(net.CIDRMask(64, 128)) // what one subscriber has of IPv6
	}
	return ip.String()
}

// Attach makes a connection of any two-way byte stream: a socketpair, a
// child's standard input and output, one end of a net.Pipe. The node owns rwc
// from then on, also after an error. Nothing is said of the peer but what rwc itself proves.
// A *tls.Conn of the program's own works, but calls over it take longer than over a pb URL, for
// the node cannot use the socket under it.
//
// As the Acceptor it holds the peer to what holds for those that Serve accepts: a peer that has
// a TCP address counts among the strangers of its address (Limits.Unauthenticated), waits for
// others of them or is refused with ErrOverloaded, and has the time of Limits.Login.
func (n *Node) Attach(ctx context.Context, rwc io.ReadWriteCloser, side Side) (*Conn, error) {
	if side == Dialer {
		return n.connect(ctx, rwc, side, func() {}, false)
	}
	ctx, cancel := context.WithTimeout(ctx, n.Limits.withDefaults().Login)
	defer cancel()
	rwc = n.guarded(rwc)
	addr := addressOf(rwc)
	if err := n.attend(ctx, addr); err != nil {
		_ = rwc.Close()
		return nil, err
	}
	known := sync.OnceFunc(func() { n.known(addr) })
	c, err := n.connect(ctx, rwc, side, known, false)
	if err != nil {
		known()
	}
	return c, err
}

// Conns gives the connections that live now.
func (n *Node) Conns() []*Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]*Conn, 0, len(n.conns))
	for c := range n.conns {
		if c.refusal == nil {
			all = append(all, c)
		}
	}
	return all
}

// Shutdown ends the node in order: it stops listening, lets the calls under
// way be answered and closes the connections. When ctx ends first it closes
// them at once and gives ctx's error.
func (n *Node) Shutdown(ctx context.Context) error {
	conns := n.stop()
	errs := make([]error, len(conns))
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() { errs[i] = c.broker.Shutdown(ctx) })
	}
	wg.Wait()
	n.serving.Wait()
	n.tellUnseen()
	n.log.Flush()
	return errors.Join(errs...)
}

// Close ends the node at once: calls under way fail. It returns when nothing
// of the node runs any more but methods that do not heed their ctx.
func (n *Node) Close() error {
	for _, c := range n.stop() {
		_ = c.Close()
	}
	n.serving.Wait()
	n.tellUnseen()
	n.log.Flush()
	return nil
}

// stop ends listening and connecting.
func (n *Node) stop() []*Conn {
	n.mu.Lock()
	if n.ending != nil && !n.closed {
		close(n.ending)
	}
	n.closed = true
	if n.sweeper != nil {
		n.sweeper.Stop()
	}
	listeners := slices.Collect(maps.Keys(n.listeners))
	waiting := n.arrivals.turnAway()
	conns := slices.Collect(maps.Keys(n.conns)) // those that were refused among them
	n.mu.Unlock()
	for _, w := range waiting {
		w.leave()
	}
	for _, ln := range listeners {
		_ = guard.Run(ln.Close) // it may be closed already
	}
	return conns
}

package distrib

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"perspective/pb"
)

// drainTime is how long a link that was replaced may take to finish its requests.
const drainTime = 30 * time.Second

// cancelTime is how long it may take to say that a response is not wanted, while the back end has
// much to do.
const cancelTime = 5 * time.Second

var errNoExchange = errors.New("distrib: no such request, or it was given up")

// A link is one connection to a back end. It ends when either side does.
type link struct {
	back   *instances
	owner  linkOwner
	number uint64 // of the back end's links, in the order in which they came
	// instance is which of the mount's it leads to; empty: the back end may say, until it is ready.
	// As token, which sends a client back there, it does not change once it serves.
	instance string
	token    string
	since    time.Time // that it was made, or serves; under the back end's mu
	node     pb.Node
	conn     *pb.Conn
	// tells: what the back end has written the front reads, whatever becomes of the back end.
	tells bool
	serve atomic.Pointer[pb.RemoteReference] // what serves the requests; nil: it is not ready

	made  chan struct{} // closed when the link is among its back end's, or was refused there
	users users         // requests
	files *fileReceiver // nil: bodies of files come over the link
	// dismissed gets a value when the link is to end in order: whether another one takes its place.
	dismissed chan bool

	lastID atomic.Uint64

	mu     sync.Mutex
	asking map[uint64]*exchange // those that must be told before their handler starts
	// beginning are those whose back end may ask for a session; nil: none ever was.
	beginning map[uint64]*exchange
}

// A linkOwner hears of what becomes of a link: once that it serves, and at its end. Nil functions
// hear nothing. What is made of it owns files, the socket beside the link; nil: there is none.
type linkOwner struct {
	serves, ended func()
	files         *os.File
}

// newLink makes a link of nc. Of a *tls.Conn it waits for the handshake, as long as ctx.
func newLink(
	ctx context.Context, b *backEnd, instance string, nc net.Conn, owner linkOwner,
) (*link, error) {
	l := &link{back: b.instances,
		owner:     owner,
		instance:  instance,
		tells:     isPair(nc),
		asking:    make(map[uint64]*exchange),
		made:      make(chan struct{}),
		users:     newUsers(),
		dismissed: make(chan bool, 1)}
	l.node.Root = &gate{link: l}
	l.node.Limits, l.node.Memory = b.limits.ofFront(), b.limits.memory()
	l.node.Logger = b.log
	conn, err := l.node.Attach(ctx, nc, pb.Acceptor)
	if err != nil {
		return nil, err
	}
	l.conn = conn
	l.files = newFileReceiver(owner.files, func(err error) {
		l.reset(fmt.Errorf("%w: %w", errHostile, err))
	})
	// Only now: a peer that has not proved its identity gets no place among the links, and replaces
	// none.
	added := b.add(l)
	close(l.made)
	if !added {
		_ = l.node.Close() // the error says more
		l.files.close()
		return nil, ErrSiteClosed
	}
	return l, nil
}

// isPair reports whether nc is an end of a pair of sockets: between the two ends is nothing but the
// kernel, which keeps what one end has written for the other to read, also when the first is gone.
func isPair(nc net.Conn) bool {
	u, ok := nc.(*net.UnixConn)
	if !ok {
		return false
	}
	unnamed := func(a net.Addr) bool { return a == nil || a.String() == "" || a.String() == "@" }
	return unnamed(u.LocalAddr()) && unnamed(u.RemoteAddr())
}

// heardOut reports whether the link ended by the back end's doing and the front has read all that
// came over it.
func (l *link) heardOut() bool {
	err := l.conn.Err()
	return errors.Is(err, pb.ErrPeerClosed) && !errors.Is(err, pb.ErrUnheard)
}

// watch sees the link's end, and brings it about in order when it is dismissed.
func (l *link) watch() {
	var receiving sync.WaitGroup
	if l.files != nil {
		receiving.Go(l.files.run) // ends with close
	}
	select {
	case <-l.conn.Done():
	case replaced := <-l.dismissed:
		l.retire(replaced)
	}
	l.back.remove(l)
	l.back.log.Info("link ended", "instance", l.instance, "err", l.conn.Err())
	_ = l.node.Close() // it has nothing but the connection
	l.files.close()
	receiving.Wait()
	if l.owner.ended != nil && !l.back.isClosed() {
		l.owner.ended()
	}
}

// dismiss has the link end when its requests have. It is not among those that serve any more.
func (l *link) dismiss(replaced bool) {
	select {
	case l.dismissed <- replaced:
	default: // it ends already
	}
}

// retire ends a link that was dismissed: its back end finishes what it has, and is told if another
// has its place. Calls of the back end's are taken meanwhile, for it must say which requests start.
func (l *link) retire(replaced bool) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	l.users.end()
	if replaced {
		_ = l.serve.Load().Send(ctx, "Replaced") // one that does not hear it sees the link's end
	}
	select {
	case <-l.users.gone:
		_ = l.conn.Shutdown(ctx)
	case <-ctx.Done(): // what is late is cut off
	case <-l.conn.Done():
	}
	l.close()
	<-l.conn.Done()
}

// enter counts a request that is to be sent over the link, which leaves by leave. It is false if
// the link was given up.
func (l *link) enter() bool { return l.users.enter() }

func (l *link) leave() { l.users.leave() }

// close ends the link at once.
func (l *link) close() {
	_ = l.conn.Close() // nothing to lose
}

// reset ends the link of a back end that broke the rules.
func (l *link) reset(err error) {
	l.back.lost(l)
	l.back.log.Warn("link reset", "instance", l.instance, "err", err)
	l.close()
}

// ask lets the back end say that the handler of request id starts.
func (l *link) ask(id uint64, ex *exchange) {
	l.mu.Lock()
	l.asking[id] = ex
	l.mu.Unlock()
}

// unask ends what ask began: nobody can start the handler of this request from now on.
func (l *link) unask(id uint64) {
	l.mu.Lock()
	delete(l.asking, id)
	l.mu.Unlock()
}

// started marks the exchange as begun. Whatever happens to the link now, the request is not sent
// again.
func (l *link) started(id uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	ex := l.asking[id]
	if ex == nil {
		return errNoExchange
	}
	delete(l.asking, id)
	ex.started.Store(true)
	return nil
}

// cancel tells the back end that nobody reads the response to request id any more, if it is being
// streamed. What is not answered yet was cancelled with the call.
func (l *link) cancel(id uint64) {
	ctx, stop := context.WithTimeout(context.Background(), cancelTime)
	defer stop()
	_ = l.serve.Load().Send(ctx, "Cancel", id) // the link's end would do as well
}

// A gate is all that a back end can call in the front.
type gate struct {
	pb.Referenceable
	pb.Concurrent

	link *link
}

// RemoteReady says that the back end serves, by the object handed over. mount is the name it
// believes to have, empty if it does not know: it gives no right, for which back end this is the
// link itself tells. instance is which of the mount's it is; empty: the one without a name. It
// counts where the link does not tell that too.
func (g *gate) RemoteReady(
	_ context.Context, mount string, by *pb.RemoteReference, instance string,
) error {
	l, b := g.link, g.link.back
	if mount != "" && mount != b.name {
		b.log.Warn("announcement refused", "mount", cutText(mount))
		return fmt.Errorf("distrib: this link is not for a mount %s", strconv.Quote(cutText(mount)))
	}
	if instance != "" && !validName(instance) {
		return fmt.Errorf("distrib: %s is no name for an instance",
			strconv.Quote(cutText(instance)))
	}
	<-l.made
	if by == nil || !l.serve.CompareAndSwap(nil, by) {
		return errors.New("distrib: say once what serves, and name an object")
	}
	before, err := b.use(l, instance)
	if err != nil {
		b.log.Warn("instance refused", "err", err)
		return err
	}
	if before != nil {
		b.log.Info("instance replaced: a newer one serves from now on, the older finishes what "+
			"it has", "instance", l.instance)
		before.dismiss(true)
	}
	b.log.Info("back end ready", "instance", l.instance)
	if l.owner.serves != nil {
		l.owner.serves()
	}
	return nil
}

// RemoteLeave says that the back end takes nothing more.
func (g *gate) RemoteLeave(context.Context) error {
	g.link.back.lost(g.link)
	return nil
}

// RemoteStart says that the handler of request id is about to start.
func (g *gate) RemoteStart(_ context.Context, id uint64) error { return g.link.started(id) }

func cutText(s string) string { return s[:min(len(s), 256)] }

package distrib

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"perspective/cred"
	"perspective/internal/accept"
	"perspective/internal/guard"
	"perspective/internal/prefix"
	"perspective/pb"
)

const (
	// envListen is the pb URL at which a back end listens for its front.
	envListen = "PB_MOUNT_LISTEN"
	// envKey is the file with the key of one that listens at a pb:// URL, and envFronts the node
	// ids, with spaces between, of the fronts that it lets in.
	envKey    = "PB_MOUNT_KEY"
	envFronts = "PB_MOUNT_FRONTS"

	// maxFrontLinks is how many links a back end that listens has at once: that of its front, those
	// that end, and those of a front that begins.
	maxFrontLinks = 16
)

// Accept serves over each connection that the listener accepts, which a front has made
// (Monitor's Part.Socket, Site.Connect), until ctx ends or the listener is closed; then it lets the
// requests under way end, and returns nil. It closes the listener.
//
// Whoever can connect, and passes Allow, is a front: its requests name any user and any client. So
// a unix socket should be open to the front and its monitor alone, and at any other listener Allow
// must tell who may come, over TLS as pb.Node.Listen does it. 16 connections are links at once; 64,
// of one address 16, have up to 10 s each to become one. What comes over that is closed.
func (m *Mount) Accept(ctx context.Context, l net.Listener) error {
	return m.accept(ctx, l, m.Allow)
}

func (m *Mount) accept(ctx context.Context, l net.Listener, allow cred.AllowFunc) error {
	if l.Addr().Network() != "unix" && allow == nil {
		_ = l.Close() // the error says more
		return fmt.Errorf("distrib: anybody can connect to %v, set Mount.Allow", l.Addr())
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	a := &acceptor{mount: m, allow: allow, places: make(chan struct{}, maxFrontLinks)}
	a.begin.sum, a.begin.each = maxHandshakes, maxClientHandshakes
	ctx, cancel := context.WithCancel(ctx)
	defer a.links.Wait()
	defer cancel()
	err := accept.Each(l, ctx.Done(), m.logger(), func(nc net.Conn) error {
		a.take(ctx, nc)
		return nil
	})
	_ = l.Close() // it may be closed already
	if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
		return nil
	}
	return prefix.Errorf("distrib: %w", err)
}

// An acceptor makes links of the connections that come to one listener.
type acceptor struct {
	mount  *Mount
	allow  cred.AllowFunc
	begin  shares        // connections that are no links yet, by address
	places chan struct{} // holds a token for each link
	links  sync.WaitGroup
}

// take makes nc a link. It waits for no peer.
func (a *acceptor) take(ctx context.Context, nc net.Conn) {
	key := noClient
	if nc.RemoteAddr() != nil && nc.RemoteAddr().Network() == "tcp" {
		key = keyOf(nc.RemoteAddr().String())
	}
	if !a.begin.take(key) {
		a.mount.logger().Warn("link refused", "addr", nc.RemoteAddr(), "err", errHandshakes)
		_ = guard.Run(nc.Close) // the log says more
		return
	}
	begun := sync.OnceFunc(func() { a.begin.give(key) })
	s := &mountLink{mount: a.mount, name: a.mount.Name, instance: a.mount.Instance}
	s.connect = func(n *pb.Node) (*pb.Conn, error) {
		defer begun()
		n.Allow = a.allow
		ctx, cancel := context.WithTimeout(ctx, handshakeTime)
		defer cancel()
		conn, err := n.Attach(ctx, nc, pb.Dialer)
		if err != nil {
			return nil, err
		}
		select {
		case a.places <- struct{}{}:
			return conn, nil
		default:
			_ = conn.Close() // the error says more
			return nil, fmt.Errorf("distrib: %d links are there already", maxFrontLinks)
		}
	}
	a.links.Go(func() { // ends with the link, soon after ctx
		defer begun()
		err := s.serve(ctx)
		if s.object != nil {
			<-a.places
		}
		if err != nil {
			a.mount.logger().Warn("link ended", "addr", nc.RemoteAddr(), "err", err)
		}
		s.finish()
	})
}

// listen serves at the URL in PB_MOUNT_LISTEN.
func (m *Mount) listen(ctx context.Context, url string) error {
	node := &pb.Node{Logger: m.logger()}
	address, err := pb.ParseURL(url)
	if err != nil {
		return prefix.Errorf("distrib: %s: %w", envListen, err)
	}
	allow := m.Allow
	switch fronts := strings.Fields(os.Getenv(envFronts)); {
	case address.Scheme == "pb+unix":
	case address.Scheme != "pb":
		return fmt.Errorf("distrib: %s=%s: write pb+unix:///PATH or pb://HOST:PORT/", envListen,
			url)
	case len(fronts) == 0 && allow == nil:
		return fmt.Errorf("distrib: anybody can connect to %s: name the node ids of the fronts in "+
			"%s", url, envFronts)
	case os.Getenv(envKey) == "":
		return fmt.Errorf("distrib: set %s to a file with the key of %s; pb id FILE makes one",
			envKey, url)
	default:
		if allow == nil {
			allow = cred.AllowKeys(fronts...)
		}
		if node.Key, err = pb.LoadKey(os.Getenv(envKey)); err != nil {
			return prefix.Errorf("distrib: %s: %w", envKey, err)
		}
	}
	l, err := node.Listen(url)
	if err != nil {
		return prefix.Errorf("distrib: %s: %w", envListen, err)
	}
	return m.accept(ctx, l, allow)
}

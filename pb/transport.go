package pb

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"

	"perspective/cred"
	"perspective/internal/prefix"
)

// A transport is what one scheme of pb URLs stands for. A new one is a new row of
// transports.
type transport struct {
	scheme string
	// parse takes apart the URL s, which u is, into a.
	parse func(a *Address, u *url.URL, s string) error
	// format is the URL of a, the other way round.
	format func(a Address) string
	// dial opens a connection. What the peer is shows later, by identify.
	dial func(ctx context.Context, n *Node, a Address) (net.Conn, error)
	// listen makes a listener.
	listen func(n *Node, a Address) (net.Listener, error)
	// reach is where peers find a listener that listen made; false for those of other rows.
	reach func(n *Node, ln net.Listener) (Address, bool)
	// identify puts into p what rwc proves of the peer, and may talk with it for that; false
	// for connections of other rows. Nil: nothing is proved.
	identify func(
		ctx context.Context, rwc io.ReadWriteCloser, side Side, p *cred.Peer,
	) (bool, error)
}

// transports is the table. It is a function, for its rows need it to write URLs.
func transports() [3]transport {
	return [...]transport{
		{"pb", parseTLS, formatHost, dialTLS, listenTLS, reachTLS, identifyTLS},
		{"pb+tcp", parseTCP, formatHost, dialTCP, listenTCP, reachTCP, nil},
		{"pb+unix", parsePath, formatPath, dialUnix, listenUnix, reachUnix, identifyUnix},
	}
}

// transportOf is the row of a scheme; false if there is none.
func transportOf(scheme string) (transport, bool) {
	for _, t := range transports() {
		if t.scheme == scheme {
			return t, true
		}
	}
	return transport{}, false
}

// Dial opens a connection to a pb URL, see ParseURL. ctx rules the dialing and
// the TLS handshake; the connection lives on after it.
func (n *Node) Dial(ctx context.Context, url string) (*Conn, error) {
	a, t, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	if err := n.check(); err != nil {
		return nil, err
	}
	nc, err := t.dial(ctx, n, a)
	if err != nil {
		return nil, err
	}
	return n.connect(ctx, nc, Dialer, func() {}, false)
}

// Listen makes a listener for Serve from a pb URL. The port 0 is a free one;
// URLOf tells which. pb+tcp takes only addresses of this machine unless
// Node.Plain is set. The file of a pb+unix socket is made with mode 0600.
func (n *Node) Listen(url string) (net.Listener, error) {
	a, t, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	if err := n.checkPortal(); err != nil {
		return nil, err
	}
	return t.listen(n, a)
}

// ListenAndServe is Listen and Serve.
func (n *Node) ListenAndServe(url string) error {
	ln, err := n.Listen(url)
	if err != nil {
		return err
	}
	return n.Serve(ln)
}

// URLOf is what peers dial to reach a listener that Listen made; empty for one that no URL
// leads to.
func (n *Node) URLOf(ln net.Listener) string {
	for _, t := range transports() {
		if a, ok := t.reach(n, ln); ok {
			a.Scheme = t.scheme
			return a.String()
		}
	}
	return ""
}

// peerOf finds out what rwc proves of the peer.
func peerOf(ctx context.Context, rwc io.ReadWriteCloser, side Side) (*cred.Peer, error) {
	p := &cred.Peer{}
	if nc, ok := rwc.(net.Conn); ok {
		p.Addr = nc.RemoteAddr()
	}
	for _, t := range transports() {
		if t.identify == nil {
			continue
		}
		if mine, err := t.identify(ctx, rwc, side, p); mine || err != nil {
			return p, err
		}
	}
	return p, nil
}

// dialNet opens a socket.
func dialNet(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, prefix.Errorf("pb: %w", err)
	}
	return nc, nil
}

// listenNet listens on a socket.
func listenNet(network, address string) (net.Listener, error) {
	ln, err := net.Listen(network, address) //nolint:noctx // it does not wait
	if err != nil {
		return nil, prefix.Errorf("pb: %w", err)
	}
	return ln, nil
}

// parseTCP reads a host without a node id.
func parseTCP(a *Address, u *url.URL, s string) error {
	if err := parseHost(a, u, s); err != nil || u.User == nil {
		return err
	}
	a.NodeID = u.User.String()
	return fmt.Errorf("pb: address %q: nothing proves a node id over plain TCP, use pb://", s)
}

// dialTCP dials pb+tcp.
func dialTCP(ctx context.Context, _ *Node, a Address) (net.Conn, error) {
	return dialNet(ctx, "tcp", a.Host)
}

// listenTCP listens on pb+tcp, which neither hides nor proves anything.
func listenTCP(n *Node, a Address) (net.Listener, error) {
	ln, err := listenNet("tcp", a.Host)
	if err != nil {
		return nil, err
	}
	if addr, ok := ln.Addr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() && !n.Plain {
		_ = ln.Close()
		return nil, fmt.Errorf("pb: %s is plain and %v is not this machine alone: use pb://, or "+
			"set Node.Plain", a, addr)
	}
	return ln, nil
}

// reachTCP knows the listeners of listenTCP.
func reachTCP(_ *Node, ln net.Listener) (Address, bool) {
	if _, ok := ln.(*net.TCPListener); !ok {
		return Address{}, false
	}
	return Address{Host: ln.Addr().String()}, true
}

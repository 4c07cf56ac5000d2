package pb

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"

	"perspective/broker"
	"perspective/cred"
	"perspective/internal/guard"
	"perspective/internal/prefix"
)

// An UnknownPeerError says that a pb URL without a node id led to a peer that
// no authority vouches for. URL is the one to use if that is the right peer.
type UnknownPeerError struct {
	URL string
	Err error
}

func (e *UnknownPeerError) Error() string {
	return fmt.Sprintf("pb: nobody vouches for the peer (%v); if its key is the right one, use %s",
		e.Err, e.URL)
}

// Unwrap gives what was wrong with its certificate.
func (e *UnknownPeerError) Unwrap() error { return e.Err }

// protocol is the name of the native wire in TLS (ALPN).
const protocol = "perspective/1"

// parseTLS reads a host and a node id, if there is one.
func parseTLS(a *Address, u *url.URL, s string) error {
	if err := parseHost(a, u, s); err != nil || u.User == nil {
		return err
	}
	a.NodeID = u.User.String()
	if _, err := cred.ParseNodeID(a.NodeID); err != nil {
		return prefix.Errorf("pb: address %q: %w", s, err)
	}
	return nil
}

// dialTLS dials pb. The handshake comes with identifyTLS.
func dialTLS(ctx context.Context, n *Node, a Address) (net.Conn, error) {
	config, err := n.tlsConfig()
	if err != nil {
		return nil, err
	}
	nc, err := dialNet(ctx, "tcp", a.Host)
	if err != nil {
		return nil, err
	}
	config.ServerName, _, _ = net.SplitHostPort(a.Host)
	config.InsecureSkipVerify = true // VerifyConnection does it, by key or by authority
	config.VerifyConnection = verify(a, n.TLS)
	return tls.Client(broker.UnderTLS(nc), config), nil
}

// listenTLS listens on pb. A node id in the URL must be this node's.
func listenTLS(n *Node, a Address) (net.Listener, error) {
	if a.NodeID != "" && a.NodeID != n.nodeID() {
		return nil, fmt.Errorf("pb: listen on %s: this node is %q", a, n.nodeID())
	}
	config, err := n.tlsConfig()
	if err != nil {
		return nil, err
	}
	ln, err := listenNet("tcp", a.Host)
	if err != nil {
		return nil, err
	}
	return tls.NewListener(underTLS{ln}, config), nil
}

// underTLS is a listener whose connections' sockets a broker can use itself, though they speak TLS.
type underTLS struct{ net.Listener }

// Accept waits for the next connection.
func (l underTLS) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return broker.UnderTLS(nc), nil
}

// reachTLS knows the listeners of listenTLS by what they are not: package tls does not export
// their type.
func reachTLS(n *Node, ln net.Listener) (Address, bool) {
	if _, plain := ln.(*net.TCPListener); plain || ln.Addr().Network() != "tcp" {
		return Address{}, false
	}
	return Address{NodeID: n.nodeID(), Host: ln.Addr().String()}, true
}

// identifyTLS makes the handshake: the peer has the key that it shows.
func identifyTLS(
	ctx context.Context, rwc io.ReadWriteCloser, side Side, p *cred.Peer,
) (bool, error) {
	c, ok := rwc.(*tls.Conn)
	if !ok {
		return false, nil
	}
	if err := c.HandshakeContext(ctx); err != nil {
		return true, handshakeError(err, side)
	}
	s := c.ConnectionState()
	p.Secure = true
	if len(s.PeerCertificates) > 0 {
		if key, ok := s.PeerCertificates[0].PublicKey.(ed25519.PublicKey); ok {
			p.Key, p.NodeID = key, cred.NodeIDOf(key)
		}
	}
	binding, err := s.ExportKeyingMaterial("EXPORTER-Perspective-Login", nil, 32)
	if err != nil {
		return true, prefix.Errorf("pb: %w", err)
	}
	p.Binding = binding
	return true, nil
}

// verify checks the identity of the peer that answered.
func verify(a Address, base *tls.Config) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		id := ""
		if key, ok := s.PeerCertificates[0].PublicKey.(ed25519.PublicKey); ok {
			id = cred.NodeIDOf(key)
		}
		if a.NodeID != "" {
			if id != a.NodeID {
				return fmt.Errorf("%w: %q instead of %s", ErrWrongPeer, id, a.NodeID)
			}
			return nil
		}
		// Not s.ServerName: TLS leaves it empty for an IP address, and an empty
		// name is any name.
		host, _, err := net.SplitHostPort(a.Host)
		if err != nil || host == "" {
			return fmt.Errorf("pb: address %q has no host to verify", a.Host)
		}
		opts := x509.VerifyOptions{DNSName: host, Intermediates: x509.NewCertPool()}
		if base != nil {
			opts.Roots = base.RootCAs
		}
		for _, c := range s.PeerCertificates[1:] {
			opts.Intermediates.AddCert(c)
		}
		_, err = s.PeerCertificates[0].Verify(opts)
		if err != nil && id != "" {
			known := a
			known.NodeID = id
			return &UnknownPeerError{URL: known.String(), Err: err}
		}
		return err
	}
}

// tlsConfig is what both sides share. TLS 1.3 only, no tickets: every
// connection proves its keys anew.
func (n *Node) tlsConfig() (*tls.Config, error) {
	key, err := n.key()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{}
	if n.TLS != nil {
		config = n.heldTLS(n.TLS)
	}
	config.MinVersion, config.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	config.NextProtos = []string{protocol}
	config.SessionTicketsDisabled = true
	config.ClientSessionCache = nil
	own, err := key.certificate()
	if err != nil {
		return nil, err
	}
	if len(config.Certificates) == 0 && config.GetCertificate == nil {
		config.Certificates = []tls.Certificate{own}
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &own, nil
	}
	config.ClientAuth = tls.RequireAnyClientCert
	return config, nil
}

// key is Key, or one made now.
func (n *Node) key() (Key, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Key.IsZero() && n.made.IsZero() {
		k, err := NewKey()
		if err != nil {
			return Key{}, err
		}
		n.made = k
	}
	if n.Key.IsZero() {
		return n.made, nil
	}
	return n.Key, nil
}

func (n *Node) nodeID() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Key.IsZero() {
		return n.made.NodeID()
	}
	return n.Key.NodeID()
}

// noTLS is the fatal alert for an unexpected message, as a whole record. A dialer of pb+tcp knows
// by it that it found a port for TLS.
var noTLS = []byte{21, 3, 3, 0, 2, 2, 10}

// handshakeError says what to do if the other side does not speak TLS, and tells it if it speaks
// pb.
func handshakeError(err error, side Side) error {
	wrong, ok := errors.AsType[tls.RecordHeaderError](err)
	if !ok {
		return ours(err)
	}
	first := string(wrong.RecordHeader[:4])
	switch {
	case first == "PB\x01\n" && side == Acceptor:
		if wrong.Conn != nil {
			_, _ = wrong.Conn.Write(noTLS) // an error would be the peer's end
		}
		return prefix.Errorf("pb: %w: the peer speaks plain pb and this listener TLS, so have it "+
			"dial pb:// instead of pb+tcp://", err)
	case first == "PB\x01\n":
		return prefix.Errorf("pb: %w: the port speaks plain pb, so dial pb+tcp:// instead of "+
			"pb://, or have it listen at pb://", err)
	case first == "HTTP":
		return prefix.Errorf(
			"pb: %w: an HTTP server is there; dial the port that was opened for pb", err)
	}
	return ours(err)
}

// ours is err with the package's prefix, if it does not begin with that: crypto/tls hands on the
// errors of verification as they are.
func ours(err error) error {
	if strings.HasPrefix(guard.Text(err), "pb: ") {
		return err
	}
	return prefix.Errorf("pb: %w", err)
}

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
	"strings"

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
	return fmt.Sprintf("pb: nobody vouches for the peer (%v); if its key is the right one, use %s", e.Err, e.URL)
}

// Unwrap gives what was wrong with its certificate.
func (e *UnknownPeerError) Unwrap() error { return e.Err }

// protocol is the name of the native wire in TLS (ALPN).
const protocol = "perspective/1"

// Dial opens a connection to a pb URL, see ParseURL. ctx rules the dialing and
// the TLS handshake; the connection lives on after it.
func (n *Node) Dial(ctx context.Context, url string) (*Conn, error) {
	a, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	if err := n.check(); err != nil {
		return nil, err
	}
	network := "tcp"
	if a.Scheme == "pb+unix" {
		network = "unix"
	}
	nc, err := new(net.Dialer).DialContext(ctx, network, a.Host)
	if err != nil {
		return nil, prefix.Errorf("pb: %w", err)
	}
	if a.Scheme == "pb" {
		config, err := n.tlsConfig()
		if err != nil {
			_ = nc.Close()
			return nil, err
		}
		config.ServerName, _, _ = net.SplitHostPort(a.Host)
		config.InsecureSkipVerify = true // VerifyConnection does it, by key or by authority
		config.VerifyConnection = verify(a, n.TLS)
		nc = tls.Client(nc, config)
	}
	return n.connect(ctx, nc, Dialer, func() {}, false)
}

// verify checks who answered.
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
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
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

// Listen makes a listener for Serve from a pb URL. The port 0 is a free one;
// URLOf tells which. pb+tcp takes only addresses of this machine unless
// Node.Plain is set. The file of a pb+unix socket is made with mode 0600.
func (n *Node) Listen(url string) (net.Listener, error) {
	a, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	if err := n.checkPortal(); err != nil {
		return nil, err
	}
	switch a.Scheme {
	case "pb+unix":
		return listenUnix(a.Host)
	case "pb+tcp":
		ln, err := net.Listen("tcp", a.Host) //nolint:noctx // it does not wait
		if err != nil {
			return nil, prefix.Errorf("pb: %w", err)
		}
		if addr, ok := ln.Addr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() && !n.Plain {
			_ = ln.Close()
			return nil, fmt.Errorf("pb: %s is plain and %v is not this machine alone: use pb://, or set Node.Plain", url, addr)
		}
		return ln, nil
	}
	if a.NodeID != "" && a.NodeID != n.nodeID() {
		return nil, fmt.Errorf("pb: listen on %s: this node is %q", url, n.nodeID())
	}
	config, err := n.tlsConfig()
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", a.Host) //nolint:noctx // it does not wait
	if err != nil {
		return nil, prefix.Errorf("pb: %w", err)
	}
	return tls.NewListener(ln, config), nil
}

// ListenAndServe is Listen and Serve.
func (n *Node) ListenAndServe(url string) error {
	ln, err := n.Listen(url)
	if err != nil {
		return err
	}
	return n.Serve(ln)
}

// URLOf is what peers dial to reach a listener that Listen made.
func (n *Node) URLOf(ln net.Listener) string {
	switch addr := ln.Addr().(type) {
	case *net.UnixAddr:
		return Address{Scheme: "pb+unix", Host: addr.Name}.String()
	default:
		if _, plain := ln.(*net.TCPListener); plain {
			return Address{Scheme: "pb+tcp", Host: addr.String()}.String()
		}
		return Address{Scheme: "pb", NodeID: n.nodeID(), Host: addr.String()}.String()
	}
}

// noTLS is the fatal alert for an unexpected message, as a whole record. A dialer of pb+tcp knows by
// it that it found a port for TLS.
var noTLS = []byte{21, 3, 3, 0, 2, 2, 10}

// handshakeError says what to do if the other side does not speak TLS, and tells it if it speaks pb.
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
		return prefix.Errorf("pb: %w: the peer speaks plain pb and this listener TLS, so have it dial pb:// instead of pb+tcp://", err)
	case first == "PB\x01\n":
		return prefix.Errorf("pb: %w: the port speaks plain pb, so dial pb+tcp:// instead of pb://, or have it listen at pb://", err)
	case first == "HTTP":
		return prefix.Errorf("pb: %w: an HTTP server is there; dial the port that was opened for pb", err)
	}
	return ours(err)
}

// ours is err with the package's prefix, if it does not begin with that: crypto/tls hands on the errors of verification as
// they are.
func ours(err error) error {
	if strings.HasPrefix(guard.Text(err), "pb: ") {
		return err
	}
	return prefix.Errorf("pb: %w", err)
}

// peerOf finds out what rwc proves of the peer.
func peerOf(ctx context.Context, rwc io.ReadWriteCloser, side Side) (*cred.Peer, error) {
	p := &cred.Peer{}
	if nc, ok := rwc.(net.Conn); ok {
		p.Addr = nc.RemoteAddr()
	}
	switch c := rwc.(type) {
	case *tls.Conn:
		if err := c.HandshakeContext(ctx); err != nil {
			return nil, handshakeError(err, side)
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
			return nil, prefix.Errorf("pb: %w", err)
		}
		p.Binding = binding
	case *net.UnixConn:
		kernelPeer(c, p)
		p.Secure = true
	}
	return p, nil
}

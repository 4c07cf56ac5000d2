package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"
)

// A Network is what the two processes are joined by.
type Network struct {
	// Label is its name in the tables and the flag -nets: tcp, unix or tls,
	// with "-pinned" behind it where each process has a core of its own.
	Label string
	// Kind is tcp, unix or tls; the last is TLS 1.3 over TCP.
	Kind string
	// Pinned says whether each process has a core of its own.
	Pinned bool
}

const pinnedSuffix = "-pinned"

// ParseNetwork understands a Label.
func ParseNetwork(label string) (Network, error) {
	kind, pinned := strings.CutSuffix(label, pinnedSuffix)
	switch kind {
	case "tcp", "unix", "tls":
		return Network{Label: label, Kind: kind, Pinned: pinned}, nil
	}
	return Network{}, fmt.Errorf("harness: no network %q; there are tcp, unix and tls, also with "+
		"%s behind", label, pinnedSuffix)
}

// serverName is the host that the benchmark's certificate names.
const serverName = "bench.invalid"

// An Identity is a TLS server's key and its certificate, in DER. It is made for
// one run.
type Identity struct{ Certificate, Key []byte }

func newIdentity() (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1),
		DNSNames:              []string{serverName},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return &Identity{Certificate: cert, Key: der}, err
}

func (id *Identity) server() (*tls.Config, error) {
	key, err := x509.ParsePKCS8PrivateKey(id.Key)
	if err != nil {
		return nil, err
	}
	cert := tls.Certificate{Certificate: [][]byte{id.Certificate}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}, nil
}

// client shows a certificate too, the server's, to servers that want one.
func (id *Identity) client() (*tls.Config, error) {
	config, err := id.server()
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(id.Certificate)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	config.RootCAs, config.ServerName = roots, serverName
	return config, nil
}

// listen listens on addr; an identity makes it TLS.
func listen(kind, addr string, id *Identity) (net.Listener, error) {
	ln, err := net.Listen(transport(kind), addr)
	if err != nil || kind != "tls" {
		return ln, err
	}
	cfg, err := id.server()
	if err != nil {
		return nil, err
	}
	return tlsListener{ln, cfg}, nil
}

// transport is the kind of socket below.
func transport(kind string) string {
	if kind == "tls" {
		return "tcp"
	}
	return kind
}

// opaque hides that a connection is TLS. Systems that look would want to
// negotiate their protocol by it; here they are told.
type opaque struct{ net.Conn }

type tlsListener struct {
	net.Listener
	cfg *tls.Config
}

func (l tlsListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return opaque{tls.Server(c, l.cfg)}, nil
}

// A Dialer knows where the server is. It is a plain value.
type Dialer struct {
	kind, addr string
	id         *Identity
}

// DialerTo returns a Dialer to a server on a plain socket.
func DialerTo(addr net.Addr) Dialer { return Dialer{kind: addr.Network(), addr: addr.String()} }

// OverTLS gives the server's address and the configuration to reach it, for those that speak
// TLS themselves; nil: it is on a plain socket.
func (d Dialer) OverTLS() (addr string, config *tls.Config, err error) {
	if d.kind != "tls" {
		return "", nil, nil
	}
	config, err = d.id.client()
	return d.addr, config, err
}

// Dial makes a connection to the server. For TLS the handshake is done.
func (d Dialer) Dial() (net.Conn, error) {
	c, err := net.Dial(transport(d.kind), d.addr)
	if err != nil || d.kind != "tls" {
		return c, err
	}
	cfg, err := d.id.client()
	if err != nil {
		return nil, err
	}
	tc := tls.Client(c, cfg)
	if err := tc.Handshake(); err != nil {
		_ = c.Close()
		return nil, err
	}
	return opaque{tc}, nil
}

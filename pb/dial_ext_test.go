package pb_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perspective/cred"
	"perspective/pb"
)

// serve has node listen on url until the end of the test and gives the URL to dial. Strangers
// have a minute, if the test does not say: ten seconds are too few for 64 handshakes under the
// race detector on a busy machine.
func serve(t *testing.T, node *pb.Node, url string) string {
	t.Helper()
	if node.Limits.Login == 0 {
		node.Limits.Login = time.Minute
	}
	ln, err := node.Listen(url)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- node.Serve(ln) }() // ends with the node
	t.Cleanup(func() {
		_ = node.Close()
		if err := <-served; !errors.Is(err, pb.ErrNodeClosed) {
			t.Errorf("Serve = %v", err)
		}
	})
	return node.URLOf(ln)
}

// dialer makes a node that is closed at the end of the test.
func dialer(t *testing.T, node *pb.Node) *pb.Node {
	t.Helper()
	t.Cleanup(func() { _ = node.Close() })
	return node
}

// says calls echo on the root behind url.
func says(t *testing.T, from *pb.Node, url string) error {
	t.Helper()
	c, err := from.Dial(t.Context(), url)
	if err != nil {
		return err
	}
	s, err := pb.Do[string](t.Context(), c.Root(), "echo", "hi")
	if err == nil && s != "hi" {
		t.Errorf("echo = %q", s)
	}
	return err
}

func TestDialTLS(t *testing.T) {
	server := &pb.Node{Root: &echoes{}, Logger: silent()}
	url := serve(t, server, "pb://127.0.0.1:0")
	if !strings.HasPrefix(url, "pb://") || !strings.Contains(url, "@127.0.0.1:") {
		t.Fatalf("URLOf = %s", url)
	}
	other, err := pb.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	id, host, _ := strings.Cut(strings.TrimPrefix(url, "pb://"), "@")
	client := dialer(t, &pb.Node{})

	if err := says(t, client, url); err != nil {
		t.Errorf("the right node id: %v", err)
	}
	if err := says(t, client, "pb://"+other.NodeID()+"@"+host); !errors.Is(err, pb.ErrWrongPeer) {
		t.Errorf("another node id: %v", err)
	}
	var unknown *pb.UnknownPeerError
	if err := says(t, client, "pb://"+host); !errors.As(err, &unknown) || unknown.URL != url ||
		!strings.Contains(err.Error(), id) {
		t.Errorf("no node id: %v, want the URL %s to use", err, url)
	}
	if err := says(t, client, "pb+tcp://"+host); err == nil {
		t.Error("plain TCP reached a node that speaks TLS")
	}
}

// authority is a certificate authority of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, cert: &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test authority"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// certify makes a certificate for a name of the web.
func (a *authority) certify(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// Without a node id the authorities of the web decide, by the name.
func TestDialByAuthority(t *testing.T) {
	ca, strangers := newAuthority(t), newAuthority(t)
	server := &pb.Node{
		Root:   &echoes{},
		Logger: silent(),
		TLS: &tls.Config{Certificates: []tls.Certificate{ca.certify(t, "localhost")},
			MinVersion: tls.VersionTLS13},
	}
	url := serve(t, server, "pb://127.0.0.1:0")
	_, port, _ := net.SplitHostPort(strings.TrimSuffix(url[strings.Index(url, "@")+1:], "/"))
	trusting := dialer(t,
		&pb.Node{TLS: &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS13}})
	if err := says(t, trusting, "pb://localhost:"+port); err != nil {
		t.Errorf("a name that the authority vouches for: %v", err)
	}
	var wrongName x509.HostnameError
	if err := says(t, trusting, "pb://127.0.0.1:"+port); !errors.As(err, &wrongName) {
		t.Errorf("another name: %v", err)
	}
	careful := dialer(t,
		&pb.Node{TLS: &tls.Config{RootCAs: strangers.pool(), MinVersion: tls.VersionTLS13}})
	var nobody x509.UnknownAuthorityError
	if err := says(t, careful, "pb://localhost:"+port); !errors.As(err, &nobody) {
		t.Errorf("another authority: %v", err)
	}
	if err := says(t, trusting, url); !errors.Is(err, pb.ErrWrongPeer) {
		t.Errorf("the node id of a node that shows another certificate: %v", err)
	}
}

// Nothing older than TLS 1.3 is spoken.
func TestOldTLSIsRefused(t *testing.T) {
	server := &pb.Node{Root: &echoes{}, Logger: silent()}
	url := serve(t, server, "pb://127.0.0.1:0")
	host := strings.TrimSuffix(url[strings.Index(url, "@")+1:], "/")
	// the point of the test
	nc, err := tls.Dial("tcp", host, &tls.Config{
		InsecureSkipVerify: true,
		MinVersion:         tls.VersionTLS12,
		MaxVersion:         tls.VersionTLS12,
	})
	if err == nil {
		_ = nc.Close()
		t.Error("TLS 1.2 was spoken")
	}
}

func TestDialNobody(t *testing.T) {
	client := dialer(t, &pb.Node{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silentURL := "pb://" + strings.Repeat("a", cred.NodeIDLen) + "@" + ln.Addr().String()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Dial(ctx, silentURL); err == nil || ctx.Err() == nil {
		t.Errorf("a peer that says nothing: %v", err)
	}
	_ = ln.Close()
	if _, err := client.Dial(t.Context(), silentURL); err == nil {
		t.Error("nobody listens, and Dial gave a connection")
	}
	_ = client.Close()
	if _, err := client.Dial(t.Context(), "pb+tcp://127.0.0.1:1"); err == nil {
		t.Error("a closed node dialed")
	}
}

// The TLS key of a peer, and the uid of one on a unix socket, are proved: they
// can be logged in with, and allowed.
func TestProvedPeers(t *testing.T) {
	key, err := pb.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	uid := uint32(os.Getuid())
	realm := &club{}
	server := &pb.Node{Root: &echoes{}, Logger: silent(),
		Portal: &cred.Portal{Realm: realm, Checkers: []cred.Checker{
			&cred.KeyChecker{Accounts: map[string]cred.AvatarID{key.NodeID(): "by key"}},
			&cred.UIDChecker{Accounts: map[uint32]cred.AvatarID{uid: "by uid"}},
		}}}
	overTLS := serve(t, server, "pb://127.0.0.1:0")
	overUnix := serve(t, server, "pb+unix://"+filepath.Join(t.TempDir(), "s"))

	known, stranger := dialer(t, &pb.Node{Key: key}), dialer(t, &pb.Node{})
	tests := []struct {
		name  string
		node  *pb.Node
		url   string
		creds cred.Credentials
		want  string // empty: refused
	}{
		{"a listed key", known, overTLS, cred.PeerKey{}, "by key"},
		{"another key", stranger, overTLS, cred.PeerKey{}, ""},
		{"a key claimed on a socket without keys", known, overUnix, cred.PeerKey{}, ""},
		{"a listed uid", stranger, overUnix, cred.PeerUID{}, "by uid"},
		{"a uid claimed over TLS", stranger, overTLS, cred.PeerUID{}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := test.node.Dial(t.Context(), test.url)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close() //nolint:errcheck // the end of the test
			me, err := c.Login(t.Context(), test.creds, nil)
			if test.want == "" {
				if !errors.Is(err, cred.ErrUnauthorized) {
					t.Errorf("Login = %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if who, err := pb.Do[string](t.Context(), me, "who"); who != test.want || err != nil {
				t.Errorf("who = %q, %v", who, err)
			}
		})
	}

	t.Run("a root behind a portal needs the login, also of a known uid", func(t *testing.T) {
		if err := says(t, stranger, overUnix); !errors.Is(err, pb.ErrNotLoggedIn) {
			t.Errorf("echo = %v", err)
		}
	})
	t.Run("allowed by key", func(t *testing.T) {
		guarded := &pb.Node{Root: &echoes{}, Logger: silent(), Allow: cred.AllowKeys(key.NodeID())}
		url := serve(t, guarded, "pb://127.0.0.1:0")
		if err := says(t, known, url); err != nil {
			t.Errorf("the key on the list: %v", err)
		}
		if err := says(t, stranger, url); err == nil {
			t.Error("a key that is not on the list was let in")
		}
	})
}

// A login is bound to the TLS connection that it was made over: a man in the middle that terminates
// the TLS can not relay it.
func TestLoginIsBoundToTheConnection(t *testing.T) {
	server, _ := door()
	server.Limits.Login = time.Minute // the machine may be busy, and a password costs
	url := serve(t, server, "pb://127.0.0.1:0")
	host := strings.TrimSuffix(url[strings.Index(url, "@")+1:], "/")
	middle := inTheMiddle(t, host)
	client := dialer(t, &pb.Node{})
	for name, target := range map[string]struct {
		url  string
		want error
	}{"straight": {url, nil}, "by way of another": {middle, cred.ErrUnauthorized}} {
		c, err := client.Dial(t.Context(), target.url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Login(t.Context(), ann(), nil); !errors.Is(err, target.want) {
			t.Errorf("%s: Login = %v, want %v", name, err, target.want)
		}
	}
}

// inTheMiddle passes on what it reads between two TLS connections, and gives
// the URL that a caller would have to be talked into.
func inTheMiddle(t *testing.T, host string) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		MinVersion:   tls.VersionTLS13,
		// it is the villain
		NextProtos:         []string{"perspective/1"},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true,
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() { // ends with the listener
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := tls.Dial("tcp", host, config)
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() { // ends with either connection
				_, _ = io.Copy(out, in)
				_ = out.Close()
			}()
			go func() { // ends with either connection
				_, _ = io.Copy(in, out)
				_ = in.Close()
			}()
		}
	}()
	return "pb://" + cred.NodeIDOf(public) + "@" + ln.Addr().String() + "/"
}

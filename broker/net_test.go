package broker_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"perspective/broker"
)

// overTLS gives the ends of a TLS connection as a program makes them, whose sockets a Broker cannot
// use.
func overTLS(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	c, s := tcp(t)
	return shaken(t, c, s)
}

// overMemory gives the ends of a TLS connection whose sockets a Broker uses itself.
func overMemory(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	c, s := tcp(t)
	return shaken(t, broker.UnderTLS(c), broker.UnderTLS(s))
}

// shaken is TLS over the ends of a connection, after the handshake.
func shaken(t testing.TB, c, s net.Conn) (*tls.Conn, *tls.Conn) {
	t.Helper()
	client, server := tlsConfigs(t)
	tc, ts := tls.Client(c, client), tls.Server(s, server)
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { err = ts.HandshakeContext(t.Context()) })
	cerr := tc.HandshakeContext(t.Context())
	wg.Wait()
	if err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
	return tc, ts
}

func tlsConfigs(t testing.TB) (client, server *tls.Config) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "test"},
		&tls.Config{MinVersion: tls.VersionTLS13,
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// TestDescriptorThatWaits: File makes the descriptor one that waits, for all holders of it, as
// programs do that hand it to another process. The collector, which stops the world, must not wait
// with it.
func TestDescriptorThatWaits(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no descriptors of that kind")
	}
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			c, s := sockets(t, network, map[string]string{"tcp": "127.0.0.1:0",
				"unix": filepath.Join(t.TempDir(), "s")}[network])
			f, err := s.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close() //nolint:errcheck // a copy
			f.Fd()
			cb, _ := pair(t, c, s, broker.Config{}, broker.Config{Root: echo()})
			for range 100 {
				if _, err := ask(1).to(t, cb, "echo").wait(t); err != nil {
					t.Fatal(err)
				}
			}
			runtime.GC()
		})
	}
}

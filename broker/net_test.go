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
	"testing"
	"time"

	"perspective/broker"
)

// overTLS gives the ends of a TLS connection, hands already shaken.
func overTLS(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"test"}}
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
	c, s := tcp(t)
	server := tls.Server(s, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	client := tls.Client(c, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "test"})
	return client, server
}

// TestDescriptorThatWaits: File makes the descriptor one that waits, for all who have it, as programs do that hand it to
// another process. The collector, which stops the world, must not wait with it.
func TestDescriptorThatWaits(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no descriptors of that kind")
	}
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			c, s := sockets(t, network, map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")}[network])
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

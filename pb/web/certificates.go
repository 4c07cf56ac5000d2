package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"perspective/internal/prefix"
)

const (
	// pairEvery is how often the files of a certificate are looked at.
	pairEvery = 5 * time.Second
	// maxPEM is how large each of them may be.
	maxPEM = 1 << 20
	// expirySoon is when the log begins to tell, once a day, that a certificate ends.
	expirySoon = 7 * 24 * time.Hour
)

// Certificates are those of a TLS server, as a TLS says: from two files, which are read again when
// they change, or by ACME. The zero value has none. Set the fields, call Open, serve with Config,
// and let Watch run beside; the methods but for Open may then be called from any goroutine.
type Certificates struct {
	// TLS says where they come from.
	TLS TLS
	// Dial connects to the ACME server; nil: a net.Dialer does.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Logger gets what an administrator should know; nil: slog.Default.
	Logger *slog.Logger

	read    func() (cert, key []byte, err error) // the pair of files
	taken   func(cert, key []byte) error         // is told each pair that is used; nil: nobody is
	last    [2][]byte                            // what was read last, good or bad; by Watch alone
	ca      []byte                               // in place of the file TLS.CA
	manager *autocert.Manager                    // of ACME
	// ending ends the requests of the manager, which takes no context.
	ending context.Context //nolint:containedctx // as it says
	end    context.CancelFunc

	mu    sync.Mutex // of those that change the table
	table atomic.Pointer[certificateTable]
	told  time.Time // when the log last told of an end; by Watch alone
}

// A certificateTable is what a handshake may be answered with.
type certificateTable struct {
	any    *tls.Certificate // whatever name the client asks for; nil: see named
	named  map[string]*tls.Certificate
	expiry time.Time // the first of all
}

// Open reads the files, or prepares for ACME without connecting to anything. An error says which
// file is wrong, and why.
func (c *Certificates) Open() error {
	if c.TLS.ACME {
		return c.openACME()
	}
	if c.read == nil {
		c.read = func() (cert, key []byte, err error) { return readPair(&c.TLS) }
	}
	cert, key, err := c.read()
	if err != nil {
		return err
	}
	pair, err := parsePair(cert, key)
	if err != nil {
		return err
	}
	if c.taken != nil {
		if err := c.taken(cert, key); err != nil {
			return err
		}
	}
	c.last = [2][]byte{cert, key}
	c.table.Store(&certificateTable{any: pair, expiry: pair.Leaf.NotAfter})
	c.tellExpiry(time.Now())
	return nil
}

// Config returns what to serve with: TLS 1.2 and up with Go's choice of ciphers, HTTP/2 and
// HTTP/1.1, and session tickets whose keys crypto/tls changes every day.
func (c *Certificates) Config() *tls.Config {
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: c.get,
	}
	if c.TLS.ACME {
		config.NextProtos = append(config.NextProtos, acme.ALPNProto)
	}
	return config
}

// Expiry tells when the first of the certificates in use ends; the zero time: there is none yet.
func (c *Certificates) Expiry() time.Time {
	if t := c.table.Load(); t != nil {
		return t.expiry
	}
	return time.Time{}
}

// Watch keeps the certificates fresh until ctx ends. It reads the files every five seconds, and
// takes a pair that has changed if it is whole, fits together, and has not ended; otherwise it logs
// why not, once, and keeps what it has. By ACME it gets what the cache does not have, and again
// before it ends.
func (c *Certificates) Watch(ctx context.Context) {
	if c.TLS.ACME {
		c.watchACME(ctx)
		return
	}
	ticker := time.NewTicker(pairEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.reload()
		case <-ctx.Done():
			return
		}
	}
}

// get answers a handshake. It never waits for a certificate to come.
func (c *Certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.manager != nil && isChallenge(hello) {
		return c.manager.GetCertificate(hello)
	}
	t := c.table.Load()
	switch {
	case t == nil:
		return nil, errors.New("web: there is no certificate yet")
	case t.any != nil:
		return t.any, nil
	}
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if name == "" { // the client knows an address alone
		name = c.TLS.Domains[0]
	}
	if cert := t.named[name]; cert != nil {
		return cert, nil
	}
	return nil, fmt.Errorf("web: there is no certificate for %q", name)
}

// reload reads the files again. What is wrong with them is told once.
func (c *Certificates) reload() {
	cert, key, err := c.read()
	if errors.Is(err, errTorn) {
		return
	}
	now := [2][]byte{cert, key} // empty: they cannot be read
	if bytes.Equal(now[0], c.last[0]) && bytes.Equal(now[1], c.last[1]) {
		c.tellExpiry(time.Now())
		return
	}
	c.last = now
	var pair *tls.Certificate
	if err == nil {
		pair, err = parsePair(cert, key)
	}
	if err == nil {
		err = c.worse(pair.Leaf)
	}
	if err == nil && c.taken != nil {
		err = c.taken(cert, key)
	}
	if err != nil {
		c.log().Error("the certificate's files have changed and cannot be used: "+
			"the certificate in use stays", "cert", c.TLS.Cert, "key", c.TLS.Key, "err", err)
		return
	}
	c.table.Store(&certificateTable{any: pair, expiry: pair.Leaf.NotAfter})
	c.log().Info("certificate read again", "cert", c.TLS.Cert, "expires", pair.Leaf.NotAfter)
	c.told = time.Time{}
	c.tellExpiry(time.Now())
}

// worse is an error where the new certificate is not valid now and the one in use is.
func (c *Certificates) worse(leaf *x509.Certificate) error {
	now := time.Now()
	if old := c.table.Load(); outside(leaf, now) && !outside(old.any.Leaf, now) {
		return fmt.Errorf("web: the new certificate is valid from %v to %v", leaf.NotBefore,
			leaf.NotAfter)
	}
	return nil
}

// tellExpiry logs, once a day, that the certificate in use has ended or is about to.
func (c *Certificates) tellExpiry(now time.Time) {
	expiry := c.Expiry()
	if expiry.Sub(now) > expirySoon || now.Sub(c.told) < 24*time.Hour {
		return
	}
	c.told = now
	if expiry.After(now) {
		c.log().Warn("the certificate expires soon", "expires", expiry)
	} else {
		c.log().Error("the certificate has expired: clients will refuse it", "expired", expiry)
	}
}

func (c *Certificates) log() *slog.Logger {
	if c.Logger == nil {
		return slog.Default()
	}
	return c.Logger
}

func outside(leaf *x509.Certificate, now time.Time) bool {
	return now.Before(leaf.NotBefore) || now.After(leaf.NotAfter)
}

// readPair reads the two files of a TLS.
func readPair(t *TLS) (cert, key []byte, err error) {
	if cert, err = readPEM(t.Cert); err != nil {
		return nil, nil, err
	}
	key, err = readPEM(t.Key)
	return cert, key, err
}

// readPEM reads a file that should be small.
func readPEM(path string) ([]byte, error) {
	info, err := os.Stat(path) // opening what is no file could wait for ever
	if err != nil {
		return nil, prefix.Errorf("web: tls: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("web: tls: %s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, prefix.Errorf("web: tls: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err != nil {
		return nil, prefix.Errorf("web: tls: %w", err)
	}
	if len(text) > maxPEM {
		return nil, fmt.Errorf("web: tls: %s has more than %d bytes", path, maxPEM)
	}
	return text, nil
}

// parsePair makes a certificate of two PEM texts. The key must be the certificate's.
func parsePair(cert, key []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, prefix.Errorf("web: tls: cert and key: %w", err)
	}
	return &pair, nil
}

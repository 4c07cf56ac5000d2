package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"perspective/internal/prefix"
)

const (
	// acmeEvery is how often a certificate is asked for that autocert may have renewed, and the
	// least time between two tries to get one. It is over the minute that autocert keeps a failure.
	acmeEvery = 75 * time.Second
	// acmeLongest is the most time between two tries. Let's Encrypt takes five failures an hour.
	acmeLongest = time.Hour
	// acmeTimeout ends a request to the ACME server.
	acmeTimeout = time.Minute
	// maxACMEBody is how much of an answer of its is read.
	maxACMEBody = 1 << 20
)

// openACME makes the manager. Nothing is asked for yet.
func (c *Certificates) openACME() error {
	if len(c.TLS.Domains) == 0 || c.TLS.Cache == "" {
		return errors.New("web: tls: acme needs domains and cache")
	}
	for i, d := range c.TLS.Domains {
		c.TLS.Domains[i] = strings.ToLower(strings.TrimSuffix(d, "."))
	}
	roots, err := c.roots()
	if err != nil {
		return err
	}
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	directory := c.TLS.Directory
	if directory == "" {
		directory = autocert.DefaultACMEDirectory
	}
	allowed := autocert.HostWhitelist(c.TLS.Domains...)
	c.ending, c.end = context.WithCancel(context.Background())
	c.manager = &autocert.Manager{
		Prompt: autocert.AcceptTOS,
		Cache:  autocert.DirCache(c.TLS.Cache),
		HostPolicy: func(ctx context.Context, host string) error {
			return allowed(ctx, hostOf(host)) // a request names its port where that is not 80
		},
		Client: &acme.Client{
			DirectoryURL: directory,
			UserAgent:    "perspective",
			HTTPClient: &http.Client{
				Timeout: acmeTimeout,
				Transport: &acmeTransport{ending: c.ending, next: &http.Transport{
					DialContext:       dial,
					ForceAttemptHTTP2: true,
					TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
					IdleConnTimeout:   acmeTimeout,
				}},
			},
		},
	}
	return nil
}

// roots are the system's authorities and TLS.CA's; nil: the system's alone.
func (c *Certificates) roots() (*x509.CertPool, error) {
	text := c.ca
	if text == nil && c.TLS.CA == "" {
		return nil, nil
	}
	if text == nil {
		var err error
		if text, err = readPEM(c.TLS.CA); err != nil {
			return nil, err
		}
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("web: tls: ca: %s has no certificate in PEM", c.TLS.CA)
	}
	return roots, nil
}

// watchACME keeps a certificate for each domain until ctx ends.
func (c *Certificates) watchACME(ctx context.Context) {
	defer c.end()
	var running sync.WaitGroup
	for _, domain := range c.TLS.Domains {
		running.Go(func() { c.watchDomain(ctx, domain) }) // ends with ctx
	}
	running.Wait()
}

func (c *Certificates) watchDomain(ctx context.Context, domain string) {
	wait := acmeEvery
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		switch err := c.obtain(ctx, domain); {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.log().Error("no certificate by ACME, another try follows", "domain", domain,
				"after", wait, "err", err)
			timer.Reset(wait + rand.N(wait/8)) //nolint:gosec // so that sites do not ask together
			wait = min(2*wait, acmeLongest)
		default:
			wait = acmeEvery
			// It asks autocert's memory, also for one that lives for minutes.
			timer.Reset(max(time.Second, min(acmeEvery, time.Until(c.Expiry())/10)))
		}
	}
}

// obtain takes autocert's certificate for the domain, out of its cache, or by an order. autocert
// renews it by itself, and gives the new one from then on.
func (c *Certificates) obtain(ctx context.Context, domain string) error {
	type answer struct {
		cert *tls.Certificate
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // ends with the order: autocert takes no context, but its requests end with Watch
		cert, err := c.manager.GetCertificate(&tls.ClientHelloInfo{
			ServerName:        domain,
			SignatureSchemes:  []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
			SupportedCurves:   []tls.CurveID{tls.CurveP256},
			CipherSuites:      []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
			SupportedVersions: []uint16{tls.VersionTLS13},
		})
		answers <- answer{cert, err}
	}()
	select {
	case a := <-answers:
		if a.err == nil {
			c.put(domain, a.cert)
		}
		return a.err
	case <-ctx.Done():
		c.end()
		return ctx.Err()
	}
}

// put makes it the domain's.
func (c *Certificates) put(domain string, cert *tls.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := &certificateTable{named: map[string]*tls.Certificate{}}
	if old := c.table.Load(); old != nil {
		if had := old.named[domain]; had != nil && had.Leaf.Equal(cert.Leaf) {
			return
		}
		maps.Copy(next.named, old.named)
	}
	next.named[domain] = cert
	for _, one := range next.named {
		if next.expiry.IsZero() || one.Leaf.NotAfter.Before(next.expiry) {
			next.expiry = one.Leaf.NotAfter
		}
	}
	c.table.Store(next)
	c.log().Info("certificate by ACME", "domain", domain, "expires", cert.Leaf.NotAfter)
}

// isChallenge says whether a handshake is the ACME server's, which proves tls-alpn-01 (RFC 8737).
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto})
}

// An acmeTransport ends the requests to the ACME server with what they are for, and reads no more
// of their answers than such answers have.
type acmeTransport struct {
	ending context.Context //nolint:containedctx // autocert makes requests with contexts of its own
	next   http.RoundTripper
}

// RoundTrip makes one request.
func (t *acmeTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(t.ending, cancel)
	resp, err := t.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		stop()
		cancel()
		return nil, prefix.Errorf("web: acme: %w", err)
	}
	resp.Body = &acmeBody{Reader: io.LimitReader(resp.Body, maxACMEBody), Closer: resp.Body,
		closed: func() { stop(); cancel() }}
	return resp, nil
}

// An acmeBody is an answer's.
type acmeBody struct {
	io.Reader
	io.Closer

	closed func()
}

// Close ends it.
func (b *acmeBody) Close() error {
	defer b.closed()
	return b.Closer.Close()
}

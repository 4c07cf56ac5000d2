package conformance

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"perspective/pb/distrib"
	"perspective/pb/web"
)

// patience is how long a test waits for what should come at once.
const patience = 3 * time.Minute

var domains = []string{"one.site.test", "two.site.test"}

// An authority is a pebble that runs, and the name server that it asks.
type authority struct {
	directory string
	ca        string         // the file of whoever signed the directory's certificate
	roots     *x509.CertPool // of the certificates that it gives
	stop      func()
}

// program builds a program of go.mod's tools.
func program(t *testing.T, path string) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", dir+"/", path).CombinedOutput()
	if err != nil {
		t.Fatalf("go build %s: %v\n%s", path, err, out)
	}
	return filepath.Join(dir, filepath.Base(path))
}

// start runs a program until the test ends or the function is called.
func start(t *testing.T, env []string, name string, args ...string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		_ = cmd.Wait()
		_ = log.Close()
	})
	t.Cleanup(func() {
		stop()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s: %s", filepath.Base(name), text)
		}
	})
	return stop
}

// freePort is a port of 127.0.0.1 that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// ownCertificate makes the directory's certificate, which signs itself.
func ownCertificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// newAuthority starts pebble, whose challenges go to the two ports and whose certificates are valid
// for that long.
func newAuthority(t *testing.T, tlsPort, httpPort int, valid time.Duration) *authority {
	t.Helper()
	dir := t.TempDir()
	cert, key := ownCertificate(t, dir)
	dns, port, management := freePort(t), freePort(t), freePort(t)
	start(t, nil, program(t, "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv"),
		"-dnsserver", "127.0.0.1:"+dns, "-management", "127.0.0.1:"+freePort(t), "-http01", "",
		"-https01", "", "-doh", "", "-tlsalpn01", "", "-defaultIPv6", "")
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress":           "127.0.0.1:" + port,
		"managementListenAddress": "127.0.0.1:" + management,
		"certificate":             cert,
		"privateKey":              key,
		"httpPort":                httpPort,
		"tlsPort":                 tlsPort,
		"keyAlgorithm":            "ecdsa",
		"retryAfter":              map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{"default": map[string]any{
			"description": "d", "validityPeriod": int(valid.Seconds())}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	a := &authority{directory: "https://127.0.0.1:" + port + "/dir", ca: cert,
		roots: x509.NewCertPool()}
	a.stop = start(t, []string{"PEBBLE_VA_NOSLEEP=1"},
		program(t, "github.com/letsencrypt/pebble/v2/cmd/pebble"),
		"-config", file, "-dnsserver", "127.0.0.1:"+dns)
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	own := x509.NewCertPool()
	own.AppendCertsFromPEM(text)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: own}}}
	eventually(t, "pebble answers", func() bool {
		resp, err := client.Get("https://127.0.0.1:" + management + "/roots/0")
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		root, err := io.ReadAll(resp.Body)
		return err == nil && a.roots.AppendCertsFromPEM(root)
	})
	return a
}

// eventually waits until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		pause()
	}
}

// pause lets others run: a look costs a connection.
func pause() {
	timer := time.NewTimer(50 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
}

// A site is one with certificates by ACME.
type acmeSite struct {
	t            *testing.T
	certificates *web.Certificates
	tls, plain   net.Listener
	stop         func()
}

// newACMESite listens, and serves once there is an authority. Without port 80 plain is nil.
func listen(t *testing.T) (net.Listener, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, l.Addr().(*net.TCPAddr).Port
}

// run serves with certificates of the authority until the test ends or stop is called.
func (s *acmeSite) run(a *authority, cache string) {
	s.t.Helper()
	s.certificates = &web.Certificates{
		TLS:    web.TLS{ACME: true, Domains: domains, Cache: cache, Directory: a.directory, CA: a.ca},
		Logger: slog.New(slog.NewTextHandler(s.t.Output(), nil)),
	}
	if err := s.certificates.Open(); err != nil {
		s.t.Fatal(err)
	}
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	site.Local("/", http.HandlerFunc(page))
	server := site.Server()
	server.TLSConfig = s.certificates.Config()
	plain := site.Server()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = server.ServeTLS(site.Clients(s.tls), "", "") })
	if s.plain != nil {
		plain.Handler = s.certificates.Plain("443")
		running.Go(func() { _ = plain.Serve(site.Clients(s.plain)) })
	}
	running.Go(func() { s.certificates.Watch(ctx) })
	s.stop = sync.OnceFunc(func() {
		cancel()
		_ = server.Close()
		_ = plain.Close()
		running.Wait()
		_ = site.Close()
	})
	s.t.Cleanup(s.stop)
}

// leaf is the certificate that the site shows for a domain, if it is one of the authority's.
func (s *acmeSite) leaf(a *authority, domain string) *x509.Certificate {
	nc, err := tls.Dial("tcp", s.tls.Addr().String(), &tls.Config{RootCAs: a.roots,
		ServerName: domain, NextProtos: []string{"h2"}})
	if err != nil {
		return nil
	}
	defer func() { _ = nc.Close() }()
	return nc.ConnectionState().PeerCertificates[0]
}

// TestACME gets certificates by either challenge; a site that starts again has them without the
// authority.
func TestACME(t *testing.T) {
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			s := &acmeSite{t: t}
			var tlsPort, httpPort int
			s.tls, tlsPort = listen(t)
			if challenge == "http-01" {
				s.plain, httpPort = listen(t)
				var elsewhere net.Listener
				elsewhere, tlsPort = listen(t)
				_ = elsewhere.Close()
			}
			a := newAuthority(t, tlsPort, httpPort, 90*24*time.Hour)
			cache := filepath.Join(t.TempDir(), "cache")
			s.run(a, cache)
			serials := map[string]string{}
			for _, domain := range domains {
				eventually(t, "a certificate for "+domain, func() bool {
					leaf := s.leaf(a, domain)
					if leaf != nil {
						serials[domain] = leaf.SerialNumber.String()
					}
					return leaf != nil
				})
			}
			if left := time.Until(s.certificates.Expiry()); left < 89*24*time.Hour {
				t.Errorf("Expiry() is in %v", left)
			}
			if s.leaf(a, "three.site.test") != nil {
				t.Error("a name that is no domain's has a certificate")
			}
			isPrivate(t, cache)
			if s.plain != nil {
				redirects(t, s.plain.Addr().String())
			}

			s.stop()
			a.stop()
			s.tls, _ = listen(t)
			s.plain = nil
			s.run(a, cache)
			for _, domain := range domains {
				eventually(t, "the certificate out of the cache", func() bool {
					leaf := s.leaf(a, domain)
					if leaf != nil && leaf.SerialNumber.String() != serials[domain] {
						t.Errorf("%s has another certificate", domain)
					}
					return leaf != nil
				})
			}
		})
	}
}

// TestACMERenewal sees a certificate that is valid for a while replaced before it ends.
func TestACMERenewal(t *testing.T) {
	t.Parallel()
	s := &acmeSite{t: t}
	var port int
	s.tls, port = listen(t)
	a := newAuthority(t, port, 0, 40*time.Second)
	s.run(a, t.TempDir())
	first := ""
	eventually(t, "a certificate, and another after it", func() bool {
		leaf := s.leaf(a, domains[0])
		if leaf == nil {
			return false
		}
		serial := leaf.SerialNumber.String()
		if first == "" {
			first = serial
		}
		return serial != first
	})
}

// isPrivate fails unless the folder and all in it are for their owner alone.
func isPrivate(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// redirects fails unless a request is sent to https.
func redirects(t *testing.T, addr string) {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post(fmt.Sprintf("http://%s/a?b", addr), "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusPermanentRedirect ||
		got != "https://127.0.0.1/a?b" {
		t.Errorf("redirected by %d to %q", resp.StatusCode, got)
	}
}

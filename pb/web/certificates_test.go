package web

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb/distrib"
	"perspective/pb/pbtest"
)

// A logBook is a log that can be read while it is written.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// taken returns what was logged since the last call.
func (l *logBook) taken() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

func (l *logBook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// newPair makes a certificate that signs itself, for name, from now until the end.
func newPair(t *testing.T, name string, valid time.Duration) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()),
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(valid)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// A pairOnDisk is the files of a certificate.
type pairOnDisk struct {
	t *testing.T
	TLS
}

func newPairOnDisk(t *testing.T, name string, valid time.Duration) *pairOnDisk {
	t.Helper()
	dir := t.TempDir()
	p := &pairOnDisk{t, TLS{Cert: filepath.Join(dir, "cert.pem"),
		Key: filepath.Join(dir, "key.pem")}}
	cert, key := newPair(t, name, valid)
	p.write(cert, key)
	return p
}

// write replaces the files; nil leaves one as it is.
func (p *pairOnDisk) write(cert, key []byte) {
	p.t.Helper()
	for path, text := range map[string][]byte{p.Cert: cert, p.Key: key} {
		if text == nil {
			continue
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

// served is the name in the certificate that a handshake would be answered with.
func served(t *testing.T, c *Certificates) string {
	t.Helper()
	cert, err := c.Config().GetCertificate(&tls.ClientHelloInfo{ServerName: "any.test"})
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf.Subject.CommonName
}

const year = 365 * 24 * time.Hour

// pass lets that much of a bubble's time pass, and what is due in it happen.
func pass(d time.Duration) {
	<-time.NewTimer(d).C
	synctest.Wait()
}

// A pair that changes is taken within seconds if it is whole and fits; one that does not is told
// once and the old one stays.
func TestCertificatesAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var book logBook
		disk := newPairOnDisk(t, "first", year)
		c := &Certificates{TLS: disk.TLS, Logger: book.logger()}
		if err := c.Open(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() { c.Watch(ctx) })
		defer watching.Wait()
		defer cancel()
		second, secondKey := newPair(t, "second", year)
		late, lateKey := newPair(t, "late", -time.Hour)
		third, thirdKey := newPair(t, "third", 2*24*time.Hour)
		for _, step := range []struct {
			name      string
			cert, key []byte
			want, log string
		}{
			{"nothing has changed", nil, nil, "first", ""},
			{"the certificate without its key", second, nil, "first", "does not match"},
			{"the key follows", nil, secondKey, "second", "read again"},
			{"half of a file", second[:len(second)/2], nil, "second", "cannot be used"},
			{"an empty key", second, []byte{}, "second", "cannot be used"},
			{"as it was", second, secondKey, "second", "read again"},
			{"one that has ended", late, lateKey, "second", "cannot be used"},
			{"larger than any", bytes.Repeat([]byte{'\n'}, maxPEM+1), nil, "second", "more than"},
			{"one that ends soon", third, thirdKey, "third", "expires soon"},
		} {
			book.taken()
			disk.write(step.cert, step.key)
			pass(3 * pairEvery)
			if got := served(t, c); got != step.want {
				t.Errorf("%s: %s is served, want %s", step.name, got, step.want)
			}
			told := book.taken()
			if !strings.Contains(told, step.log) || step.log == "" && told != "" ||
				strings.Count(told, "cannot be used") > 1 {
				t.Errorf("%s: the log says %q, want %q in it, and once", step.name, told, step.log)
			}
		}
		if err := os.Remove(disk.Cert); err != nil {
			t.Fatal(err)
		}
		pass(3 * pairEvery)
		if got, told := served(t, c), book.taken(); got != "third" ||
			strings.Count(told, "no such file") != 1 {
			t.Errorf("without the file %s is served and the log says %q", got, told)
		}
		pass(25 * time.Hour)
		disk.write(third, nil)
		pass(25 * time.Hour)
		if told := book.taken(); !strings.Contains(told, "has expired") {
			t.Errorf("when it has expired the log says %q", told)
		}
		if got := time.Until(c.Expiry()); got > 0 || got < -24*time.Hour {
			t.Errorf("Expiry() is %v from now", got)
		}
	})
}

func TestCertificatesThatCannotBeOpened(t *testing.T) {
	disk := newPairOnDisk(t, "first", year)
	_, other := newPair(t, "other", year)
	strange := filepath.Join(t.TempDir(), "other.pem")
	if err := os.WriteFile(strange, other, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		tls  TLS
		want string
	}{
		{"no file", TLS{Cert: disk.Cert, Key: disk.Key + "x"}, "no such file"},
		{"a folder", TLS{Cert: t.TempDir(), Key: disk.Key}, "no regular file"},
		{"another's key", TLS{Cert: disk.Cert, Key: strange}, "does not match"},
		{"no domains", TLS{ACME: true, Cache: t.TempDir()}, "domains"},
		{"no cache", TLS{ACME: true, Domains: []string{"a.test"}}, "cache"},
		{"no authority", TLS{ACME: true, Cache: t.TempDir(), Domains: []string{"a.test"},
			CA: strange}, "no certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := (&Certificates{TLS: test.tls}).Open()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open() = %v, want %q in it", err, test.want)
			}
		})
	}
}

// Browsers of TLS 1.2 and up are served, by HTTP/2 or HTTP/1.1, and come back by their tickets.
func TestTLSVersions(t *testing.T) {
	pbtest.NoLeaks(t)
	disk := newPairOnDisk(t, "site.test", year)
	c := &Certificates{TLS: disk.TLS}
	if err := c.Open(); err != nil {
		t.Fatal(err)
	}
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := site.Server()
	server.TLSConfig = c.Config()
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.ServeTLS(site.Clients(l), "", "") })
	defer serving.Wait()
	defer func() { _ = server.Close() }()
	cert, _, err := c.read()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	for _, test := range []struct {
		name    string
		version uint16
		server  string
		alpn    string // empty: the handshake fails
	}{
		{"TLS 1.1", tls.VersionTLS11, "site.test", ""},
		{"TLS 1.2", tls.VersionTLS12, "site.test", "h2"},
		{"TLS 1.3", tls.VersionTLS13, "site.test", "h2"},
		{"HTTP/1.1", tls.VersionTLS13, "site.test", "http/1.1"},
		{"another name", tls.VersionTLS13, "other.test", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			tickets := tls.NewLRUClientSessionCache(1)
			config := &tls.Config{RootCAs: roots, ServerName: test.server,
				NextProtos: []string{"h2"}, MinVersion: test.version, MaxVersion: test.version,
				ClientSessionCache: tickets}
			if test.alpn == "http/1.1" {
				config.NextProtos = []string{"http/1.1"}
			}
			for i := range 2 {
				nc, err := tls.Dial("tcp", l.Addr().String(), config)
				if test.alpn == "" {
					if err == nil {
						t.Error("it is served")
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				// The ticket of TLS 1.3 comes with what is read.
				_, _ = nc.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
				_, _ = nc.Read(make([]byte, 1))
				state := nc.ConnectionState()
				if state.NegotiatedProtocol != test.alpn || state.DidResume != (i > 0) {
					t.Errorf("connection %d: %q, resumed %v; want %q", i,
						state.NegotiatedProtocol, state.DidResume, test.alpn)
				}
				_ = nc.Close()
			}
		})
	}
}

// Handshakes do not wait for certificates, and only the domains have some.
func TestACMEHandshakes(t *testing.T) {
	c := &Certificates{TLS: TLS{ACME: true, Domains: []string{"A.test", "b.test."},
		Cache: t.TempDir(), Directory: "https://127.0.0.1:1/dir"},
		Logger: slog.New(slog.DiscardHandler)}
	if err := c.Open(); err != nil {
		t.Fatal(err)
	}
	get := c.Config().GetCertificate
	if cert, err := get(&tls.ClientHelloInfo{ServerName: "a.test"}); err == nil {
		t.Errorf("before there is one %v is served", cert)
	}
	for _, name := range []string{"a.test", "b.test"} {
		pair, err := parsePair(newPair(t, name, year))
		if err != nil {
			t.Fatal(err)
		}
		c.put(name, pair)
	}
	for name, want := range map[string]string{"a.test": "a.test", "B.Test.": "b.test", "": "a.test",
		"c.test": "", "b.test.a.test": ""} {
		cert, err := get(&tls.ClientHelloInfo{ServerName: name})
		if want == "" {
			if err == nil {
				t.Errorf("%q: %s is served", name, cert.Leaf.Subject.CommonName)
			}
			continue
		}
		if err != nil || cert.Leaf.Subject.CommonName != want {
			t.Errorf("%q: %v, %v, want %s", name, cert, err, want)
		}
	}
	challenge := &tls.ClientHelloInfo{ServerName: "a.test", SupportedProtos: []string{"acme-tls/1"}}
	if cert, err := get(challenge); err == nil {
		t.Errorf("a challenge that nobody asked for gets %v", cert)
	}
}

func TestRedirect(t *testing.T) {
	for _, test := range []struct{ method, port, host, target, want string }{
		{"GET", "", "site.test", "/", "https://site.test/"},
		{"POST", "443", "site.test:80", "/a%20b?c=d&e", "https://site.test/a%20b?c=d&e"},
		{"GET", "8443", "site.test:8080", "//other.test/", "https://site.test:8443//other.test/"},
		{"GET", "", "127.0.0.1", "/", "https://127.0.0.1/"},
		{"GET", "", "[::1]:80", "/", "https://[::1]/"},
		{"GET", "8443", "[::1]", "/", "https://[::1]:8443/"},
		{"GET", "", "", "/", ""},
		{"GET", "", "site.test@other.test", "/", ""},
		{"GET", "", "other.test/x", "/", ""},
		{"GET", "", "a b", "/", ""},
		{"OPTIONS", "", "site.test", "*", ""},
	} {
		r := httptest.NewRequest(test.method, "/", nil)
		r.Host = test.host
		u := *r.URL
		if test.target == "*" {
			u.Path = "*"
		} else if parsed, err := u.Parse("http://x" + test.target); err != nil {
			t.Fatal(err)
		} else {
			u = *parsed
		}
		r.URL = &u
		w := httptest.NewRecorder()
		(&Certificates{}).Plain(test.port).ServeHTTP(w, r)
		status := http.StatusPermanentRedirect
		if test.want == "" {
			status = http.StatusBadRequest
		}
		if got := w.Header().Get("Location"); got != test.want || w.Code != status {
			t.Errorf("%s %s%s: %d to %q, want %d to %q", test.method, test.host, test.target,
				w.Code, got, status, test.want)
		}
	}
}

func TestWhichAddressesRedirect(t *testing.T) {
	for addr, want := range map[string]bool{":80": true, "[::1]:80": true, "site.test:http": true,
		":443": false, ":8080": false, "unix:/run/site:80": false} {
		if got := isRedirect(addr); got != want {
			t.Errorf("isRedirect(%q) = %v, want %v", addr, got, want)
		}
	}
}

func TestWhereRedirectsLead(t *testing.T) {
	for want, listen := range map[string][]string{"": {":80"}, "443": {":80", ":443", ":8443"},
		"8443": {"unix:/run/x:1", "[::1]:http", "[::1]:8443"}} {
		if got := httpsPort(listen); got != want {
			t.Errorf("httpsPort(%q) = %q, want %q", listen, got, want)
		}
	}
}

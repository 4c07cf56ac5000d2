package distrib_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb/distrib"
)

// A troubledListener gives one outcome after another before it accepts.
type troubledListener struct {
	net.Listener
	outcomes []func() (net.Conn, error)
}

func (l *troubledListener) Accept() (net.Conn, error) {
	if len(l.outcomes) == 0 {
		return l.Listener.Accept()
	}
	outcome := l.outcomes[0]
	l.outcomes = l.outcomes[1:]
	return outcome()
}

// Neither a process without descriptors nor a connection that comes to nothing ends Accept.
func TestAcceptGoesOn(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "app"))
	if err != nil {
		t.Fatal(err)
	}
	fails := func(err error) func() (net.Conn, error) {
		return func() (net.Conn, error) {
			return nil, &net.OpError{
				Op:  "accept",
				Net: "unix",
				Err: os.NewSyscallError("accept4", err),
			}
		}
	}
	dead := func() (net.Conn, error) { // no link can be made of it
		ours, theirs := net.Pipe()
		_ = theirs.Close()
		return tls.Server(ours, &tls.Config{}), nil
	}
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	var accepting sync.WaitGroup
	accepting.Go(func() { // ends with the listener
		troubled := &troubledListener{l, []func() (net.Conn, error){
			fails(syscall.EMFILE), fails(syscall.ENFILE), dead, fails(syscall.ECONNABORTED), dead,
			fails(syscall.ENOBUFS), fails(syscall.ENOMEM),
		}}
		if err := site.Accept("app", troubled); err != nil {
			t.Errorf("Accept() = %v", err)
		}
	})
	back, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s.serve("app", back,
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "still here") })
	if _, body := s.get("/app/"); body != "still here" {
		t.Errorf("body = %q", body)
	}
	_ = l.Close()
	accepting.Wait()
	if err := site.Accept("nobody",
		&troubledListener{l, []func() (net.Conn, error){dead}}); err == nil {
		t.Error("Accept for a back end without a route gave no error")
	}
}

// acceptTLS lets a site with a back end "app" accept links over TLS, and returns how to dial it and
// its configuration.
func acceptTLS(t *testing.T) (s *split, dial func() net.Conn, config *tls.Config) {
	t.Helper()
	certified := httptest.NewTLSServer(nil)
	pool := x509.NewCertPool()
	pool.AddCert(certified.Certificate())
	config = &tls.Config{
		MinVersion:   tls.VersionTLS13,
		RootCAs:      pool,
		ServerName:   "example.com",
		Certificates: certified.TLS.Certificates,
	}
	certified.Close()
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s = newSplit(t, site)
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() { // ends with the listener
		if err := site.Accept("app", l); err != nil {
			t.Errorf("Accept() = %v", err)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		accepting.Wait()
	})
	return s, func() net.Conn {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		return nc
	}, config
}

// A peer that says nothing in its handshake holds up no other.
func TestAcceptGoesOnBehindAHandshake(t *testing.T) {
	s, dial, config := acceptTLS(t)
	for range 15 {
		dial()
	}
	s.serve("app", tls.Client(dial(), config),
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "all the same") })
	if _, body := s.get("/app/"); body != "all the same" {
		t.Errorf("body = %q", body)
	}
}

// One address has 16 handshakes at once, and no more; Close ends them.
func TestHandshakesAreBounded(t *testing.T) {
	_, dial, _ := acceptTLS(t)
	held := make([]net.Conn, 16)
	for i := range held {
		held[i] = dial()
	}
	if n, err := dial().Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the handshake after the last one reads %d, %v, want its end", n, err)
	}
	for _, nc := range held {
		_ = nc.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("one within the bound reads %v, want to wait", err)
		}
	}
}

// A handshake that does not come ends after 10 s, as Site.Attach says.
func TestHandshakeHasATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
		site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
		ours, theirs := net.Pipe()
		began := time.Now()
		if err := site.Attach("app",
			tls.Server(ours, &tls.Config{MinVersion: tls.VersionTLS13})); err != nil {
			t.Fatal(err)
		}
		if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) ||
			time.Since(began) != 10*time.Second {
			t.Errorf("after %v: %v, want its end after 10 s", time.Since(began), err)
		}
		if err := site.Close(); err != nil {
			t.Error(err)
		}
	})
}

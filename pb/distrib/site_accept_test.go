package distrib_test

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

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
			return nil, &net.OpError{Op: "accept", Net: "unix", Err: os.NewSyscallError("accept4", err)}
		}
	}
	dead := func() (net.Conn, error) { // no link can be made of it
		ours, theirs := net.Pipe()
		_ = theirs.Close()
		return tls.Server(ours, &tls.Config{}), nil
	}
	site := &distrib.Site{Logger: slog.New(slog.DiscardHandler)}
	site.Handle("/app/", distrib.Route{Back: "app"})
	s := newSplit(t, site)
	var accepting sync.WaitGroup
	accepting.Go(func() { // ends with the listener
		troubled := &troubledListener{l, []func() (net.Conn, error){
			fails(syscall.EMFILE), fails(syscall.ENFILE), dead, fails(syscall.ECONNABORTED), dead, fails(syscall.ENOBUFS), fails(syscall.ENOMEM),
		}}
		if err := site.Accept("app", troubled); err != nil {
			t.Errorf("Accept() = %v", err)
		}
	})
	back, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s.serve("app", back, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "still here") })
	if _, body := s.get("/app/"); body != "still here" {
		t.Errorf("body = %q", body)
	}
	_ = l.Close()
	accepting.Wait()
	if err := site.Accept("nobody", &troubledListener{l, []func() (net.Conn, error){dead}}); err == nil {
		t.Error("Accept for a back end without a route gave no error")
	}
}

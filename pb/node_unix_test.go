//go:build unix

package pb_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"perspective/pb"
)

// Both ends of a socketpair are nodes, and both can call.
func TestAttachSocketpair(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	end := func(fd int) net.Conn {
		f := os.NewFile(uintptr(fd), "socketpair")
		defer f.Close() //nolint:errcheck // FileConn has its own
		nc, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
	one, two := dialer(t, &pb.Node{Root: &echoes{}}), dialer(t, &pb.Node{Root: &echoes{}})
	a, err := one.Attach(t.Context(), end(fds[0]), pb.Dialer)
	if err != nil {
		t.Fatal(err)
	}
	b, err := two.Attach(t.Context(), end(fds[1]), pb.Acceptor)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*pb.Conn{a, b} {
		if s, err := pb.Do[string](t.Context(), c.Root(), "echo", "x"); s != "x" || err != nil {
			t.Errorf("echo = %q, %v", s, err)
		}
		if p := c.Peer(); !p.HasUID || int(p.UID) != os.Getuid() || int(p.PID) != os.Getpid() {
			t.Errorf("the kernel says the peer is %+v", p)
		}
		_, err := pb.Do[any](t.Context(), c.Root(), "none")
		if want := fmt.Sprintf(" on the peer with uid %d, pid %d: ", os.Getuid(),
			os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

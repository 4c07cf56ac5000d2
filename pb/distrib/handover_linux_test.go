package distrib

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// handoverPair is a monitor's end and the handover of a part that has been told to begin.
func handoverPair(t *testing.T, before func(*control)) (*control, *Handover, error) {
	t.Helper()
	ours, theirs, err := controlPair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ours.close)
	ctl, err := controlOf(theirs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ctl.close)
	h := newHandover("part", false, ctl)
	before(ours)
	return ours, h, h.takeInitial()
}

func sendLink(t *testing.T, to *control, link string) (peer *os.File) {
	t.Helper()
	a, b, err := linkPair()
	if err != nil {
		t.Fatal(err)
	}
	if err := withDescriptor(b, func(fd int) error { return to.send(message{msgLink, link}, fd) }); err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func TestHandover(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close(); _ = w.Close() }()
	before := openDescriptors(t)
	monitor, h, err := handoverPair(t, func(c *control) {
		_ = withDescriptor(listener, func(fd int) error { return c.send(message{msgListener, "http"}, fd) })
		_ = withDescriptor(w, func(fd int) error { return c.send(message{msgFile, "log"}, fd) })
		_ = c.send(message{msgBegin, ""}, -1)
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.Listener("http")
	if err != nil || got.Addr().String() != listener.Addr().String() {
		t.Errorf("Listener = %v, %v", got, err)
	}
	if _, err := h.Listener("http"); err == nil {
		t.Error("a listener was given twice")
	}
	f, err := h.File("log")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.File("http"); err == nil {
		t.Error("a file that was never handed over")
	}

	orphaned := make(chan error, 1)
	go h.read(func(err error) { orphaned <- err }) // ends with the monitor's end
	old := sendLink(t, monitor, "a:1")
	sendLink(t, monitor, "b:1")
	newer := sendLink(t, monitor, "a:2")
	if _, err := old.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the replaced link reads %v, want its end", err)
	}
	first, err := h.Link(t.Context())
	if err != nil || first.Name != "a" {
		t.Fatalf("Link = %v, %v", first, err)
	}
	second, err := h.Link(t.Context())
	if err != nil || second.Name != "b" {
		t.Fatalf("Link = %v, %v", second, err)
	}
	if _, err := first.Conn.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := newer.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	// The end of a link is told once, however often it is said.
	for range 3 {
		if err := h.Ended(first); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(h.serves(second), h.Ended(second)); err != nil {
		t.Error(err)
	}
	if err := h.Ended(Link{Name: "a"}); err == nil {
		t.Error("the end of a link that is not the monitor's was told")
	}
	for _, want := range []message{{msgEnded, "a:2"}, {msgServes, "b:1"}, {msgEnded, "b:1"}} {
		if got, _, err := monitor.receive(false); err != nil || got != want {
			t.Errorf("the monitor hears %v, %v, want %v", got, err, want)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Link(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("Link without a link = %v", err)
	}
	monitor.close()
	if err := <-orphaned; !errors.Is(err, io.EOF) {
		t.Errorf("orphaned by %v, want the end of the socket", err)
	}
	for _, c := range []io.Closer{got, f, first.Conn, second.Conn, old, newer} {
		_ = c.Close()
	}
	h.ctl.close()
	if after := openDescriptors(t); after > before+1 { // the peer of b is closed by a cleanup
		t.Errorf("descriptors: %d before, %d after", before, after)
	}
}

// TestHandoverSurplus sends more descriptors than a message may carry; all must be closed again.
func TestHandoverSurplus(t *testing.T) {
	for _, count := range []int{0, 2, 3, 100} {
		before := openDescriptors(t)
		monitor, h, err := handoverPair(t, func(c *control) {
			fds := make([]int, count)
			var rights []byte
			if count > 0 {
				rights = unix.UnixRights(fds...)
			}
			_ = c.sendRaw(message{msgLink, "a:1"}.encode(), rights)
		})
		if !errors.Is(err, errControl) {
			t.Errorf("%d descriptors: %v, want an error", count, err)
		}
		monitor.close()
		h.ctl.close()
		if after := openDescriptors(t); after > before {
			t.Errorf("%d descriptors: %d open before, %d after", count, before, after)
		}
	}
}

func TestInheritedWithoutMonitor(t *testing.T) {
	if _, err := Inherited(); !errors.Is(err, ErrNotManaged) {
		t.Errorf("Inherited = %v, want ErrNotManaged", err)
	}
}

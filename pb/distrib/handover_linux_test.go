package distrib

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
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
	if err := withDescriptor(b,
		func(fd int) error { return to.send(message{msgLink, link}, fd) }); err != nil {
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
		_ = withDescriptor(listener,
			func(fd int) error { return c.send(message{msgListener, "http"}, fd) })
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
	sendLink(t, monitor, "b:1:mount")
	newer := sendLink(t, monitor, "a:2")
	if _, err := old.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the replaced link reads %v, want its end", err)
	}
	first, err := h.Link(t.Context())
	if err != nil || first.Name != "a" || first.Mount != "a" {
		t.Fatalf("Link = %v, %v", first, err)
	}
	second, err := h.Link(t.Context())
	if err != nil || second.Name != "b" || second.Mount != "mount" {
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
// TestHandoverFiles has files come faster than they are taken.
func TestHandoverFiles(t *testing.T) {
	monitor, h, err := handoverPair(t, func(c *control) {
		_ = c.send(message{msgBegin, ""}, -1)
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go h.read(func(err error) { ended <- err }) // ends with the monitor's end
	before := openDescriptors(t)
	for i := range maxHandovers {
		sendFile(t, monitor, fmt.Sprint("f", i))
	}
	sendFile(t, monitor, "f0")
	sendFile(t, monitor, "more")
	for _, want := range []string{"f0:another of its name came", "more:it takes no more files"} {
		if m, _, err := monitor.receive(false); err != nil || m.text != want {
			t.Errorf("answer %q, %v, want %q", m.text, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	taken := make(chan error, 1)
	go func() { // ends with cancel
		taken <- h.Files(ctx, func(name string, f *os.File) error {
			if err := f.Close(); err != nil {
				return err
			}
			switch name {
			case "f1":
				panic("boom")
			case "f2":
				return errors.New("")
			}
			return nil
		})
	}()
	for i := range maxHandovers {
		want := map[int]string{2: "f2:refused"}[i]
		if want == "" {
			want = fmt.Sprint("f", i)
		}
		m, _, err := monitor.receive(false)
		if err != nil || i != 1 && m.text != want || i == 1 && !strings.Contains(m.text, "boom") {
			t.Errorf("answer %q, %v, want %q", m.text, err, want)
		}
	}
	cancel()
	if err := <-taken; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := openDescriptors(t); got != before {
		t.Errorf("%d descriptors open, want %d", got, before)
	}
	monitor.close()
	<-ended //nolint:errcheck // it is the end
}

// sendFile hands this process's input over.
func sendFile(t *testing.T, monitor *control, name string) {
	t.Helper()
	err := withDescriptor(os.Stdin,
		func(fd int) error { return monitor.send(message{msgFile, name}, fd) })
	if err != nil {
		t.Fatal(err)
	}
}

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

// A part that has no descriptor for a new link says so and asks again; it has the link when it has
// room.
func TestMonitorLinksAPartAtItsLimit(t *testing.T) {
	sep := Probe(t.Context())
	if sep.Mode == NotSeparated {
		skipOrFail(t, sep.String())
	}
	p := startProcesses(t, sep, func(m *Monitor) { m.Backs[0].Rights.Descriptors = 64 })
	front, back := p.until("ready",
		func(f, b Description) bool { return f.State == Ready && b.State == Ready })
	if got := p.order(p.back, "exhaust", "0"); got != "ok" {
		t.Fatal(got)
	}
	if err := syscall.Kill(front.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.until("no link", func(_, b Description) bool { return b.State == NoLink && b.Relinks > 0 })
	if got := p.order(p.back, "release"); got != "ok" {
		t.Fatal(got)
	}
	if got := p.order(p.front, "ask", "board", "hello"); got != "board says hello" {
		t.Errorf("when it had room: %q", got)
	}
	if _, b := p.until("its link",
		func(_, b Description) bool { return b.State == Ready }); b.PID != back.PID {
		t.Errorf("process %d, want %d as before", b.PID, back.PID)
	}
	if !strings.Contains(p.output.String(), "link lost") {
		t.Error("it did not log that a link was lost")
	}
}

// TestHandoverWithoutDescriptors runs in processes of their own, for their limit.
func TestHandoverWithoutDescriptors(t *testing.T) {
	// With none free the kernel drops the link's descriptor, with one free no copy of it can be
	// made.
	for _, free := range []string{"0", "1"} {
		if out, err := exec.Command("/proc/self/exe",
			"lose links", free).CombinedOutput(); err != nil {
			t.Errorf("%s descriptors free: %v\n%s", free, err, out)
		}
	}
}

func init() {
	processRoles["lose links"] = func(args []string) {
		if err := loseLinks(args[0]); err != nil {
			processFail(err)
		}
	}
}

func loseLinks(free string) error {
	monitor, theirs, err := controlPair()
	if err != nil {
		return err
	}
	ctl, err := controlOf(theirs)
	if err != nil {
		return err
	}
	h := newHandover("part", false, ctl)
	go h.read(processFail) // ends with the process
	_, first, err := linkPair()
	if err != nil {
		return err
	}
	_, second, err := linkPair()
	if err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64}); err != nil {
		return err
	}
	o := &obedient{}
	if err := o.exhaust(free); err != nil {
		return err
	}
	send := func(end *os.File, text string) error {
		return withDescriptor(end,
			func(fd int) error { return monitor.send(message{msgLink, text}, fd) })
	}
	if err := send(first, "a:1"); err != nil {
		return err
	}
	if got, _, err := monitor.receive(false); err != nil || got != (message{msgEnded, "a:1"}) {
		return fmt.Errorf("the monitor hears %v, %w, want that the link ended", got, err)
	}
	closeAll(o.held)
	if err := send(second, "a:2"); err != nil {
		return err
	}
	if l, err := h.Link(context.Background()); err != nil || l.number != 2 {
		return fmt.Errorf("link %v, %w, want the second", l, err)
	}
	return nil
}

func TestInheritedWithoutMonitor(t *testing.T) {
	if _, err := Inherited(); !errors.Is(err, ErrNotManaged) {
		t.Errorf("Inherited = %v, want ErrNotManaged", err)
	}
}

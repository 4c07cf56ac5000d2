package distrib

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// processTest is a running monitor inside the test's process, its front and its one back end each
// obeying orders over a socket that they got as a file.
type processTest struct {
	*Monitor
	t      *testing.T
	front  *os.File // the test's end of the front's order socket
	back   *os.File
	output *syncBuffer
	stop   context.CancelFunc
	ended  chan error
}

// startProcesses runs a monitor by sep until the test ends. change may set more.
func startProcesses(t *testing.T, sep Separation, change func(*Monitor)) *processTest {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes")
	}
	p := &processTest{t: t, output: &syncBuffer{}, ended: make(chan error, 1)}
	var front, back *os.File
	p.front, front = orderPair(t)
	p.back, back = orderPair(t)
	p.Monitor = &Monitor{
		Front: Part{
			Name:  "front",
			Args:  []string{"obey", "front"},
			Files: map[string]*os.File{"orders": front},
		},
		Backs: []Part{
			{Name: "board", Args: []string{"obey", "back"},
				Files: map[string]*os.File{"orders": back}},
		},
		Separation: &sep,
		Backoff:    Backoff{Min: time.Millisecond, Max: 20 * time.Millisecond},
		Output:     p.output,

		ReadyTimeout: patience,
	}
	if change != nil {
		change(p.Monitor)
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	go func() { p.ended <- p.Run(ctx) }() // ends with stop, which cleanup waits for
	t.Cleanup(func() {
		stop()
		if err := p.wait(); err != nil {
			t.Errorf("Run: %v", err)
		}
		for _, f := range []*os.File{front, back, p.front, p.back} {
			_ = f.Close()
		}
		if t.Failed() {
			t.Logf("parts printed:\n%s", p.output)
		}
	})
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := p.WaitReady(within); err != nil {
		t.Fatalf("WaitReady: %v\n%v\n%s", err, p.Describe(), p.output)
	}
	return p
}

// wait returns what Run returned, every time it is asked.
func (p *processTest) wait() error {
	err := <-p.ended
	p.ended <- err
	return err
}

// order sends an order to a part and returns its answer.
func (p *processTest) order(to *os.File, words ...string) string {
	p.t.Helper()
	if _, err := to.WriteString(strings.Join(words, "\x00")); err != nil {
		p.t.Fatalf("order %q: %v", words, err)
	}
	buffer := make([]byte, 64<<10)
	if err := to.SetReadDeadline(time.Now().Add(patience)); err != nil {
		p.t.Fatal(err)
	}
	n, err := to.Read(buffer)
	if err != nil {
		p.t.Fatalf("order %q: %v", words, err)
	}
	return string(buffer[:n])
}

// until waits for a state of the table.
func (p *processTest) until(
	what string, holds func(front, back Description) bool,
) (front, back Description) {
	p.t.Helper()
	expired := time.NewTimer(patience)
	defer expired.Stop()
	for {
		p.state.Lock()
		changed, table := p.state.watch(), p.state.table
		p.state.Unlock()
		if len(table) >= 3 && holds(table[1], table[2]) {
			return table[1], table[2]
		}
		select {
		case <-changed:
		case <-expired.C:
			p.t.Fatalf("waiting for %s: %v", what, table)
		}
	}
}

// orderPair makes a socket whose messages keep their bounds; the first end reads with deadlines.
func orderPair(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX,
		unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// eachSeparation runs a test once for each way of holding parts apart that this kernel and this
// user allow.
func eachSeparation(t *testing.T, test func(t *testing.T, sep Separation)) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	best := Probe(t.Context())
	if best.Mode == NotSeparated {
		skipOrFail(t, best.String())
	}
	t.Run("best", func(t *testing.T) { test(t, best) })
	if best.Mode == ByUser {
		t.Run("users only", func(t *testing.T) { test(t, Separation{Mode: ByUser}) })
		if inside := (Separation{
			Mode:   ByNamespace,
			flags:  allFlags(),
			mounts: true,
		}); try(t.Context(), inside) == nil {
			t.Run("namespaces as root", func(t *testing.T) { test(t, inside) })
		}
	}
}

func TestMonitorServesOverLinks(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		p := startProcesses(t, sep, nil)
		front, back := p.until("ready",
			func(f, b Description) bool { return f.State == Ready && b.State == Ready })
		if got, want := p.order(p.front, "ask", "board", "hello"), "board says hello"; got != want {
			t.Errorf("over the link: %q, want %q", got, want)
		}
		if front.PID == back.PID || front.PID == os.Getpid() {
			t.Errorf("one process for all: %v %v", front, back)
		}
		if sep.Mode == ByUser &&
			(front.UID == back.UID || front.UID < firstID || back.UID < firstID) {
			t.Errorf("users %d and %d, want two of their own", front.UID, back.UID)
		}
		for _, d := range []Description{front, back} {
			if want := strconv.Itoa(int(d.UID)); statusField(t, d.PID, "Uid")[0] != want {
				t.Errorf("part %s runs as %v, want %s", d.Name, statusField(t, d.PID, "Uid"), want)
			}
			if caps := statusField(t, d.PID, "CapEff")[0] +
				statusField(t, d.PID, "CapPrm")[0]; strings.Trim(caps, "0") != "" {
				t.Errorf("part %s has capabilities %s", d.Name, caps)
			}
			if statusField(t, d.PID, "NoNewPrivs")[0] != "1" {
				t.Errorf("part %s may gain rights", d.Name)
			}
		}
	})
}

func TestMonitorStartsAgain(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		p := startProcesses(t, sep, nil)
		for _, victim := range []string{"board", "front", "board"} {
			front, back := p.until("ready",
				func(f, b Description) bool { return f.State == Ready && b.State == Ready })
			dead := back
			if victim == "front" {
				dead = front
			}
			if err := syscall.Kill(dead.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			p.until(victim+" back", func(f, b Description) bool {
				d := b
				if victim == "front" {
					d = f
				}
				return d.State == Ready && d.PID != dead.PID && d.Restarts == dead.Restarts+1
			})
			if got, want := p.order(p.front, "ask",
				"board", "again"), "board says again"; got != want {
				t.Errorf("after the death of the %s: %q, want %q", victim, got, want)
			}
		}
	})
}

func TestMonitorEndsAll(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		before := openDescriptors(t)
		p := startProcesses(t, sep, nil)
		front, back := p.until("ready",
			func(f, b Description) bool { return f.State == Ready && b.State == Ready })
		p.stop()
		if err := p.wait(); err != nil {
			t.Fatalf("Run: %v", err)
		}
		for _, pid := range []int{front.PID, back.PID} {
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("process %d is still there: %v", pid, err)
			}
		}
		for _, want := range []string{"front: ended as asked", "board: ended as asked"} {
			if !strings.Contains(p.output.String(), want) {
				t.Errorf("output lacks %q:\n%s", want, p.output)
			}
		}
		for _, f := range []*os.File{p.front, p.back, p.Front.Files["orders"],
			p.Backs[0].Files["orders"]} {
			_ = f.Close()
		}
		if after := openDescriptors(t); after > before {
			t.Errorf("descriptors: %d before, %d after", before, after)
		}
		if err := p.WaitReady(t.Context()); !errors.Is(err, ErrStopped) {
			t.Errorf("WaitReady afterwards = %v, want ErrStopped", err)
		}
	})
}

func TestMonitorKillsTheDeaf(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		p := startProcesses(t, sep, func(m *Monitor) {
			m.Grace = 50 * time.Millisecond
			m.Backs[0].Args = []string{"obey", "deaf"}
		})
		p.stop()
		if err := p.wait(); err != nil {
			t.Fatalf("Run: %v", err)
		}
	})
}

func TestMonitorHandsListenersOver(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		p := startProcesses(t, sep,
			func(m *Monitor) { m.Front.Listeners = map[string]net.Listener{"http": listener} })
		for range 2 {
			front, _ := p.until("front", func(f, _ Description) bool { return f.State == Ready })
			if got := p.order(p.front, "serve", "http"); got != "ok" {
				t.Fatalf("serve: %s", got)
			}
			conn, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			greeting, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || greeting != "hello from front\n" {
				t.Errorf("greeting %q, %v", greeting, err)
			}
			_ = conn.Close()
			if front.Listens[0] != "http="+listener.Addr().String() {
				t.Errorf("Listens = %v", front.Listens)
			}
			if err := syscall.Kill(front.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			p.until("front again",
				func(f, _ Description) bool { return f.State == Ready && f.PID != front.PID })
		}
	})
}

func TestMonitorStartsOnDemand(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		p := startProcesses(t, sep, func(m *Monitor) { m.Backs[0].OnDemand = true })
		if got := p.order(p.front, "start", "board"); got != "ok" {
			t.Fatal(got)
		}
		_, back := p.until("start", func(_, b Description) bool { return b.State == Ready })
		if got, want := p.order(p.front, "ask", "board", "there"), "board says there"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := p.order(p.front, "stop", "board"); got != "ok" {
			t.Fatal(got)
		}
		p.until("stop", func(_, b Description) bool { return b.State == Waiting && b.PID == 0 })
		if err := syscall.Kill(back.PID, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is still there: %v", back.PID, err)
		}
	})
}

func TestMonitorRefusesTheUnruly(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		for _, rule := range []string{"ready twice", "flood", "descriptor", "garbage", "hang up"} {
			t.Run(rule, func(t *testing.T) {
				p := startProcesses(t, sep, nil)
				_, back := p.until("ready", func(_, b Description) bool { return b.State == Ready })
				if _, err := p.back.WriteString("break\x00" + rule); err != nil {
					t.Fatal(err)
				}
				p.until("its end",
					func(_, b Description) bool { return b.Restarts == 1 && b.State == Ready })
				if err := syscall.Kill(back.PID, 0); !errors.Is(err, syscall.ESRCH) {
					t.Errorf("process %d is still there: %v", back.PID, err)
				}
			})
		}
	})
}

func TestMonitorTellsWhatCannotBe(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		m := &Monitor{Separation: &sep, Output: io.Discard,
			Backs: []Part{{Name: "board", Rights: Rights{Read: []string{"/no/such/folder"}}}},
			Front: Part{Args: []string{"obey", "idle"}}}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := m.Run(ctx)
		if err == nil || !strings.Contains(err.Error(), "/no/such/folder") ||
			!strings.Contains(err.Error(), "part board") {
			t.Errorf("Run = %v, want an error that names the part and the folder", err)
		}
	})
}

// TestMonitorKilled kills a monitor with SIGKILL; all its parts must be gone.
func TestMonitorKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	if sep := Probe(t.Context()); sep.Mode == NotSeparated {
		skipOrFail(t, sep.String())
	}
	for _, mode := range []string{"best", "weakest", "asleep"} {
		t.Run(mode, func(t *testing.T) {
			monitor := exec.Command("/proc/self/exe", "monitor", mode)
			monitor.Stderr = os.Stderr
			out, err := monitor.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := monitor.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatalf("monitor said %q: %v", line, err)
			}
			var watched []unix.PollFd
			for field := range strings.FieldsSeq(line) {
				pid, err := strconv.Atoi(field)
				if err != nil {
					t.Fatal(err)
				}
				fd, err := unix.PidfdOpen(pid, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = unix.Close(fd) }()
				watched = append(watched, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			}
			if len(watched) != 2 {
				t.Fatalf("monitor said %q, want two numbers", line)
			}
			if err := monitor.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = monitor.Wait()
			for i := range watched {
				n, err := unix.Poll(watched[i:i+1], int(patience.Milliseconds()))
				for errors.Is(err, unix.EINTR) {
					n, err = unix.Poll(watched[i:i+1], int(patience.Milliseconds()))
				}
				if n != 1 {
					t.Errorf("a part outlived the monitor: %d, %v", n, err)
				}
			}
		})
	}
}

// TestMonitorKilledDespite kills a monitor whose parts took every step to outlive it: they gave up
// the parent death signal, moved the control socket away and left children in sessions of their
// own. The kernel ends them all.
func TestMonitorKilledDespite(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	sep := Probe(t.Context())
	if sep.flags&unix.CLONE_NEWPID == 0 {
		skipOrFail(t, sep.String())
	}
	for _, mode := range []string{"cling", "cling inside"} {
		if mode == "cling inside" && try(t.Context(),
			Separation{Mode: ByNamespace, flags: allFlags(), mounts: true}) != nil {
			continue
		}
		t.Run(mode, func(t *testing.T) {
			monitor := exec.Command("/proc/self/exe", "monitor", mode)
			monitor.Stderr = os.Stderr
			out, err := monitor.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := monitor.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = monitor.Wait() }()
			defer func() { _ = monitor.Process.Kill() }()
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatalf("monitor said %q: %v", line, err)
			}
			var watched []unix.PollFd
			expired := time.Now().Add(patience)
			// Two of each: init, the part, and three children that were left to init.
			for len(watched) < 10 {
				for _, w := range watched {
					_ = unix.Close(int(w.Fd))
				}
				watched = nil
				if time.Now().After(expired) {
					t.Fatalf("of the parts' processes only %v are there",
						descendants(t, monitor.Process.Pid))
				}
				for _, pid := range descendants(t, monitor.Process.Pid) {
					if fd, err := unix.PidfdOpen(pid, 0); err == nil {
						watched = append(watched, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
					}
				}
			}
			if err := monitor.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			for i := range watched {
				n, err := unix.Poll(watched[i:i+1], int(patience.Milliseconds()))
				for errors.Is(err, unix.EINTR) {
					n, err = unix.Poll(watched[i:i+1], int(patience.Milliseconds()))
				}
				if n != 1 {
					t.Errorf("process %d of %d outlived the monitor: %d, %v", i,
						len(watched), n, err)
				}
				_ = unix.Close(int(watched[i].Fd))
			}
		})
	}
}

// descendants returns the processes that came from one, but for zombies.
func descendants(t *testing.T, of int) []int {
	t.Helper()
	parents := map[int]int{}
	err := eachProcess(func(pid int, _ []uint32) error {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return nil
		}
		parent, _ := statusLine(string(status), "PPid")
		parents[pid], err = strconv.Atoi(parent)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for pid := range parents {
		for up := parents[pid]; up > 0; up = parents[up] {
			if up == of {
				found = append(found, pid)
				break
			}
		}
	}
	return found
}

// TestMonitorElsewhere runs tests of this package from a copy of the program: as a user without
// rights, which gets user namespaces, and from folders that no part can enter, as "go run" makes
// them.
func TestMonitorElsewhere(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	if os.Getuid() != 0 {
		t.Skip("already an ordinary user")
	}
	const one = "^TestMonitorServesOverLinks$"
	all := "^(TestMonitor|TestSandbox|TestProbe)"
	if RaceEnabled { // it has watched all of them once, as root
		all = "^(TestMonitorServesOverLinks$|TestSandbox|TestProbe)"
	}
	for _, c := range []struct {
		name            string
		uid             int
		folder, program os.FileMode
		run             string
	}{
		{"ordinary user", 65534, 0o755, 0o755, all},
		{"ordinary user, private folder and program", 65534, 0o700, 0o700, one},
		{"root, private folder", 0, 0o700, 0o755, one},
		{"root, private program", 0, 0o755, 0o700, one},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder, err := os.MkdirTemp("", "distrib-user")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(folder) })
			program, err := os.ReadFile("/proc/self/exe")
			if err != nil {
				t.Fatal(err)
			}
			copied := folder + "/distrib.test"
			if err := os.WriteFile(copied, program, c.program); err != nil {
				t.Fatal(err)
			}
			for path, mode := range map[string]os.FileMode{folder: c.folder, copied: c.program} {
				if err := errors.Join(os.Chmod(path, mode),
					os.Chown(path, c.uid, c.uid)); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(copied, "-test.run="+c.run, "-test.timeout=9m", "-test.v")
			cmd.Dir = "/"
			cmd.Env = append(os.Environ(), "GOCOVERDIR="+folder)
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Credential: &syscall.Credential{Uid: uint32(c.uid), Gid: uint32(c.uid)},
			}
			out, err := cmd.CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("PASS: TestMonitorServesOverLinks")) {
				if bytes.Contains(out, []byte("NOT SEPARATED BY THE KERNEL")) {
					skipOrFail(t, string(out))
				}
				t.Errorf("as user %d: %v\n%s", c.uid, err, out)
			}
		})
	}
}

func statusField(t *testing.T, pid int, key string) []string {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if name, value, _ := strings.Cut(line, ":"); name == key {
			return strings.Fields(value)
		}
	}
	t.Fatalf("no %s in %s", key, status)
	return nil
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

package distrib

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// sandboxFiles makes a folder the part may read, one it may write, and one that is the monitor's
// own, all with modes that would let any user in: what refuses is the sandbox.
func sandboxFiles(t *testing.T) (read, write, secret string) {
	t.Helper()
	base, err := os.MkdirTemp("", "distrib-sandbox")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"", "read", "write", "secret"} {
		if err := os.MkdirAll(filepath.Join(base, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(base, name), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	read, write, secret = filepath.Join(base, "read"), filepath.Join(base,
		"write"), filepath.Join(base, "secret")
	for _, folder := range []string{read, write, secret} {
		if err := os.WriteFile(filepath.Join(folder, "file"), []byte("text"), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(folder, "file"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return read, write, secret
}

func TestSandboxRights(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		read, write, secret := sandboxFiles(t)
		var plain net.ListenConfig
		plain.SetMultipathTCP(false) // plain TCP has more ways back to a connection
		public, err := plain.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = public.Close() }()
		other, err := plain.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Close() }()
		socket := filepath.Join(secret, "socket")
		private, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = private.Close() }()
		if err := os.Chmod(socket, 0o777); err != nil {
			t.Fatal(err)
		}
		abstract, err := net.Listen("unix", "@distrib-test-"+strconv.Itoa(os.Getpid()))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = abstract.Close() }()

		p := startProcesses(t, sep, func(m *Monitor) {
			m.Backs[0].Rights = Rights{
				Read:        []string{read},
				Write:       []string{write},
				Descriptors: 256,
			}
			m.Backs[0].Listeners = map[string]net.Listener{"http": public}
		})
		front, back := p.until("ready",
			func(f, b Description) bool { return f.State == Ready && b.State == Ready })
		self := strconv.Itoa(os.Getpid())

		for _, may := range [][2]string{
			{"read", read + "/file"},
			{"list", read},
			{"read", write + "/file"},
			{"write", write + "/file"},
			{"write", write + "/new"},
			{"write", "/dev/null"},
		} {
			if got := p.order(p.back, may[0], may[1]); got != "ok" {
				t.Errorf("%s %s: %s", may[0], may[1], got)
			}
		}
		for _, not := range [][2]string{
			{"read", secret + "/file"},
			{"list", secret},
			{"write", secret + "/file"},
			{"write", secret + "/new"},
			{"write", read + "/file"},
			{"write", read + "/new"},
			{"write", "/new"},
			{"write", "/tmp/distrib-new"},
			{"read", "/etc/passwd"},
			{"list", "/"},
			{"read", "/proc/" + self + "/environ"},
			{"read", "/proc/" + strconv.Itoa(front.PID) + "/environ"},
			{"signal", strconv.Itoa(front.PID)},
			{"signal", self},
			{"ptrace", strconv.Itoa(front.PID)},
			{"dial", other.Addr().String()},
			{"dial unix", socket},
			{"dial unix", abstract.Addr().String()},
			{"listen", ""},
			{"udp", ""},
			{"netlink", ""},
			{"mptcp", ""},
			{"reuse listener", other.Addr().String()},
			{"unshare", ""},
			{"clone", ""},
			{"clone3", ""},
			{"mount", ""},
			{"setuid", ""},
			{"io_uring", ""},
			{"capable", ""},
			{"memfd", ""},
			{"memfd_secret", ""},
			{"shmget", ""},
			{"msgget", ""},
			{"semget", ""},
			{"vmsplice", ""},
			{"exec program", "/bin/true"},
			{"descriptors", ""},
		} {
			if not[0] == "setuid" && back.UID == 0 {
				continue // root outside, without a right: it is that user already
			}
			if not[0] == "list" && not[1] == "/" &&
				strings.Contains(strings.Join(back.Held, " "), "own root") {
				// its own root lists nothing that it may not read; Landlock refuses it anyway
				continue
			}
			if got := p.order(p.back, not[0], not[1]); !strings.HasPrefix(got, "refused: ") ||
				strings.Contains(got, "no such order") {
				t.Errorf("%s %s: %s, want refused", not[0], not[1], got)
			}
		}
		if text, err := os.ReadFile(read + "/file"); err != nil || string(text) != "text" {
			t.Errorf("the file to read holds %q, %v", text, err)
		}
		if text, err := os.ReadFile(write + "/file"); err != nil || string(text) != "x" {
			t.Errorf("the file to write holds %q, %v", text, err)
		}
	})
}

// TestSandboxDescriptors opens a descriptor without close-on-exec, as a careless parent of the
// monitor would leave one.
func TestSandboxDescriptors(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		fd, err := unix.Open("/proc/self/exe", unix.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fd) }()
		p := startProcesses(t, sep, nil)
		for _, part := range []*os.File{p.front, p.back} {
			if got := p.order(part, "descriptors"); got != "refused: none" {
				t.Errorf("surplus descriptors: %s", got)
			}
		}
	})
}

func TestSandboxConfine(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		program := "/bin/true"
		p := startProcesses(t, sep, func(m *Monitor) {
			libraries := []string{}
			for _, folder := range []string{"/bin", "/usr/bin", "/lib", "/lib64", "/usr/lib"} {
				if _, err := os.Stat(folder); err == nil {
					libraries = append(libraries, folder)
				}
			}
			m.Backs[0].Rights = Rights{Exec: true, Read: libraries}
		})
		for range 2 {
			if got := p.order(p.back, "exec program", program); got != "ok" {
				t.Errorf("a part with Exec: %s", got)
			}
			if got := p.order(p.back, "confine"); got != "ok" {
				t.Errorf("Confine with Exec: %s", got)
			}
		}
		if got := p.order(p.front, "confine"); got != "ok" {
			t.Errorf("Confine: %s", got)
		}
		if got := p.order(p.front, "exec"); !strings.Contains(got, "operation not permitted") &&
			!strings.Contains(got, "no such file") {
			t.Errorf("exec after Confine: %s", got)
		}
		if got := p.order(p.front, "execveat"); got != "refused: operation not permitted" {
			t.Errorf("execveat after Confine: %s", got)
		}
	})
}

func TestSandboxNetwork(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		public, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = public.Close() }()
		p := startProcesses(t, sep, func(m *Monitor) { m.Backs[0].Rights.Net = true })
		for _, may := range [][2]string{{"dial", public.Addr().String()},
			{"listen", ""}, {"udp", ""}} {
			if got := p.order(p.back, may[0], may[1]); got != "ok" {
				t.Errorf("%s with Net: %s", may[0], got)
			}
		}
		for _, not := range []string{"netlink", "mptcp"} {
			if got := p.order(p.back, not); !strings.HasPrefix(got, "refused: ") {
				t.Errorf("%s with Net: %s, want refused", not, got)
			}
		}
	})
}

func TestSandboxLeavesNoProcess(t *testing.T) {
	eachSeparation(t, func(t *testing.T, sep Separation) {
		p := startProcesses(t, sep, nil)
		_, back := p.until("ready", func(_, b Description) bool { return b.State == Ready })
		answer := p.order(p.back, "fork")
		if answer != "ok" {
			t.Fatalf("fork: %s", answer)
		}
		p.stop()
		if err := p.wait(); err != nil {
			t.Fatal(err)
		}
		if sep.Mode != ByUser {
			return // its process namespace went with it; its user is the test's own
		}
		_ = eachProcess(func(pid int, ids []uint32) error {
			if ids[0] == back.UID {
				t.Errorf("process %d of user %d is left", pid, back.UID)
			}
			return nil
		})
	})
}

// TestProbesTogether has several monitors' worth of probes at once, on a machine that is busy with
// them: each finds what one alone finds.
func TestProbesTogether(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	want := Probe(t.Context())
	if want.Mode == NotSeparated {
		skipOrFail(t, want.String())
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 4 {
				if got := Probe(t.Context()); got.String() != want.String() {
					t.Errorf("Probe = %v, alone %v", got, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestProbe(t *testing.T) {
	before := openDescriptors(t)
	sep := Probe(t.Context())
	t.Log(sep, sep.Missing())
	if (sep.Reason == "") != (len(sep.Missing()) == 0) && sep.probed && sep.files && sep.filters {
		t.Errorf("Missing() = %q of %v", sep.Missing(), sep)
	}
	if after := openDescriptors(t); after > before {
		t.Errorf("descriptors: %d before, %d after", before, after)
	}
	if sep.Mode == NotSeparated {
		if sep.Reason == "" || !strings.HasPrefix(sep.String(), "NOT SEPARATED BY THE KERNEL (") {
			t.Errorf("no reason given: %q", sep)
		}
		skipOrFail(t, sep.String())
	}
}

package distrib

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestGroupDir(t *testing.T) {
	const (
		unified = "24 1 0:21 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
		hybrid  = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n" +
			"35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n" +
			"41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw\n"
		bound = "50 1 0:21 /a/b /mnt rw - cgroup2 cgroup2 rw\n"
	)
	for _, test := range []struct{ what, groups, mounts, want string }{
		{"root", "0::/\n", unified, "/sys/fs/cgroup"},
		{"a service", "0::/system.slice/web.service\n", unified,
			"/sys/fs/cgroup/system.slice/web.service"},
		{"beside version 1", "4:memory:/jobs/1\n1:cpu:/\n0::/\n", hybrid,
			"/sys/fs/cgroup/uni fied"},
		{"a name with colons", "0::/a:b/c\n", unified, "/sys/fs/cgroup/a:b/c"},
		{"part of the tree", "0::/a/b/c\n", bound, "/mnt/c"},
		{"its root", "0::/a/b\n", bound, "/mnt"},
		{"a sibling of its root", "0::/a/bc\n", bound, ""},
		{"the second mount", "0::/x\n", bound + unified, "/sys/fs/cgroup/x"},
		{"moved by a monitor", "0::/web/perspective-7-0/monitor\n", unified, "/sys/fs/cgroup/web"},
		{"called like a leaf", "0::/web/monitor\n", unified, "/sys/fs/cgroup/web/monitor"},
		{"outside of the namespace", "0::/../other\n", unified, ""},
		{"version 1 alone", "4:memory:/jobs/1\n", hybrid, ""},
		{"not mounted", "0::/\n", "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n", ""},
		{"nonsense", "::\n\n0::", " - \n- cgroup2\n", ""},
	} {
		got, err := groupDir(test.groups, test.mounts)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s: groupDir = %q, %v, want %q", test.what, got, err, test.want)
		}
	}
}

// needGroups returns groups to make in a test, which is skipped where this process may make none.
// Few machines let every process, so that is no fault of the machine that PERSPECTIVE_REQUIRE would
// tell.
func needGroups(t *testing.T) *partGroups {
	t.Helper()
	g, err := openGroups()
	if err != nil {
		t.Skipf("also with PERSPECTIVE_REQUIRE, as it is this kernel's set-up: no control groups "+
			"of version 2: %v", err)
	}
	t.Cleanup(func() {
		g.close()
		if _, err := os.Stat(g.dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", g.dir, err)
		}
	})
	return g
}

// sleepIn starts a process in a group, in a session of its own.
func sleepIn(t *testing.T, p *partGroup) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "sleep")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:      true,
		UseCgroupFD: true,
		CgroupFD:    int(p.dir.Fd()),
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// mustBeKilled checks that another process has killed this one by now.
func mustBeKilled(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	_ = cmd.Process.Signal(syscall.SIGTERM) // which one that was killed does not feel
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) ||
		exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("a process of the group ended with %v, want that it was killed", err)
	}
}

// The end of a group is that of all that is in it.
func TestGroupEnds(t *testing.T) {
	g := needGroups(t)
	p, err := g.group(Rights{})
	if err != nil {
		t.Fatal(err)
	}
	first, second := sleepIn(t, p), sleepIn(t, p)
	if err := p.end(); err != nil {
		t.Error(err)
	}
	mustBeKilled(t, first)
	mustBeKilled(t, second)
	if _, err := os.Stat(p.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", p.path, err)
	}
}

// What a monitor that was killed left is ended and removed by the next, and what belongs to one
// that lives is not.
func TestGroupsOfTheDead(t *testing.T) {
	alive := needGroups(t)
	dead, err := openGroups()
	if err != nil {
		t.Fatal(err)
	}
	kept, err := alive.group(Rights{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.end() }()
	left, err := dead.group(Rights{})
	if err != nil {
		t.Fatal(err)
	}
	stays, goes := sleepIn(t, kept), sleepIn(t, left)
	defer func() { _ = stays.Process.Kill(); _ = stays.Wait() }()
	_ = left.dir.Close()
	_ = dead.lock.Close() // as its end by the kernel would
	sweepGroups(alive.base)
	mustBeKilled(t, goes)
	for dir, want := range map[string]error{dead.dir: fs.ErrNotExist, kept.path: nil} {
		if _, err := os.Stat(dir); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", dir, err, want)
		}
	}
	if err := stays.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("a part of a monitor that lives: %v", err)
	}
}

// Each part of a monitor is in a group of its own, and the table says so.
func TestMonitorGroupsParts(t *testing.T) {
	needGroups(t)
	eachSeparation(t, func(t *testing.T, sep Separation) {
		p := startProcesses(t, sep, nil)
		front, back := p.until("ready",
			func(f, b Description) bool { return f.State == Ready && b.State == Ready })
		groups := map[string]bool{}
		for _, d := range []Description{front, back} {
			group := groupOf(t, d.PID)
			if !strings.Contains(group, "/"+groupPrefix) || groups[group] {
				t.Errorf("part %s is in group %s, want one of its own", d.Name, group)
			}
			groups[group] = true
			if !slices.ContainsFunc(d.Held,
				func(s string) bool { return strings.HasPrefix(s, "cgroup") }) {
				t.Errorf("the table says %q, want cgroup", d.Held)
			}
		}
	})
}

func groupOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, group, _ := strings.Cut(string(text), "0::")
	return strings.TrimSpace(group)
}

// A part starts all the same where its group cannot be made, or the kernel refuses to start it
// there.
func TestGroupsThatFail(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	sep := Probe(t.Context())
	if sep.Mode == NotSeparated {
		skipOrFail(t, sep.String())
	}
	for what, dir := range map[string]string{"no directory": "/nowhere", "no group": t.TempDir()} {
		lock, err := os.Open("/")
		if err != nil {
			t.Fatal(err)
		}
		var log syncBuffer
		launched, err := newLauncher(sep, io.Discard, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		s := launched.(*spawner)
		s.grouping.Do(func() { s.groups = &partGroups{base: dir, dir: dir, lock: lock} })
		part := &Part{Name: "part", Args: []string{"sleep"}}
		release, err := assignIDs(sep, []*Part{part})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			events := make(chan event, 8)
			run, err := s.launch(part, func(e event) { events <- e })
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			var held []string
			for held == nil {
				held = (<-events).held
			}
			if strings.Contains(strings.Join(held, " "), "cgroup") {
				t.Errorf("%s: the table says %q", what, held)
			}
			if err := run.signal(os.Kill); err != nil {
				t.Error(err)
			}
			for e := range events {
				if e.kind == eventExited {
					break
				}
			}
		}
		release()
		s.close()
		if n := strings.Count(log.String(), "no control groups"); n != 1 {
			t.Errorf("%s: %d lines about groups, want 1:\n%s", what, n, &log)
		}
	}
}

// A monitor that starts in a group with controllers leaves it for a leaf, and bounds its parts by
// them.
func TestGroupsBound(t *testing.T) {
	g := needGroups(t)
	if len(g.bounds) == 0 {
		t.Skipf("also with PERSPECTIVE_REQUIRE, as it is this kernel's set-up: %v", g.lacks)
	}
	p, err := g.group(Rights{Memory: Unlimited, Processes: Unlimited})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	}()
	cmd := exec.Command("/proc/self/exe", "monitor", "best")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(p.dir.Fd())}
	var said syncBuffer
	cmd.Stderr = &said
	defer func() {
		if t.Failed() {
			t.Logf("the monitor says:\n%s", &said)
		}
	}()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		sweepGroups(p.path)
	}()
	var front, back int
	if _, err := fmt.Fscan(out, &front, &back); err != nil {
		t.Fatal(err)
	}
	if own := groupOf(t, cmd.Process.Pid); !strings.HasSuffix(own, "/"+monitorLeaf) {
		t.Errorf("the monitor is in %s, want a leaf", own)
	}
	inside, err := filepath.Glob(filepath.Join(p.path, groupPrefix+"*", partPrefix+"*"))
	if err != nil || len(inside) != 2 {
		t.Fatalf("groups of parts: %q, %v", inside, err)
	}
	for _, controller := range g.bounds {
		file, want := "memory.max", fmt.Sprint(defaultMemory)
		if controller == controlProcesses {
			file, want = "pids.max", fmt.Sprint(defaultProcesses)
		}
		for _, dir := range inside {
			if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil ||
				strings.TrimSpace(string(got)) != want {
				t.Errorf("%s of %s: %q, %v, want %s", file, dir, got, err, want)
			}
		}
	}
}

// What controllers bound, a part cannot take.
func TestGroupsHold(t *testing.T) {
	g := needGroups(t)
	if !slices.Contains(g.bounds, controlProcesses) {
		t.Skipf("also with PERSPECTIVE_REQUIRE, as it is this kernel's set-up: %v", g.lacks)
	}
	p, err := g.group(Rights{Processes: 40})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	}()
	// as this user: where that is root no rlimit counts
	cmd := exec.Command("/proc/self/exe", "take", "processes")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(p.dir.Fd())}
	if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), "refused: ") {
		t.Errorf("processes without end: %s, %v", out, err)
	}
	sep := Probe(t.Context())
	if sep.Mode == NotSeparated {
		skipOrFail(t, sep.String())
	}
	monitored := startProcesses(t, sep, func(m *Monitor) { m.Backs[0].Rights.Processes = 60 })
	_, back := monitored.until("ready", func(_, b Description) bool { return b.State == Ready })
	if held := strings.Join(back.Held, ", "); !strings.Contains(held, "cgroup processes 60") {
		t.Errorf("the table says %q", held)
	}
	if got := monitored.order(monitored.back, "take",
		"processes"); !strings.HasPrefix(got, "refused: ") {
		t.Errorf("processes without end: %s", got)
	}
}

func init() {
	processRoles["take"] = func(args []string) { fmt.Println(outcome(takeAll(args[0]))) }
}

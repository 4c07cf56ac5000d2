package distrib

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFreeIDs(t *testing.T) {
	ids, err := FreeIDs(3)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint32]bool{}
	for _, id := range ids {
		if id < firstID || id > lastID || seen[id] {
			t.Errorf("FreeIDs = %v", ids)
		}
		seen[id] = true
	}
	if _, err := FreeIDs(lastID); err == nil {
		t.Error("more ids than there are")
	}
}

func TestFreeIDsAvoidsProcesses(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to start a process as another user")
	}
	ids, err := FreeIDs(1)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ids[0], Gid: 65534}}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	next, err := FreeIDs(1)
	if err != nil || next[0] == ids[0] {
		t.Errorf("FreeIDs = %v, %v, want none that a process has", next, err)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestAssignIDs(t *testing.T) {
	taken, err := FreeIDs(1)
	if err != nil {
		t.Fatal(err)
	}
	parts := []*Part{{Name: "a"}, {Name: "b", UID: taken[0]},
		{Name: "c", UID: taken[0] + 1, GID: 7}, {Name: "d"}}
	if os.Getuid() != 0 {
		t.Skip("users separate only where root runs the monitor")
	}
	release, err := assignIDs(Separation{Mode: ByUser}, parts)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	seen := map[uint32]bool{0: true}
	for _, p := range parts {
		if seen[p.UID] || p.GID == 0 {
			t.Errorf("part %s runs as %d:%d", p.Name, p.UID, p.GID)
		}
		seen[p.UID] = true
	}
	if parts[2].GID != 7 {
		t.Errorf("GID = %d, want what was asked for", parts[2].GID)
	}
	twice := []*Part{{Name: "a", UID: 7}, {Name: "b", UID: 7}}
	if _, err := assignIDs(Separation{Mode: ByUser}, twice); err == nil {
		t.Error("two parts with one user")
	}
}

// TestAssignIDsTogether gives ids to the parts of many monitors at once: none gets another's, each
// goes on where they end.
func TestAssignIDsTogether(t *testing.T) {
	if testing.Short() {
		t.Skip("looks through all processes often")
	}
	if os.Getuid() != 0 {
		t.Skip("users separate only where root runs the monitor")
	}
	const monitors, rounds = 8, 12
	for range rounds {
		var mu sync.Mutex
		var all sync.WaitGroup
		owners := map[uint32]int{}
		releases := []func(){}
		for m := range monitors {
			all.Go(func() { // ends when its parts have ids
				parts := []*Part{{Name: "a"}, {Name: "b"}, {Name: "c"}}
				release, err := assignIDs(Separation{Mode: ByUser}, parts)
				mu.Lock()
				defer mu.Unlock()
				releases = append(releases, release)
				if err != nil {
					t.Error(err)
					return
				}
				for _, p := range parts {
					if other, ok := owners[p.UID]; ok {
						t.Errorf("monitors %d and %d both have user %d", m, other, p.UID)
					}
					owners[p.UID] = m
				}
			})
		}
		all.Wait()
		if ids, err := FreeIDs(monitors * 3); err != nil {
			t.Error(err)
		} else {
			for _, id := range ids {
				if _, ok := owners[id]; ok {
					t.Errorf("FreeIDs gives %d, which a monitor has", id)
				}
			}
		}
		for id := range owners {
			_, err := assignIDs(Separation{Mode: ByUser}, []*Part{{Name: "late", UID: id}})
			if !errors.Is(err, ErrIDTaken) {
				t.Errorf("a part that is given user %d, which another monitor has: %v, want "+
					"ErrIDTaken", id, err)
			}
		}
		for _, release := range releases {
			release()
		}
		if t.Failed() {
			return
		}
	}
}

// TestMonitorsStartedTogether starts pairs of monitors, processes of their own, all at once: no two
// of their parts have one id.
func TestMonitorsStartedTogether(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	if sep := Probe(t.Context()); sep.Mode != ByUser {
		t.Skip("users separate only where root runs the monitor")
	}
	const pairs = 20
	type parts struct {
		monitor     int
		front, back int
	}
	started := make(chan parts, 2*pairs)
	over := make(chan struct{})
	gate, open, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var monitors, waiting sync.WaitGroup
	waiting.Add(2 * pairs)
	defer func() {
		close(over)
		monitors.Wait()
		_ = gate.Close()
	}()
	for n := range 2 * pairs {
		monitors.Go(func() { // ends when its monitor has been killed
			cmd := exec.Command("/proc/self/exe", "monitor", "gate")
			cmd.Stdin = gate
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			waiting.Done()
			if err != nil {
				t.Error(err)
				started <- parts{}
				return
			}
			p := parts{monitor: n}
			if _, err := fmt.Fscan(out, &p.front, &p.back); err != nil {
				t.Errorf("monitor %d: %v", n, err)
			}
			started <- p
			<-over
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	waiting.Wait()
	_ = open.Close() // they begin
	owners := map[string]int{}
	for range 2 * pairs {
		p := <-started
		if t.Failed() {
			continue
		}
		for _, pid := range []int{p.front, p.back} {
			uid := statusField(t, pid, "Uid")[0]
			if other, ok := owners[uid]; ok {
				t.Errorf("monitors %d and %d both have user %s", p.monitor, other, uid)
			}
			owners[uid] = p.monitor
		}
	}
	if len(owners) != 4*pairs {
		t.Errorf("%d users, want %d", len(owners), 4*pairs)
	}
}

// TestReservationsOfTheDead ends a process that has ids with SIGKILL: they are free again.
func TestReservationsOfTheDead(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("users separate only where root runs the monitor")
	}
	holder := exec.Command("/proc/self/exe", "reserve")
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	var id uint32
	if _, err := fmt.Fscan(out, &id); err != nil {
		t.Fatal(err)
	}
	part := []*Part{{Name: "a", UID: id}}
	if _, err := assignIDs(Separation{Mode: ByUser}, part); !errors.Is(err, ErrIDTaken) {
		t.Errorf("while it lives: %v, want ErrIDTaken", err)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	release, err := assignIDs(Separation{Mode: ByUser}, part)
	if err != nil {
		t.Errorf("when it is dead: %v", err)
	}
	release()
}

// TestReservationFile refuses a file that another process put there.
func TestReservationFile(t *testing.T) {
	folder := t.TempDir()
	open, link := folder+"/open", folder+"/link"
	if err := os.WriteFile(open, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := openReservationsAt(open); err != nil {
		t.Errorf("a file of one's own: %v", err)
	} else if err := r.close(); err != nil {
		t.Error(err)
	}
	if err := errors.Join(os.Chmod(open, 0o666),
		os.Symlink(folder+"/elsewhere", link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{open, link, folder} {
		if _, err := openReservationsAt(path); err == nil {
			t.Errorf("%s serves for reservations", path)
		}
	}
}

func init() {
	processRoles["reserve"] = func([]string) {
		parts := []*Part{{Name: "a"}}
		release, err := assignIDs(Separation{Mode: ByUser}, parts)
		if err != nil {
			processFail(err)
		}
		defer release()
		fmt.Println(parts[0].UID)
		_ = unix.Pause()
	}
}

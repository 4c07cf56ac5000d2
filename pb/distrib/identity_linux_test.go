package distrib

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
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
	parts := []*Part{{Name: "a"}, {Name: "b", UID: taken[0]}, {Name: "c", UID: taken[0] + 1, GID: 7}, {Name: "d"}}
	if err := assignIDs(Separation{Mode: ByUser}, parts); err != nil {
		t.Fatal(err)
	}
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
	if err := assignIDs(Separation{Mode: ByUser}, twice); err == nil {
		t.Error("two parts with one user")
	}
}

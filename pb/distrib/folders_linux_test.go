package distrib

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestMakeFolders makes what a part may write to, and finds its user again by it.
func TestMakeFolders(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("users separate only where root runs the monitor")
	}
	dir := t.TempDir()
	byUser := Separation{Mode: ByUser}
	run := func(parts ...*Part) {
		t.Helper()
		release, err := assignIDs(byUser, parts)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		if err := makeFolders(byUser, parts); err != nil {
			t.Fatal(err)
		}
	}
	instance := func(name string) *Part {
		return &Part{Name: name, Mount: "app", Rights: Rights{Write: []string{dir + "/a/data"}}}
	}
	one, two, other := instance("app.1"), instance("app.2"), &Part{Name: "other"}
	run(one, two, other)
	if one.UID != two.UID || one.UID == other.UID || one.sharers != 2 || other.sharers != 1 {
		t.Errorf("the instances run as %d (%d) and %d, another mount as %d (%d)", one.UID,
			one.sharers, two.UID, other.UID, other.sharers)
	}
	wantOwner(t, dir+"/a/data", one.UID, 0o700)
	file := filepath.Join(dir, "a/data/count")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantOwner(t, file, 0, 0o600) // another's

	// Others start first the next time: it has its user again.
	again := instance("app.1")
	run(&Part{Name: "front"}, &Part{Name: "before"}, again)
	if again.UID != one.UID {
		t.Errorf("it ran as %d, and now as %d", one.UID, again.UID)
	}

	// Its user is another's by now: what was its own changes hands.
	if err := os.Chown(file, int(one.UID), 0); err != nil {
		t.Fatal(err)
	}
	strange := filepath.Join(dir, "a/data/strange")
	if err := os.WriteFile(strange, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	moved := instance("app.1")
	run(&Part{Name: "thief", UID: one.UID}, moved)
	if moved.UID == one.UID {
		t.Fatalf("two parts run as %d", moved.UID)
	}
	wantOwner(t, dir+"/a/data", moved.UID, 0o700)
	wantOwner(t, file, moved.UID, 0o600)
	wantOwner(t, strange, 0, 0o600)

	// A folder that two mounts may write to stays the first one's.
	first, second := &Part{Name: "first"}, &Part{Name: "second"}
	for _, p := range []*Part{first, second} {
		p.Rights.Write = []string{dir + "/shared"}
	}
	run(first, second)
	wantOwner(t, dir+"/shared", first.UID, 0o700)
	if first.UID == second.UID {
		t.Errorf("two mounts have user %d", first.UID)
	}
}

// TestGiveFolders gives a part an empty folder of root's, and no other.
func TestGiveFolders(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("users separate only where root runs the monitor")
	}
	dir := t.TempDir()
	for _, name := range []string{"empty", "open", "full", "full/x", "theirs"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir+"/open", 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir+"/theirs", 1234, 1234); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir+"/theirs", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	free := &Part{Name: "a", UID: firstID + 5, GID: firstID + 5, freeID: true}
	for _, name := range []string{"empty", "open", "full", "theirs", "link"} {
		free.Rights.Write = append(free.Rights.Write, filepath.Join(dir, name))
	}
	if err := makeFolders(Separation{Mode: ByUser}, []*Part{free}); err != nil {
		t.Fatal(err)
	}
	wantOwner(t, dir+"/empty", free.UID, 0o755)
	wantOwner(t, dir+"/open", 0, 0o777)
	wantOwner(t, dir+"/full", 0, 0o755)
	wantOwner(t, dir+"/theirs", 1234, 0o755)

	// A user that is named gets what is missing, and is given nothing that is there.
	named := &Part{Name: "b", UID: 4321, GID: 4322,
		Rights: Rights{Write: []string{dir + "/new", dir + "/full/x"}}}
	if err := makeFolders(Separation{Mode: ByUser}, []*Part{named}); err != nil {
		t.Fatal(err)
	}
	wantOwner(t, dir+"/new", 4321, 0o700)
	wantOwner(t, dir+"/full/x", 0, 0o755)
}

func wantOwner(t *testing.T, path string, uid uint32, mode os.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid //nolint:forcetypeassert // on Linux
	if owner != uid || info.Mode().Perm() != mode {
		t.Errorf("%s belongs to %d with mode %v, want %d with %v", path, owner,
			info.Mode().Perm(), uid, mode)
	}
}

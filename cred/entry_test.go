package cred_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"perspective/cred"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWriteEntry(t *testing.T) {
	phc, other := hashOf(t, "sesame"), hashOf(t, "mellon")
	tests := []struct{ name, before, want string }{
		{"empty", "", "ann:" + phc + "\n"},
		{"added", "# list\n\nbob:" + other + "\n",
			"# list\n\nbob:" + other + "\nann:" + phc + "\n"},
		{"no line end before", "bob:" + other, "bob:" + other + "\nann:" + phc + "\n"},
		{"replaced", "# a\nann:" + other + "\r\n  # b\nbob:" + other + "\r\n",
			"# a\nann:" + phc + "\n  # b\nbob:" + other + "\r\n"},
		{"replaced at the end", "bob:x\nann:y", "bob:x\nann:" + phc + "\n"},
		{"twice", "ann:1\nbob:x\nann:2\n", "ann:" + phc + "\nbob:x\n"},
		{"commented out", "#ann:1\n", "#ann:1\nann:" + phc + "\n"},
		{"longer name", "anna:1\n", "anna:1\nann:" + phc + "\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "users")
			if test.name != "empty" {
				write(t, path, test.before)
			}
			if err := cred.WriteEntry(path, "ann", phc); err != nil {
				t.Fatal(err)
			}
			if got := read(t, path); got != test.want {
				t.Errorf("the file is\n%q, want\n%q", got, test.want)
			}
			only(t, path)
		})
	}
}

// only checks that a file has mode 0600 and nothing lies beside it.
func only(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v, %v, want the file alone", entries, err)
	}
}

func TestWriteEntryRefuses(t *testing.T) {
	phc := hashOf(t, "sesame")
	path := filepath.Join(t.TempDir(), "users")
	write(t, path, "# untouched\n")
	tests := []struct {
		user, phc string
		want      error
	}{
		{"", phc, cred.ErrBadUsername},
		{"a:b", phc, cred.ErrBadUsername},
		{"ann\nroot", phc, cred.ErrBadUsername},
		{"ann\r", phc, cred.ErrBadUsername},
		{"an\x00n", phc, cred.ErrBadUsername},
		{"an\x1b[1mn", phc, cred.ErrBadUsername},
		{" ann", phc, cred.ErrBadUsername},
		{"#ann", phc, cred.ErrBadUsername},
		{"$ann", phc, cred.ErrBadUsername},
		{"an\xff", phc, cred.ErrBadUsername},
		{strings.Repeat("x", 257), phc, cred.ErrBadUsername},
		{"ann", "", cred.ErrMalformedHash},
		{"ann", "sesame", cred.ErrMalformedHash},
		{"ann", phc + "\nroot:" + phc, cred.ErrMalformedHash},
	}
	for _, test := range tests {
		if err := cred.WriteEntry(path, test.user, test.phc); !errors.Is(err, test.want) {
			t.Errorf("WriteEntry(%.20q, %.20q) = %v, want %v", test.user, test.phc, err, test.want)
		}
	}
	if got := read(t, path); got != "# untouched\n" {
		t.Errorf("the file is %q afterwards", got)
	}
	only(t, path)
}

func TestWriteEntryKeepsRights(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such rights here")
	}
	phc := hashOf(t, "sesame")
	for before, want := range map[os.FileMode]os.FileMode{
		0o640: 0o640,
		0o600: 0o600,
		0o666: 0o640,
		0o755: 0o640,
	} {
		path := filepath.Join(t.TempDir(), "users")
		write(t, path, "")
		if err := os.Chmod(path, before); err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 {
			if err := os.Chown(path, 61199, 61198); err != nil {
				t.Fatal(err)
			}
		}
		old, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := cred.WriteEntry(path, "ann", phc); err != nil {
			t.Fatal(err)
		}
		now, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if now.Mode().Perm() != want {
			t.Errorf("mode %v became %v, want %v", before, now.Mode(), want)
		}
		if a, b := owner(old), owner(now); a != b {
			t.Errorf("owner %s became %s", a, b)
		}
	}
}

func TestWriteEntryFollowsLinks(t *testing.T) {
	folder := t.TempDir()
	path, link := filepath.Join(folder, "users"), filepath.Join(folder, "link")
	write(t, path, "")
	if err := os.Symlink(path, link); err != nil {
		t.Skip(err)
	}
	if err := cred.WriteEntry(link, "ann", hashOf(t, "sesame")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v now", info, err)
	}
	if got := read(t, path); !strings.HasPrefix(got, "ann:") {
		t.Errorf("the file is %q", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := cred.WriteEntry(link, "ann", hashOf(t, "sesame")); err == nil {
		t.Error("a link that leads nowhere was replaced")
	}
}

func TestWriteEntryOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	phc := hashOf(t, "sesame")
	// Writers that meet are told; those that were not told must all be in the file.
	var writers sync.WaitGroup
	wrote := make([]bool, 20)
	for i := range wrote {
		writers.Go(func() { // ends after one attempt
			err := cred.WriteEntry(path, fmt.Sprint("user", i), phc)
			if err != nil && !errors.Is(err, fs.ErrExist) {
				t.Errorf("WriteEntry = %v", err)
			}
			wrote[i] = err == nil
		})
	}
	writers.Wait()
	content := read(t, path)
	for i, done := range wrote {
		if got := strings.Contains(content, fmt.Sprintf("user%d:", i)); got != done {
			t.Errorf("user%d: in the file %t, written %t", i, got, done)
		}
	}
	only(t, path)

	write(t, path+".new", "")
	err := cred.WriteEntry(path, "ann", phc)
	if err == nil || !strings.Contains(err.Error(), "remove "+path+".new") {
		t.Errorf("WriteEntry beside a left-over file = %v, want what to do", err)
	}
}

package distrib

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// listenAt listens at a socket in a folder until the test ends.
func listenAt(t *testing.T, folder, name string) string {
	t.Helper()
	path := filepath.Join(folder, name)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return path
}

// A socket of another user's, or in a folder that others can change, is not connected to.
func TestDialSocket(t *testing.T) {
	self := uint32(os.Geteuid())
	folder := func(mode os.FileMode) string {
		dir := filepath.Join(t.TempDir(), "d")
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	plain := listenAt(t, folder(0o755), "s")
	linked := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Dir(plain), linked); err != nil {
		t.Fatal(err)
	}
	toPlain := filepath.Join(folder(0o755), "s")
	if err := os.Symlink(plain, toPlain); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder(0o755), "s")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(folder(0o755), "s")
	for name, test := range map[string]struct {
		path  string
		owner uint32
		err   error // nil: it connects
	}{
		"its owner's":              {plain, self, nil},
		"in a folder like /tmp":    {listenAt(t, folder(0o777|os.ModeSticky), "s"), self, nil},
		"another's":                {plain, self + 1, ErrSocketOwner},
		"in a folder open to all":  {listenAt(t, folder(0o777), "s"), self, ErrSocketOwner},
		"in a folder of a group's": {listenAt(t, folder(0o775), "s"), self, ErrSocketOwner},
		"behind a linked folder":   {filepath.Join(linked, "s"), self, unix.ENOTDIR},
		"behind a link":            {toPlain, self, ErrSocketOwner},
		"a file":                   {file, self, ErrSocketOwner},
		"nothing":                  {absent, self, unix.ENOENT},
	} {
		conn, err := DialSocket(test.path, test.owner)
		if !errors.Is(err, test.err) || err == nil != (test.err == nil) {
			t.Errorf("%s: %v, want %v", name, err, test.err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

// Root may listen for another user where that user cannot put another socket there.
func TestDialSocketOfRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a socket to another user")
	}
	const owner = 65534
	for name, test := range map[string]struct {
		folder int // its owner
		err    error
	}{
		"in root's folder":  {0, nil},
		"in its own folder": {owner, ErrSocketOwner},
		"in a stranger's":   {owner - 1, ErrSocketOwner},
	} {
		dir := t.TempDir()
		path := listenAt(t, dir, "s")
		if err := errors.Join(os.Chown(path, owner, owner),
			os.Chown(dir, test.folder, test.folder)); err != nil {
			t.Fatal(err)
		}
		conn, err := DialSocket(path, owner)
		if !errors.Is(err, test.err) || err == nil != (test.err == nil) {
			t.Errorf("%s: %v, want %v", name, err, test.err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

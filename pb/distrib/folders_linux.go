package distrib

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// maxOwned is how many entries of a part's folder change hands when the part gets another free id.
const maxOwned = 1_000_000

// makeFolders makes what parts may write to and is not there, and gives to a free id what nobody
// could have given it: the folders of the part's last free id, and an empty folder of root's.
// What two parts may write to stays the first one's.
func makeFolders(sep Separation, parts []*Part) error {
	users := map[string][]uint32{} // of those that may write to a path
	for _, p := range parts {
		for _, path := range p.Rights.Write {
			users[path] = append(users[path], p.UID)
		}
	}
	for _, p := range parts {
		for _, path := range p.Rights.Write {
			if err := makeFolder(sep, p, path, users[path]); err != nil {
				return fmt.Errorf("distrib: part %s: a folder to write to: %w", p.Name, err)
			}
		}
	}
	return nil
}

func makeFolder(sep Separation, p *Part, path string, users []uint32) (err error) {
	//nolint:gosec // as other folders are
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	parent, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, parent.Close()) }()
	name := filepath.Base(path)
	info, err := parent.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := parent.Mkdir(name, 0o700); err != nil {
			return err
		}
	case err != nil:
		return err
	case sep.Mode != ByUser || !p.freeID || !GivesFolder(path):
		return nil
	case slices.Contains(users, ownerOf(info)):
		return nil
	case isFreeID(ownerOf(info)):
		return reown(parent, name, ownerOf(info), p)
	}
	if sep.Mode != ByUser {
		return nil
	}
	return parent.Lchown(name, int(p.UID), int(p.GID))
}

// GivesFolder says whether Run gives what is at a path of Rights.Write to a part that names no UID:
// a folder that is not there yet, that was such a part's before, or an empty one of root's that not
// everybody may write to.
func GivesFolder(path string) bool {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return errors.Is(err, fs.ErrNotExist)
	case !info.IsDir():
		return false
	case isFreeID(ownerOf(info)):
		return true
	}
	return ownerOf(info) == 0 && info.Mode().Perm()&0o002 == 0 && isEmpty(path)
}

// reown gives what belongs to a free id in a folder to the part, and nothing else: another's file
// that the last user linked to from there stays another's.
func reown(parent *os.Root, name string, from uint32, p *Part) error {
	seen := 0
	return fs.WalkDir(parent.FS(), name, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if seen++; seen > maxOwned {
			return fmt.Errorf("%s has more than %d entries to change hands; name a user in place "+
				"of a free id", path, maxOwned)
		}
		info, err := parent.Lstat(path)
		if err != nil || ownerOf(info) != from {
			return err
		}
		return parent.Lchown(path, int(p.UID), int(p.GID))
	})
}

// rememberedID is the free id that a part's folders belong to since it ran last; zero: none.
func rememberedID(p *Part) uint32 {
	for _, path := range p.Rights.Write {
		if info, err := os.Lstat(path); err == nil && info.IsDir() && isFreeID(ownerOf(info)) {
			return ownerOf(info)
		}
	}
	return 0
}

func ownerOf(info fs.FileInfo) uint32 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Uid
	}
	return 0
}

func isEmpty(folder string) bool {
	f, err := os.Open(folder)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // only read
	_, err = f.Readdirnames(1)
	return errors.Is(err, io.EOF)
}

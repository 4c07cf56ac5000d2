package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"perspective/pb"
)

// A folder holds the files of one run of the demo, each part's in a folder of
// its own that only its user can enter. It ends with remove.
type folder struct {
	base  string
	front string // the front's, with its key
	site  string // what the static site serves
	board string // the board's, with its journal
	ids   []uint32
	mark  *os.File // says that the folder is in use; nil where there is no telling
}

const folderPrefix = "perspective-demo-"

// partFolders are the folders in it.
var partFolders = []string{"front", "site", "board"}

func (f *folder) key() string     { return filepath.Join(f.front, "key") }
func (f *folder) journal() string { return filepath.Join(f.board, "journal") }

// owners are the users of the front, the site and the board; no owners: all
// belong to the caller.
type owners []uint32

// newFolder makes the files. root, if not empty, is served in place of the
// documentation, and stays as it is.
func newFolder(root string, ids owners) (f *folder, err error) {
	sweep(os.TempDir())
	base, mark, err := newBase()
	if err != nil {
		return nil, fmt.Errorf("pb: demo: %w", err)
	}
	f = &folder{base: base, ids: ids, mark: mark}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("pb: demo: %w", err), f.remove())
		}
	}()
	if f.base, err = filepath.EvalSymlinks(base); err != nil {
		f.base = base
		return nil, err
	}
	if err := os.Chmod(f.base, 0o711); err != nil { //nolint:gosec // the parts pass through
		return nil, err
	}
	f.front, f.site, f.board = filepath.Join(f.base, "front"), filepath.Join(f.base,
		"site"), filepath.Join(f.base, "board")
	for _, dir := range []string{f.front, f.site, f.board} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if _, err := pb.LoadKey(f.key()); err != nil {
		return nil, err
	}
	if err := writePages(f.site); err != nil {
		return nil, err
	}
	if err := f.give(); err != nil {
		return nil, err
	}
	if root != "" {
		f.site = root
	}
	return f, nil
}

// newBase makes a folder and marks it as in use.
func newBase() (string, *os.File, error) {
	const tries = 8 // another demo that starts may take a folder without a mark for a leftover
	for i := 0; ; i++ {
		base, err := os.MkdirTemp("", folderPrefix)
		if err != nil {
			return "", nil, err
		}
		mark, err := claim(base)
		if err == nil {
			if _, err = os.Lstat(base); err == nil {
				return base, mark, nil
			}
			_ = mark.Close()
		}
		_ = os.Remove(base)
		if i == tries {
			return "", nil, err
		}
	}
}

// give hands each part's folder and what is in it to its user.
func (f *folder) give() error {
	if len(f.ids) == 0 {
		return nil
	}
	for i, dir := range []string{f.front, f.site, f.board} {
		id := int(f.ids[i])
		files, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := os.Lchown(filepath.Join(dir, file.Name()), id, id); err != nil {
				return err
			}
		}
		if err := os.Lchown(dir, id, id); err != nil {
			return err
		}
	}
	return nil
}

// remove takes away everything that newFolder made and the parts wrote.
func (f *folder) remove() error {
	err := os.RemoveAll(f.base)
	_ = f.mark.Close() // it may be nil, or closed before
	if err != nil {
		return fmt.Errorf("pb: demo: %w", err)
	}
	return nil
}

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// readableByOthers checks that a part, which is another user, can read all of a
// folder, and that it holds nothing but files, folders, and links to what is in
// it. It gives the folder's true path.
func readableByOthers(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", fmt.Errorf("pb: demo: --root: %w", err)
	}
	if dir == filepath.Dir(dir) {
		return "", errors.New(
			"pb: demo: --root: the whole file system is no web site, name a folder in it")
	}
	info, err := os.Stat(dir)
	// Before it is opened: opening a pipe waits for a writer.
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a folder", dir)
	}
	if err == nil {
		err = checkTree(dir)
	}
	if err != nil {
		return "", fmt.Errorf("pb: demo: --root: %w", err)
	}
	return dir, nil
}

func checkTree(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // only read
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		const read, search = 0o004, 0o001
		path := filepath.Join(dir, filepath.FromSlash(name))
		need := fs.FileMode(read)
		switch mode := d.Type(); {
		case mode.IsDir():
			need |= search
		case mode&fs.ModeSymlink != 0:
			// what it leads to is checked at its own place
			if _, err := root.Stat(filepath.FromSlash(name)); err != nil {
				return fmt.Errorf("the link %s does not lead to anything in the folder by a "+
					"relative path: %w", path, err)
			}
			return nil
		case !mode.IsRegular():
			return fmt.Errorf("%s is neither a file nor a folder", path)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if mode := info.Mode().Perm(); mode&need != need {
			return fmt.Errorf("others cannot read %s, its mode is %s", path,
				strconv.FormatUint(uint64(mode), 8))
		}
		return nil
	})
}

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// claim marks a folder as one in use, until the file is closed or this process
// ends, however it ends. Parts do not inherit it.
func claim(folder string) (*os.File, error) {
	fd, err := unix.Open(folder, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: folder, Err: err}
	}
	file := os.NewFile(uintptr(fd), folder)
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, &os.PathError{Op: "lock", Path: folder, Err: err}
	}
	return file, nil
}

// sweep removes from dir what a demo of the same user left that was killed too
// hard to do it itself. What cannot be removed stays: it is in nobody's way.
func sweep(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		number, ours := strings.CutPrefix(e.Name(), folderPrefix)
		if !ours || strings.Trim(number, "0123456789") != "" || !e.IsDir() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if mark, err := claim(path); err == nil {
			if isLeftover(mark) {
				_ = os.RemoveAll(path)
			}
			_ = mark.Close()
		}
	}
}

// isLeftover reports whether an unclaimed folder was made by newFolder for this user.
func isLeftover(folder *os.File) bool {
	var stat unix.Stat_t
	if err := unix.Fstat(int(folder.Fd()), &stat); err != nil || int(stat.Uid) != os.Geteuid() {
		return false
	}
	names, err := folder.Readdirnames(-1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return !slices.ContainsFunc(names,
		func(name string) bool { return !slices.Contains(partFolders, name) })
}

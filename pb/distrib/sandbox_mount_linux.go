package distrib

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"

	"golang.org/x/sys/unix"
)

// use is what a path is opened for.
type use int

const (
	useRead use = iota
	useWrite
	useDevice // /dev/null
	useLoad   // libraries: read, and mapped as code
	useExec   // the loader, and what Rights.Exec may start
)

// openedPath is a path the part may see. It is opened before anything is mounted over or given up;
// the bind mount and the Landlock rule are both made from the descriptor, so no name is looked up
// twice.
type openedPath struct {
	path string
	fd   int
	dir  bool
	link string // where it is a symbolic link of the system's to copy (/lib → usr/lib)
	use  use
}

func openPaths(p *plan, x *executable) ([]openedPath, error) {
	var all []openedPath
	add := func(path string, u use) error {
		o, err := openPath(path, u)
		if err == nil {
			all = append(all, o)
		}
		return err
	}
	readUse := useRead
	if p.Rights.Exec {
		readUse = useExec
	}
	for _, path := range p.Rights.Read {
		if err := add(path, readUse); err != nil {
			return nil, err
		}
	}
	for _, path := range p.Rights.Write {
		if err := add(path, useWrite); err != nil {
			return nil, err
		}
	}
	if err := add("/dev/null", useDevice); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if p.Child == childDialer {
		for _, path := range resolverFiles {
			if err := add(path, useRead); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	all = append(all, x.shown...)
	if x.loader == "" {
		return all, nil
	}
	for _, path := range systemLibs {
		if target, err := os.Readlink(path); err == nil {
			all = append(all, openedPath{path: path, fd: -1, link: target})
			continue
		}
		if err := add(path, useLoad); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if err := add(x.loader, useExec); err != nil {
		return nil, err
	}
	all[len(all)-1].path = "" // it lies in one of systemLibs: no mount of its own, only the rule
	return all, nil
}

func openPath(path string, u use) (openedPath, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return openedPath{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return openedPath{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return openedPath{path: path, fd: fd, dir: st.Mode&unix.S_IFMT == unix.S_IFDIR, use: u}, nil
}

// buildRoot makes a root directory with nothing in it but the paths, and puts the process into it.
// The process is alone in a mount namespace of its own, so nobody else sees any of it.
func buildRoot(paths []openedPath) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	base, err := mountBase()
	if err != nil {
		return err
	}
	// what holds before what is held
	sort.SliceStable(paths, func(i, j int) bool { return len(paths[i].path) < len(paths[j].path) })
	for _, p := range paths {
		if p.path == "" {
			continue
		}
		if err := place(base, p); err != nil {
			return fmt.Errorf("show %s: %w", p.path, err)
		}
	}
	if err := unix.Chdir(base); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	// The old root now lies over the new one.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	sealed := unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV |
			unix.MOUNT_ATTR_NOEXEC,
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", 0, &sealed); err != nil {
		return fmt.Errorf("seal the root: %w", err)
	}
	return nil
}

// mountBase mounts an empty file system where a folder happens to be.
func mountBase() (string, error) {
	var last error
	for _, base := range []string{"/tmp", "/mnt", "/var", "/opt"} {
		last = unix.Mount("tmpfs", base, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV,
			"mode=0755,size=1m,nr_inodes=4096")
		if last == nil {
			return base, nil
		}
	}
	return "", fmt.Errorf("mount a root: %w", last)
}

func place(base string, p openedPath) error {
	target := filepath.Join(base, p.path)
	//nolint:gosec // the part passes through
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if p.link != "" {
		if err := os.Symlink(p.link, target); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	}
	if err := mountPoint(target, p.dir); err != nil {
		return err
	}
	// Recursive: in a user namespace the mounts below a folder are locked to it.
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(p.fd), target, "",
		unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID}
	switch p.use {
	case useRead:
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	case useWrite:
		attr.Attr_set |= unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	case useLoad, useExec:
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV
	case useDevice:
		attr.Attr_set |= unix.MOUNT_ATTR_NOEXEC
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	return nil
}

func mountPoint(target string, dir bool) error {
	if _, err := os.Lstat(target); err == nil {
		return nil // inside a folder that is there already
	}
	if dir {
		return os.Mkdir(target, 0o755) //nolint:gosec // covered by the mount
	}
	//nolint:gosec // as above
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

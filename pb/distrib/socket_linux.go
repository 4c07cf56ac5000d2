package distrib

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"perspective/internal/prefix"
)

// DialSocket connects to the unix socket at path, an absolute one, if owner is the user behind it:
// the socket belongs to owner, and so does the process that listens (SO_PEERCRED). The folder must
// be owner's, root's or this process's own, no link, and one that nobody else can change: it may be
// open to all only with the sticky bit, as /tmp is. Where root alone can change the folder, root
// may listen for owner, as a service manager does. Otherwise the error is ErrSocketOwner.
//
// It never waits: a listener whose backlog is full is an error (EAGAIN). It works on Linux.
func DialSocket(path string, owner uint32) (net.Conn, error) {
	f, err := dialSocket(path, owner)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // the connection has its own
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, prefix.Errorf("distrib: socket %s: %w", path, err)
	}
	return conn, nil
}

func dialSocket(path string, owner uint32) (_ *os.File, err error) {
	wrap := func(what string, err error) error {
		return prefix.Errorf("distrib: socket %s: %s: %w", path, what, err)
	}
	// The folder is held by a descriptor from here on, so that no part of the path can be another's
	// by the time of connect.
	folder, err := unix.Open(filepath.Dir(path),
		unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, wrap("its folder", err)
	}
	defer func() { _ = unix.Close(folder) }()
	var dir, file unix.Stat_t
	if err := unix.Fstat(folder, &dir); err != nil {
		return nil, wrap("its folder", err)
	}
	self := uint32(max(0, os.Geteuid())) //nolint:gosec // no uid is negative
	if dir.Uid != owner && dir.Uid != 0 && dir.Uid != self {
		return nil, fmt.Errorf("%w: the folder of %s belongs to uid %d, and should to %d or root",
			ErrSocketOwner, path, dir.Uid, owner)
	}
	if dir.Mode&0o022 != 0 && dir.Mode&unix.S_ISVTX == 0 {
		return nil, fmt.Errorf("%w: others can change the folder of %s (mode %04o); chmod go-w it",
			ErrSocketOwner, path, dir.Mode&0o7777)
	}
	name := filepath.Base(path)
	if err := unix.Fstatat(folder, name, &file, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, wrap("nobody listens", err)
	}
	switch {
	case file.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return nil, fmt.Errorf("%w: %s is no socket", ErrSocketOwner, path)
	case file.Uid != owner:
		return nil, fmt.Errorf("%w: %s belongs to uid %d, and should to %d", ErrSocketOwner, path,
			file.Uid, owner)
	}
	fd, err := connectIn(folder, name)
	if err != nil {
		return nil, wrap("connect", err)
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	// Whoever can change the folder may have put a link to a socket of root's there meanwhile.
	byRoot := err == nil && peer.Uid == 0 && dir.Uid == 0 && dir.Mode&0o022 == 0
	if err == nil && peer.Uid != owner && !byRoot {
		err = fmt.Errorf("%w: uid %d listens at %s, and should %d", ErrSocketOwner, peer.Uid, path,
			owner)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "link"), nil
}

// connectIn connects to a socket in a folder, without waiting.
func connectIn(folder int, name string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	at := "/proc/self/fd/" + strconv.Itoa(folder) + "/" + name
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: at}); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

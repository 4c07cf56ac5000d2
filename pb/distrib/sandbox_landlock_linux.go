package distrib

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Landlock holds whatever the mounts show, and where no mounts could be made it alone says which
// files a part may open. Three system calls on the thread that will exec: the libraries reach for
// all threads, which needs cgo or AllThreadsSyscall.

const (
	landlockRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockWrite = landlockRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
		unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX
	landlockFile = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_EXECUTE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV |
		unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX
)

// landlockFiles returns the rights over files that an ABI knows.
func landlockFiles(abi int) uint64 {
	switch {
	case abi >= 9:
		return 1<<17 - 1
	case abi >= 5:
		return 1<<16 - 1
	case abi >= 3:
		return 1<<15 - 1
	case abi == 2:
		return 1<<14 - 1
	default:
		return 1<<13 - 1
	}
}

// restrictFiles puts Landlock in force on this thread and returns the ABI, 0 where the kernel has
// none.
func restrictFiles(p *plan, x *executable, paths []openedPath) (int, error) {
	version, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0,
		unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		//nolint:nilerr // that there is none is an answer
		return 0, nil // not built in, or off: ENOSYS, EOPNOTSUPP
	}
	abi := int(version)
	attr := unix.LandlockRulesetAttr{Handled_access_fs: landlockFiles(abi)}
	if abi >= 4 && !p.Rights.Net {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP |
			unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	made, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET,
		uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return 0, fmt.Errorf("landlock: %w", errno)
	}
	ruleset := int(made)
	// execve opens for reading as well.
	if err := allow(ruleset, x.fd, false,
		unix.LANDLOCK_ACCESS_FS_EXECUTE|unix.LANDLOCK_ACCESS_FS_READ_FILE, abi); err != nil {
		return 0, fmt.Errorf("landlock: the program: %w", err)
	}
	for _, path := range paths {
		if path.fd < 0 {
			continue
		}
		if err := allow(ruleset, path.fd, path.dir, path.use.access(), abi); err != nil {
			return 0, fmt.Errorf("landlock: %s: %w", path.path, err)
		}
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, made, 0, 0); errno != 0 {
		return 0, fmt.Errorf("landlock: %w", errno)
	}
	return abi, nil
}

func (u use) access() uint64 {
	switch u {
	case useWrite:
		return landlockWrite
	case useDevice:
		return unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	case useExec:
		return landlockRead | unix.LANDLOCK_ACCESS_FS_EXECUTE
	default:
		return landlockRead
	}
}

func allow(ruleset, fd int, dir bool, access uint64, abi int) error {
	access &= landlockFiles(abi)
	if !dir {
		access &= landlockFile
	}
	//nolint:gosec // a descriptor
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, errno := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset),
		unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	// EBADFD: the file lies on a file system inside the kernel (a memfd), which Landlock leaves
	// alone.
	if errno != 0 && !errors.Is(errno, unix.EBADFD) {
		return errno
	}
	return nil
}

package distrib

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lateLimit is a limit that this process may be over itself, as the program need not be: it is set
// right before that is executed.
type lateLimit struct {
	resource int
	value    unix.Rlimit
	what     string
}

func (l *lateLimit) set() syscall.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(l.resource),
		uintptr(unsafe.Pointer(&l.value)), 0, 0, 0)
	return errno
}

// limitDescriptors limits the open files; zero means the default, or what the monitor has where
// that is less.
func limitDescriptors(value uint64) error {
	if value == Unlimited {
		return nil
	}
	if value == 0 {
		var own unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
			return fmt.Errorf("limit of descriptors: %w", err)
		}
		value = min(defaultDescriptors, own.Max)
	}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE,
		&unix.Rlimit{Cur: value, Max: value}, nil); err != nil {
		return fmt.Errorf("limit descriptors to %d: %w", value, err)
	}
	return nil
}

// limit puts the limits of a part in force by rlimits, and notes which. It comes before root is
// given up: root may set a limit over its own. It returns those that have to wait.
func limit(p *plan, in *report) (late []lateLimit, err error) {
	r := p.Rights
	if err := limitDescriptors(r.Descriptors); err != nil {
		return nil, err
	}
	processes := r.Processes
	if processes == 0 {
		processes = defaultProcesses
		if !p.SetIDs && (!p.DropCaps || !countsByNamespace()) {
			processes = Unlimited // others of this user would count
		}
	}
	if p.SetIDs && processes <= math.MaxUint32 {
		processes *= uint64(max(1, p.Sharers))
	}
	// The kernel does not count the processes of root.
	in.processes = processes != Unlimited &&
		(p.SetIDs && p.UID != 0 || !p.SetIDs && os.Getuid() != 0)
	memory := r.Memory
	if memory == 0 {
		memory = defaultMemory
		if p.Program == "" { // of what another needs nothing is known
			space, data, err := ownMemory()
			if err != nil {
				return nil, err
			}
			if space > memory+memoryReserved || data > memory {
				memory = Unlimited
			}
		}
	}
	in.memory = memory != Unlimited
	size := r.FileSize
	if size == 0 {
		size = defaultFileSize
	}
	space := memory
	if memory < Unlimited-memoryReserved {
		space += memoryReserved
	}
	for _, l := range []struct {
		resource int
		value    uint64
		what     string
		bounded  bool // a default is no reason to ask for more than the monitor has
	}{
		{unix.RLIMIT_CORE, 0, "core files", true}, // a core file would hold others' requests
		{unix.RLIMIT_NPROC, processes, "processes", r.Processes == 0},
		{unix.RLIMIT_DATA, memory, "memory", r.Memory == 0},
		{unix.RLIMIT_AS, space, "address space", true},
		{unix.RLIMIT_FSIZE, size, "file size", r.FileSize == 0},
	} {
		if l.value == Unlimited {
			continue
		}
		var own unix.Rlimit
		if err := unix.Getrlimit(l.resource, &own); err != nil {
			return nil, fmt.Errorf("limit of %s: %w", l.what, err)
		}
		value := l.value
		if l.bounded {
			value = min(value, own.Max)
		}
		wanted := unix.Rlimit{Cur: value, Max: value}
		if (l.resource == unix.RLIMIT_DATA || l.resource == unix.RLIMIT_AS) && value <= own.Max {
			late = append(late, lateLimit{l.resource, wanted, l.what})
			continue
		}
		if err := unix.Prlimit(0, l.resource, &wanted, nil); err != nil {
			return nil, fmt.Errorf("limit %s to %d: %w", l.what, value, err)
		}
	}
	return late, nil
}

// countsByNamespace says whether the kernel counts the processes of a user in each user namespace
// for itself: from 5.14.
func countsByNamespace() bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var major, minor int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d",
		&major, &minor); n != 2 {
		return false
	}
	return major > 5 || major == 5 && minor >= 14
}

// ownMemory returns the address space of this process and what it can write to in it, in bytes. The
// part, which is the same program, begins with as much.
func ownMemory() (space, data uint64, err error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0, fmt.Errorf("limit of memory: %w", err)
	}
	fields := strings.Fields(string(text))
	if len(fields) < 6 {
		return 0, 0, errors.New("limit of memory: /proc/self/statm is short")
	}
	pages := func(field string) uint64 {
		n, convErr := strconv.ParseUint(field, 10, 63)
		err = errors.Join(err, convErr)
		return n * uint64(os.Getpagesize()) //nolint:gosec // positive
	}
	space, data = pages(fields[0]), pages(fields[5])
	return space, data, err
}

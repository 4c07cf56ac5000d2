package distrib

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// limit puts the limits of a part in force by rlimits, and notes which. It comes before root is
// given up: root may set a limit over its own.
func limit(p *plan, in *report) error {
	r := p.Rights
	descriptors := r.Descriptors
	if descriptors == 0 {
		var own unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
			return fmt.Errorf("limit of descriptors: %w", err)
		}
		descriptors = min(defaultDescriptors, own.Max)
	}
	processes := r.Processes
	if processes == 0 {
		processes = defaultProcesses
		if !p.SetIDs && (!p.DropCaps || !countsByNamespace()) {
			processes = Unlimited // others of this user would count
		}
	}
	// The kernel does not count the processes of root.
	in.processes = processes != Unlimited &&
		(p.SetIDs && p.UID != 0 || !p.SetIDs && os.Getuid() != 0)
	memory := r.Memory
	if memory == 0 {
		memory = defaultMemory
		if space, data, err := ownMemory(); err != nil {
			return err
		} else if space > memory+memoryReserved || data > memory {
			memory = Unlimited
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
		{unix.RLIMIT_NOFILE, descriptors, "descriptors", r.Descriptors == 0},
		{unix.RLIMIT_NPROC, processes, "processes", r.Processes == 0},
		{unix.RLIMIT_DATA, memory, "memory", r.Memory == 0},
		{unix.RLIMIT_AS, space, "address space", true},
		{unix.RLIMIT_FSIZE, size, "file size", r.FileSize == 0},
	} {
		if l.value == Unlimited {
			continue
		}
		value := l.value
		if l.bounded {
			var own unix.Rlimit
			if err := unix.Getrlimit(l.resource, &own); err != nil {
				return fmt.Errorf("limit of %s: %w", l.what, err)
			}
			value = min(value, own.Max)
		}
		if err := unix.Prlimit(0, l.resource,
			&unix.Rlimit{Cur: value, Max: value}, nil); err != nil {
			return fmt.Errorf("limit %s to %d: %w", l.what, value, err)
		}
	}
	return nil
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

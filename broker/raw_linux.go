//go:build linux && !race && !msan && !asan

package broker

import (
	"syscall"
	"unsafe"
)

// A descriptor here never lets a system call wait, so the scheduler need not be
// told of it: that keeps the thread its processor, and the runtime's monitor asleep.
// docs/performance.md says what it gives. The detectors of races and of memory that
// is not set must see what the kernel reads and writes: see raw_told.go.

// untoldMax is what is written so at most: the world cannot be stopped meanwhile.
const untoldMax = 32 << 10

// readNow reads what is there.
func readNow(fd uintptr, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// writeNow writes what there is room for.
func writeNow(fd uintptr, b []byte) (int, error) {
	if len(b) > untoldMax {
		return syscall.Write(int(fd), b)
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

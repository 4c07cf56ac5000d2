//go:build (amd64 || arm64) && !race && !msan && !asan

package link

import (
	"syscall"
	"unsafe"
)

// These system calls never wait, so Go's scheduler need not be told of them: that keeps the thread
// its processor, and the runtime's monitor asleep. docs/performance.md says what it gives.
// MSG_DONTWAIT holds also for a descriptor that another process with a copy of it has made blocking
// (O_NONBLOCK is shared): a blocked thread would keep the collector from stopping the world. The
// detectors of races and of memory that is not set must see what the kernel reads and writes: see
// raw_told.go.

// untoldMax is what is written so at most, for the world cannot be stopped while it
// is copied either. What is read is no more than readBufferMax.
const untoldMax = 64 << 10

// readNow reads what is there from a socket.
func readNow(fd uintptr, b []byte) (int, error) {
	return untold(syscall.SYS_RECVFROM, fd, b, syscall.MSG_DONTWAIT)
}

// writeNow writes what a socket has room for.
func writeNow(fd uintptr, b []byte) (int, error) {
	if len(b) > untoldMax {
		return syscall.Write(int(fd), b)
	}
	return untold(syscall.SYS_SENDTO, fd, b, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
}

func untold(call, fd uintptr, b []byte, flags uintptr) (int, error) {
	n, _, errno := syscall.RawSyscall6(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))),
		uintptr(len(b)), flags, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

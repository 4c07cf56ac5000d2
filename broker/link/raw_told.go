//go:build unix && (!linux || !(amd64 || arm64) || race || msan || asan)

package link

import "syscall"

// readNow reads what is there.
func readNow(fd uintptr, b []byte) (int, error) { return syscall.Read(int(fd), b) }

// writeNow writes what there is room for.
func writeNow(fd uintptr, b []byte) (int, error) { return syscall.Write(int(fd), b) }

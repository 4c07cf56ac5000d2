//go:build unix && !darwin && !linux && !openbsd

package link

import "syscall"

// readv reads once into the first of several slices.
func readv(fd int, to [][]byte) (int, error) { return syscall.Read(fd, to[0]) }

// writev writes the first of several slices.
func writev(fd int, from [][]byte) (int, error) { return syscall.Write(fd, from[0]) }

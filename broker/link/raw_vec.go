//go:build darwin || linux || openbsd

package link

import "golang.org/x/sys/unix"

// readv reads once into several slices, one after another.
func readv(fd int, to [][]byte) (int, error) { return unix.Readv(fd, to) }

// writev writes several slices as one.
func writev(fd int, from [][]byte) (int, error) { return unix.Writev(fd, from) }

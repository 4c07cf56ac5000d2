//go:build unix

package cred

import (
	"os"
	"syscall"
)

// keepOwner gives a file the owner and group that another has.
func keepOwner(file *os.File, old os.FileInfo) error {
	stat, ok := old.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return file.Chown(int(stat.Uid), int(stat.Gid))
}

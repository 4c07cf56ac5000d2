//go:build unix

package cred_test

import (
	"fmt"
	"os"
	"syscall"
)

func owner(info os.FileInfo) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "unknown"
	}
	return fmt.Sprintf("%d:%d", stat.Uid, stat.Gid)
}

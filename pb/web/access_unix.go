//go:build unix

package web

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// unixModes: modes of files say who can read them.
const unixModes = true

// may says whether an account can do so much with a path, and if not, what the path is like. Links
// are followed. Where the path cannot be looked at the answer is no.
func may(path string, who account, want access) (ok bool, what string) {
	info, err := os.Stat(path)
	if err != nil {
		return false, "cannot be looked at: " + reason(err)
	}
	stat, known := info.Sys().(*syscall.Stat_t)
	if !known {
		return true, ""
	}
	if who.self {
		if err := syscall.Access(path, uint32(want)); err == nil {
			return true, ""
		}
		return false, describe(info, stat)
	}
	bits := access(info.Mode().Perm()) //nolint:gosec // the lower three are meant
	switch {
	case who.free:
	case stat.Uid == who.uid:
		bits = access(info.Mode().Perm() >> 6) //nolint:gosec // as above
	case stat.Gid == who.gid:
		bits = access(info.Mode().Perm() >> 3) //nolint:gosec // as above
	}
	if bits&want == want {
		return true, ""
	}
	return false, describe(info, stat)
}

// describe gives a file's mode, owner and group.
func describe(info fs.FileInfo, stat *syscall.Stat_t) string {
	owner := strconv.FormatUint(uint64(stat.Uid), 10)
	if u, err := user.LookupId(owner); err == nil {
		owner = u.Username
	}
	group := strconv.FormatUint(uint64(stat.Gid), 10)
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("has mode %#o and belongs to %s:%s", info.Mode().Perm(), owner, group)
}

// openToAll says whether every user of the machine can change a file, or what lies in a folder: in
// one like /tmp they can only add to it.
func openToAll(info fs.FileInfo) bool {
	return info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0
}

func ownedBy(info fs.FileInfo, uid uint32) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || stat.Uid == uid
}

// firstFreePort is the first port that needs no rights.
func firstFreePort() int {
	const usual = 1024
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return usual
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return usual
	}
	return n
}

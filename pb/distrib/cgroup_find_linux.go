package distrib

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ownGroup returns the directory of the group that this process is in, or was before a monitor
// moved it into its leaf.
func ownGroup() (string, error) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	return groupDir(string(groups), string(mounts))
}

// groupDir finds the directory by what /proc/self/cgroup and /proc/self/mountinfo say.
func groupDir(groups, mounts string) (string, error) {
	own := ""
	for line := range strings.Lines(groups) {
		if name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			own = name
		}
	}
	if own == "" {
		return "", errors.New("this process is in no control group of version 2")
	}
	if above := path.Dir(own); path.Base(own) == monitorLeaf &&
		strings.HasPrefix(path.Base(above), groupPrefix) {
		own = path.Dir(above)
	}
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(kind) < 1 || kind[0] != "cgroup2" {
			continue
		}
		root, point := unescape(fields[3]), unescape(fields[4])
		below, ok := strings.CutPrefix(own, strings.TrimSuffix(root, "/"))
		if ok && (below == "" || below[0] == '/') &&
			!slices.Contains(strings.Split(own, "/"), "..") {
			return filepath.Join(point, below), nil
		}
	}
	return "", fmt.Errorf("no mount shows this process's control group %s", own)
}

// unescape undoes the octal escapes of mountinfo.
func unescape(field string) string {
	var b strings.Builder
	for i := 0; i < len(field); i++ {
		if field[i] == '\\' && i+3 < len(field) {
			if n, err := strconv.ParseUint(field[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(field[i])
	}
	return b.String()
}

// delegated says whether a group is this process's to divide: it may write there, and where systemd
// runs, which owns every group that it has not given away, the group has its mark.
func delegated(dir string) error {
	for _, file := range []string{".", "cgroup.procs", "cgroup.subtree_control"} {
		if err := unix.Faccessat(unix.AT_FDCWD, filepath.Join(dir, file), unix.W_OK,
			unix.AT_EACCESS); err != nil {
			return fmt.Errorf("%s is not this user's to divide: %w", dir, err)
		}
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil //nolint:nilerr // no systemd
	}
	for _, mark := range []string{"user.delegate", "trusted.delegate"} {
		var value [4]byte
		if n, err := unix.Getxattr(dir, mark, value[:]); err == nil && string(value[:n]) == "1" {
			return nil
		}
	}
	return fmt.Errorf("systemd has not delegated %s, set Delegate=yes for the service", dir)
}

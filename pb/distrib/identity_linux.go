package distrib

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// usedIDs returns every user and group id that some process has in any role.
func usedIDs() (map[uint32]bool, error) {
	used := map[uint32]bool{}
	err := eachProcess(func(_ int, ids []uint32) error {
		for _, id := range ids {
			used[id] = true
		}
		return nil
	})
	return used, err
}

// killUser kills every process that has the user id, until there is none. It is for ids that belong
// to one part.
func killUser(id uint32) {
	for range 16 { // a fork bomb inside can outrun a pass or two, not this
		found := false
		_ = eachProcess(func(pid int, ids []uint32) error {
			if len(ids) > 0 && ids[0] == id {
				found = true
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			return nil
		})
		if !found {
			return
		}
	}
}

// eachProcess calls visit with the ids of each process that is no zombie: users first (real,
// effective, saved, file system), then groups.
func eachProcess(visit func(pid int, ids []uint32) error) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("distrib: cannot see the processes: %w", err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		ids, err := idsOf(pid)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) ||
			ids == nil && err == nil {
			continue
		}
		if err != nil {
			return err
		}
		if err := visit(pid, ids); err != nil {
			return err
		}
	}
	return nil
}

// statusLine returns the value of a line "Key:\tvalue", as files of /proc have them.
func statusLine(text, key string) (string, bool) {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok && k == key {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

func idsOf(pid int) ([]uint32, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var ids []uint32
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, values, _ := strings.Cut(lines.Text(), ":")
		switch key {
		case "State":
			if strings.HasPrefix(strings.TrimSpace(values), "Z") {
				return nil, nil
			}
		case "Uid", "Gid":
			for field := range strings.FieldsSeq(values) {
				id, err := strconv.ParseUint(field, 10, 32)
				if err != nil {
					return nil, fmt.Errorf("distrib: /proc/%d/status: %w", pid, err)
				}
				ids = append(ids, uint32(id))
			}
		}
	}
	return ids, lines.Err()
}

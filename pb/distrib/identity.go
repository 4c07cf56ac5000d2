package distrib

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
)

const (
	firstID = 61200
	lastID  = 61999
)

// FreeIDs returns n numbers from 61200 up that are neither a user nor a group with an account and that no process
// runs as now. Each serves as UID and GID of one part. Nothing reserves them: use them soon.
func FreeIDs(n int) ([]uint32, error) {
	used, err := usedIDs()
	if err != nil {
		return nil, err
	}
	ids := make([]uint32, 0, n)
	for id := uint32(firstID); id <= lastID && len(ids) < n; id++ {
		if used[id] {
			continue
		}
		free, err := noAccount(id)
		if err != nil {
			return nil, err
		}
		if free {
			ids = append(ids, id)
		}
	}
	if len(ids) < n {
		return nil, fmt.Errorf("distrib: only %d of %d user ids are free between %d and %d", len(ids), n, firstID, lastID)
	}
	return ids, nil
}

// noAccount says that neither a user nor a group has the number. A database that cannot be read is an error: a wrong
// yes would give a part somebody's files.
func noAccount(id uint32) (bool, error) {
	number := strconv.FormatUint(uint64(id), 10)
	if _, err := user.LookupId(number); err == nil {
		return false, nil
	} else if _, unknown := errors.AsType[user.UnknownUserIdError](err); !unknown {
		return false, fmt.Errorf("distrib: looking up user %d: %w", id, err)
	}
	if _, err := user.LookupGroupId(number); err == nil {
		return false, nil
	} else if _, unknown := errors.AsType[user.UnknownGroupIdError](err); !unknown {
		return false, fmt.Errorf("distrib: looking up group %d: %w", id, err)
	}
	return true, nil
}

// assignIDs gives each part its own ids where users separate.
func assignIDs(sep Separation, parts []*Part) error {
	if sep.Mode != ByUser {
		return nil
	}
	taken := map[uint32]string{0: "root"}
	missing := 0
	for _, p := range parts {
		if p.UID == 0 {
			missing++
			continue
		}
		if other, ok := taken[p.UID]; ok {
			return fmt.Errorf("distrib: parts %s and %s have one user id, %d", p.Name, other, p.UID)
		}
		taken[p.UID] = p.Name
	}
	free, err := FreeIDs(missing + len(taken) - 1)
	if err != nil {
		return err
	}
	for _, p := range parts {
		for p.UID == 0 {
			if _, ok := taken[free[0]]; !ok {
				p.UID = free[0]
				p.GID = free[0]
			}
			free = free[1:]
		}
		if p.GID == 0 {
			p.GID = p.UID
		}
	}
	return nil
}

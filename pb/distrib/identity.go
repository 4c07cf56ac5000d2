package distrib

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
)

const (
	firstID = 61200
	lastID  = 61999
)

// ErrIDTaken comes from Monitor.Run where a part's UID lies in the range of FreeIDs and another
// monitor that runs has it.
var ErrIDTaken = errors.New("distrib: another monitor has this user id")

// User is an account of the system, as a Part needs it. The zero value is none.
type User struct {
	// Name is the account's name.
	Name string
	// UID and GID are its number and that of its group.
	UID, GID uint32
	// Home is its home folder.
	Home string
}

// LookupUser returns the account of a name, or of a number that stands for one. What it returns for
// an unknown name wraps the error of package os/user.
func LookupUser(name string) (User, error) {
	account, err := user.Lookup(name)
	if _, unknown := errors.AsType[user.UnknownUserError](err); unknown {
		if byID, idErr := user.LookupId(name); idErr == nil {
			account, err = byID, nil
		}
	}
	if err != nil {
		return User{}, fmt.Errorf("distrib: %w", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return User{}, fmt.Errorf("distrib: user %s: its number: %w", name, err)
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return User{}, fmt.Errorf("distrib: user %s: the number of its group: %w", name, err)
	}
	return User{Name: account.Username, UID: uint32(uid), GID: uint32(gid),
		Home: account.HomeDir}, nil
}

// FreeIDs returns n numbers from 61200 up that are neither a user nor a group with an account, that
// no process runs as now, and, where root asks, that no monitor has reserved. Each serves as UID
// and GID of one part. A Monitor reserves what it picks itself, and ids of this range that its
// parts are given, from Run's begin until it ends; what FreeIDs returns is not reserved before.
func FreeIDs(n int) ([]uint32, error) {
	var held *reservations
	if os.Geteuid() == 0 {
		var err error
		if held, err = openReservations(); err != nil {
			return nil, err
		}
		defer func() { _ = held.close() }()
	}
	return freeIDs(n, held)
}

// freeIDs finds n ids; they are reserved for as long as held stays open. Without held only the
// processes count.
func freeIDs(n int, held *reservations) ([]uint32, error) {
	ids := make([]uint32, 0, n)
	for id := uint32(firstID); id <= lastID && len(ids) < n; {
		found := len(ids)
		for ; id <= lastID && len(ids) < n; id++ {
			if held != nil {
				if taken, err := held.take(id); err != nil {
					return nil, err
				} else if !taken {
					continue
				}
			}
			free, err := noAccount(id)
			if err != nil {
				return nil, err
			}
			if free {
				ids = append(ids, id)
			} else if err := giveBack(held, id); err != nil {
				return nil, err
			}
		}
		// Only now: what runs as an id that is reserved here was left by a monitor that is gone,
		// and shows.
		used, err := usedIDs()
		if err != nil {
			return nil, err
		}
		kept := ids[:found]
		for _, id := range ids[found:] {
			if !used[id] {
				kept = append(kept, id)
			} else if err := giveBack(held, id); err != nil {
				return nil, err
			}
		}
		ids = kept
	}
	if len(ids) < n {
		return nil, fmt.Errorf("distrib: only %d of %d user ids are free between %d and %d",
			len(ids), n, firstID, lastID)
	}
	return ids, nil
}

func giveBack(held *reservations, id uint32) error {
	if held == nil {
		return nil
	}
	return held.give(id)
}

// noAccount says that neither a user nor a group has the number. A database that cannot be read is
// an error: a wrong yes would give a part another user's files.
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

// assignIDs gives each part its own ids where users separate. They are reserved until release is
// called, which is never nil.
func assignIDs(sep Separation, parts []*Part) (release func(), err error) {
	if sep.Mode != ByUser {
		return func() {}, nil
	}
	parts = slices.DeleteFunc(slices.Clone(parts), func(p *Part) bool { return p.Socket != "" })
	held, err := openReservations()
	if err != nil {
		return func() {}, err
	}
	release = func() { _ = held.close() }
	if err := assignReserved(parts, held); err != nil {
		release()
		return func() {}, err
	}
	return release, nil
}

func assignReserved(parts []*Part, held *reservations) error {
	taken := map[uint32]*Part{0: {Name: "root"}}
	for _, p := range parts {
		if p.UID == 0 {
			continue
		}
		other := taken[p.UID]
		if other != nil && !p.sharesUser(other) {
			return fmt.Errorf("distrib: parts %s and %s have one user id, %d", p.Name, other.Name,
				p.UID)
		}
		taken[p.UID] = p
		if other != nil || !isFreeID(p.UID) {
			continue
		}
		if ours, err := held.take(p.UID); err != nil {
			return err
		} else if !ours {
			return fmt.Errorf("%w: part %s, %d", ErrIDTaken, p.Name, p.UID)
		}
	}
	missing, err := keepIDs(parts, held, taken)
	if err != nil {
		return err
	}
	// More than are missing: an id that this monitor has already can be taken by it again.
	free, err := freeIDs(missing+len(taken)-1, held)
	if err != nil {
		return err
	}
	for i, p := range parts {
		if first := siblingOf(parts[:i], p); first != nil && p.UID == 0 {
			p.UID, p.GID, p.freeID = first.UID, first.GID, true
		}
		for p.UID == 0 {
			if taken[free[0]] == nil {
				p.UID, p.GID, p.freeID = free[0], free[0], true
			}
			free = free[1:]
		}
		if p.GID == 0 {
			p.GID = p.UID
		}
	}
	for _, p := range parts {
		for _, other := range parts {
			if other.UID == p.UID {
				p.sharers++
			}
		}
	}
	return nil
}

// keepIDs gives the parts whose folders belong to a free id the same one, and counts the others
// that have none yet, instances of one mount once.
func keepIDs(parts []*Part, held *reservations, taken map[uint32]*Part) (missing int, err error) {
	for i, p := range parts {
		if p.UID != 0 || siblingOf(parts[:i], p) != nil {
			continue
		}
		missing++
		id := rememberedID(p)
		if id == 0 || taken[id] != nil {
			continue
		}
		free, err := claimID(id, held)
		if err != nil {
			return 0, err
		}
		if free {
			p.UID, p.GID, p.freeID, taken[id] = id, id, true, p
			missing--
		}
	}
	return missing, nil
}

// claimID reserves a free id that nobody has.
func claimID(id uint32, held *reservations) (bool, error) {
	if ours, err := held.take(id); err != nil || !ours {
		return false, err
	}
	free, err := noAccount(id)
	if err != nil {
		return false, err
	}
	used, err := usedIDs()
	if err != nil {
		return false, err
	}
	if !free || used[id] {
		return false, held.give(id)
	}
	return true, nil
}

// isFreeID says whether FreeIDs may return the id.
func isFreeID(id uint32) bool { return id >= firstID && id <= lastID }

// sharesUser says whether two parts may have one user: they are instances of one mount.
func (p *Part) sharesUser(other *Part) bool { return p.Mount != "" && p.Mount == other.Mount }

// siblingOf is the first of the parts that was given no user either and shares the part's.
func siblingOf(parts []*Part, p *Part) *Part {
	for _, other := range parts {
		if p.sharesUser(other) && (other.UID == 0 || other.freeID) {
			return other
		}
	}
	return nil
}

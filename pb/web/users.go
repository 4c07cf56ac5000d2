package web

import (
	"fmt"
	"os"

	"perspective/pb/distrib"
)

// idsOf are the numbers of a user that the file names; zeros for an empty name, which stand for
// free ones. Where this process is not root a part can only run as its own user.
func idsOf(name string) (uid, gid uint32, err error) {
	if name == "" {
		return 0, 0, nil
	}
	u, err := distrib.LookupUser(name)
	if err != nil {
		return 0, 0, err
	}
	if u.UID == 0 {
		return 0, 0, fmt.Errorf("user %q: no part of a site runs as root", name)
	}
	if own := os.Geteuid(); own != 0 && own != int(u.UID) {
		return 0, 0, fmt.Errorf("user %q: only root can run a part as another user", name)
	}
	return u.UID, u.GID, nil
}

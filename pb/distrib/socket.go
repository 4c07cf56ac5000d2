package distrib

import (
	"errors"
	"os"
)

// ErrSocketOwner comes from DialSocket where somebody else may be behind the socket than its owner
// should be.
var ErrSocketOwner = errors.New("distrib: the socket is not its owner's alone")

// socketOwner is the user that a part's Socket must belong to.
func (p *Part) socketOwner() uint32 {
	if p.UID != 0 {
		return p.UID
	}
	return uint32(max(0, os.Geteuid())) //nolint:gosec // no uid is negative
}

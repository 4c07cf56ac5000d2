//go:build !unix

package web

import (
	"io/fs"
	"os"
)

// unixModes: modes of files say who can read them.
const unixModes = false

// may says whether a path is there: what this system asks before it opens one is not looked at.
func may(path string, _ account, _ access) (ok bool, what string) {
	if _, err := os.Stat(path); err != nil {
		return false, "cannot be looked at: " + reason(err)
	}
	return true, ""
}

func openToAll(fs.FileInfo) bool { return false }

func ownedBy(fs.FileInfo, uint32) bool { return true }

func firstFreePort() int { return 0 }

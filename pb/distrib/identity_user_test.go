package distrib

import (
	"errors"
	"os/user"
	"strconv"
	"testing"
)

func TestLookupUser(t *testing.T) {
	self, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	for _, name := range []string{self.Username, self.Uid} {
		got, err := LookupUser(name)
		if err != nil || got.Name != self.Username || got.Home != self.HomeDir ||
			strconv.FormatUint(uint64(got.UID), 10) != self.Uid ||
			strconv.FormatUint(uint64(got.GID), 10) != self.Gid {
			t.Errorf("LookupUser(%q) = %+v, %v, want %+v", name, got, err, self)
		}
	}
	_, err = LookupUser("nobody-has-this-name")
	if _, unknown := errors.AsType[user.UnknownUserError](err); !unknown {
		t.Errorf("LookupUser of an unknown name = %v", err)
	}
}

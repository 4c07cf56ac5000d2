package web

import (
	"context"
	"errors"
)

// errNotYet says that the monitor cannot do it.
var errNotYet = errors.New("web: this release cannot do that while the site runs")

// reload makes the file as it is now the one that runs, at once or not at all.
func (s *site) reload(context.Context) error { return errNotYet }

// restart starts the parts of a mount again.
func (s *site) restart(context.Context, string) error { return errNotYet }

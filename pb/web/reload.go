package web

import (
	"context"
	"errors"
	"fmt"
)

// errNotYet says that the monitor cannot do it.
var errNotYet = errors.New("web: this release cannot do that while the site runs")

// reload makes the file as it is now the one that runs, at once or not at all.
func (s *site) reload(context.Context) error { return errNotYet }

// restart starts the parts of a mount again, or the part of that name, one after the other, each
// beside the one that it replaces; an empty name means all mounts.
func (s *site) restart(ctx context.Context, name string) error {
	if name == "front" {
		return errNotYet
	}
	var names []string
	for i := range s.plan.backs {
		if b := &s.plan.backs[i]; name == "" || b.Mount == name || b.Name == name {
			names = append(names, b.Name)
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("web: the site has no mount %q", name)
	}
	for _, part := range names {
		if err := s.monitor.Restart(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

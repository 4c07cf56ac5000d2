package harness

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Profiles runs a load of each contestant over TCP and writes CPU and
// allocation profiles of both processes into a folder, which it makes. It says to w how fast
// each was.
func Profiles(w io.Writer, names []string, folder string, load Load) error {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	d := &driver{Plan: Plan{}.withDefaults()}
	n, err := ParseNetwork("tcp")
	if err != nil {
		return err
	}
	if names == nil {
		names = order
	}
	var errs []error
	for _, name := range names {
		c, err := lookup(name)
		if err != nil {
			return err
		}
		if err := d.profile(w, c, n, folder, load); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (d *driver) profile(w io.Writer, c *Contestant, n Network, folder string, load Load) error {
	p, err := d.start(c, n, 64)
	if err != nil {
		return err
	}
	defer p.close()
	warm := load
	warm.Calls = load.Calls/10 + 1
	if _, err := p.client.ask(&request{Do: doRun, Load: &warm}, patience); err != nil {
		return err
	}
	each := func(do action, kind string) error {
		for _, side := range []struct {
			p    *process
			name string
		}{{p.server, roleServer}, {p.client, roleClient}} {
			file := filepath.Join(folder, c.Name+"."+side.name+"."+kind)
			if _, err := side.p.ask(&request{Do: do, File: file}, patience); err != nil {
				return err
			}
		}
		return nil
	}
	if err := each(doProfile, "cpu"); err != nil {
		return err
	}
	r, err := p.client.ask(&request{Do: doRun, Load: &load}, 4*patience)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "%s: %.0f calls/s\n", c.Name,
		float64(r.Calls)/r.Seconds); err != nil {
		return err
	}
	return errors.Join(each(doStop, "cpu"), each(doAllocs, "allocs"))
}

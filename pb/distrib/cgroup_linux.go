package distrib

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Where the monitor may make control groups (version 2), each run of a part has one of its own:
//
//	BASE                   the monitor's group when it starts; the monitor must have the right to
//	                       divide it, see delegated
//	  perspective-PID-N    one monitor's; the monitor holds a lock on it, so that the next monitor
//	                       can tell the groups of a killed one
//	    monitor            the monitor itself, if it had to leave BASE: a group that bounds others
//	                       has no process
//	    part-N             one run of a part
//
// Each controller is used if it is there. Without any the group still serves to kill all that is in
// it. What goes wrong costs the groups, never the part: rlimits hold in any case.

const (
	groupPrefix = "perspective-"
	monitorLeaf = "monitor"
	partPrefix  = "part-"

	controlMemory    = "memory"
	controlProcesses = "pids"

	// groupEnds is how long the processes of a group may take to be gone once they were killed.
	groupEnds = 2 * time.Second
)

// partGroups are the control groups of one monitor. It is used by one goroutine; the groups it
// makes are for others.
type partGroups struct {
	base, dir string
	lock      *os.File
	bounds    []string // controllers in use
	enabled   []string // of them, those that base did not have before
	lacks     error    // why it is not all of them; nil: it is
	moved     bool     // the monitor is in its leaf
	made      int
}

// partGroup is the control group of one run of a part.
type partGroup struct {
	path   string
	dir    *os.File // to start a process in it; nil once that was done
	bounds []string // controllers that limit it
}

// openGroups finds where groups can be made, removes what dead monitors left there, and makes this
// monitor's. An error says why there are none.
func openGroups() (*partGroups, error) {
	base, err := ownGroup()
	if err != nil {
		return nil, err
	}
	if err := delegated(base); err != nil {
		return nil, err
	}
	sweepGroups(base)
	g := &partGroups{base: base}
	if err := g.claim(); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(base, "cgroup.controllers"))
	if err != nil {
		g.close()
		return nil, err
	}
	there := strings.Fields(string(text))
	for _, controller := range []string{controlMemory, controlProcesses} {
		err := errors.New("it is not in cgroup.controllers")
		if slices.Contains(there, controller) {
			err = g.enable(controller)
		}
		if err == nil {
			g.bounds = append(g.bounds, controller)
			continue
		}
		err = fmt.Errorf("%s of %s: %w", controller, base, err)
		if g.lacks != nil {
			err = fmt.Errorf("%w; %w", g.lacks, err)
		}
		g.lacks = err
	}
	if g.moved && len(g.bounds) == 0 {
		g.moveBack() // it was for nothing
	}
	return g, nil
}

// claim makes the monitor's group and locks it.
func (g *partGroups) claim() error {
	for n := range 64 {
		g.dir = filepath.Join(g.base, fmt.Sprintf("%s%d-%d", groupPrefix, os.Getpid(), n))
		err := os.Mkdir(g.dir, 0o750)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if g.lock, err = lockGroup(g.dir); err == nil {
			return nil
		}
		_ = os.Remove(g.dir) // a monitor that cleans up was quicker, and removes it
	}
	return fmt.Errorf("no name is free for a control group in %s", g.base)
}

// lockGroup locks a monitor's group, for as long as the file is open.
func lockGroup(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	var opened, there unix.Stat_t
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		err = errors.Join(unix.Fstat(int(f.Fd()), &opened), unix.Stat(dir, &there))
	}
	if err == nil && opened.Ino != there.Ino {
		err = fs.ErrNotExist // removed, and another made
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sweepGroups ends and removes what monitors left that are dead. What does not go stays for the
// next one.
func sweepGroups(base string) {
	left, _ := filepath.Glob(filepath.Join(base, groupPrefix+"*"))
	for _, dir := range left {
		lock, err := lockGroup(dir)
		if err != nil {
			continue // it lives
		}
		parts, _ := filepath.Glob(filepath.Join(dir, partPrefix+"*"))
		for _, part := range parts {
			_ = endGroup(part)
		}
		// The processes in there are not killed: a program may go on when its monitor has ended.
		_ = os.Remove(filepath.Join(dir, monitorLeaf))
		_ = os.Remove(dir)
		_ = lock.Close()
	}
}

// enable lets the groups of parts have a controller.
func (g *partGroups) enable(controller string) error {
	text, err := os.ReadFile(filepath.Join(g.base, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(string(text)), controller) {
		if err := g.empty(); err != nil {
			return err
		}
		if err := writeGroup(g.base, "cgroup.subtree_control", "+"+controller); err != nil {
			return err
		}
		g.enabled = append(g.enabled, controller)
	}
	return writeGroup(g.dir, "cgroup.subtree_control", "+"+controller)
}

// empty sees that base has no process: only such a group may hand controllers down. The kernel
// would let one with processes hand pids down, but as a group of threads, whose groups take no
// processes. The root of all may do both.
func (g *partGroups) empty() error {
	if _, err := os.Stat(filepath.Join(g.base, "cgroup.type")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if !g.moved {
		if err := g.moveIn(); err != nil {
			return err
		}
	}
	others, err := os.ReadFile(filepath.Join(g.base, "cgroup.procs"))
	if err == nil && len(others) > 0 {
		err = fmt.Errorf("other processes are in %s", g.base)
	}
	return err
}

func (g *partGroups) moveIn() error {
	leaf := filepath.Join(g.dir, monitorLeaf)
	if err := os.Mkdir(leaf, 0o750); err != nil {
		return err
	}
	if err := writeGroup(leaf, "cgroup.procs", "0"); err != nil {
		return errors.Join(err, os.Remove(leaf))
	}
	g.moved = true
	return nil
}

func (g *partGroups) moveBack() {
	if writeGroup(g.base, "cgroup.procs", "0") == nil {
		g.moved = false
		_ = os.Remove(filepath.Join(g.dir, monitorLeaf))
	}
}

// close removes the monitor's group; those of parts are gone by then. Where other monitors use the
// same controllers they stay, and if the monitor was moved so does its leaf, until the process has
// ended.
func (g *partGroups) close() {
	for _, controller := range g.bounds {
		_ = writeGroup(g.dir, "cgroup.subtree_control", "-"+controller)
	}
	for _, controller := range g.enabled {
		_ = writeGroup(g.base, "cgroup.subtree_control", "-"+controller)
	}
	if g.moved {
		g.moveBack()
	}
	_ = os.Remove(g.dir)
	_ = g.lock.Close()
}

// group makes the group for a run of a part with such rights.
func (g *partGroups) group(rights Rights) (*partGroup, error) {
	g.made++
	p := &partGroup{path: filepath.Join(g.dir, partPrefix+strconv.Itoa(g.made))}
	if err := os.Mkdir(p.path, 0o750); err != nil {
		return nil, err
	}
	err := p.limit(g.bounds, rights)
	if err == nil {
		p.dir, err = os.Open(p.path)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(p.path))
	}
	return p, nil
}

func (p *partGroup) limit(bounds []string, rights Rights) error {
	for _, controller := range bounds {
		value, file := rights.Processes, "pids.max"
		if value == 0 {
			value = defaultProcesses
		}
		if controller == controlMemory {
			file = "memory.max"
			if value = rights.Memory; value == 0 {
				value = defaultMemory
			}
		}
		if value == Unlimited {
			continue
		}
		if err := writeGroup(p.path, file, strconv.FormatUint(value, 10)); err != nil {
			return err
		}
		p.bounds = append(p.bounds, controller)
		if controller != controlMemory {
			continue
		}
		// Swap would be memory beyond the limit; a kernel may have none. A part that is out of
		// memory ends as a whole.
		for name, value := range map[string]string{"memory.swap.max": "0",
			"memory.oom.group": "1"} {
			if err := writeGroup(p.path, name, value); err != nil &&
				!errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// inhabited says that nothing more is started in the group.
func (p *partGroup) inhabited() {
	_ = p.dir.Close()
	p.dir = nil
}

// end kills whatever is in the group and removes it.
func (p *partGroup) end() error {
	if p.dir != nil {
		p.inhabited()
	}
	return endGroup(p.path)
}

func endGroup(dir string) error {
	// from Linux 5.14
	if err := writeGroup(dir, "cgroup.kill", "1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Remove(dir); !errors.Is(err, unix.EBUSY) {
		return err
	}
	events, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		return err
	}
	defer func() { _ = events.Close() }()
	for until := time.Now().Add(groupEnds); ; {
		err := os.Remove(dir)
		left := time.Until(until)
		if err == nil || !errors.Is(err, unix.EBUSY) || left <= 0 {
			return err
		}
		// The kernel tells by POLLPRI that the file has changed since it was read.
		var text [256]byte
		if _, err := events.ReadAt(text[:], 0); err != nil &&
			!strings.Contains(string(text[:]), "populated") {
			return err
		}
		if !strings.Contains(string(text[:]), "populated 1") {
			left = min(left, 10*time.Millisecond) // empty, and not yet let go
		}
		//nolint:gosec // a descriptor
		poll := []unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}
		_, _ = unix.Poll(poll, int(left.Milliseconds())+1)
	}
}

// writeGroup writes to a file of a group that the kernel made.
func writeGroup(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

package distrib

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"perspective/internal/prefix"
)

// Mode is by what the kernel holds parts apart.
type Mode int

const (
	// NotSeparated means that parts run as one user in one view of the system. Landlock and seccomp
	// are still used where the kernel has them (Description.Held says so), but no claim rests on
	// them.
	NotSeparated Mode = iota
	// ByUser means that each part has a user of its own; the monitor is root.
	ByUser
	// ByNamespace means that each part has its own user, mount, process, network and IPC namespace
	// and sees only what it may. All have one user of the host: a user namespace alone would
	// separate neither files nor signals.
	ByNamespace
)

// Separation is what Probe found out. The zero value is NotSeparated without a reason.
type Separation struct {
	// Mode is by what parts are held apart.
	Mode Mode
	// Reason says why it is no better, where it could be.
	Reason string

	flags   uintptr // clone flags that work, CLONE_NEWUSER not among them
	mounts  bool    // a root directory of one's own works
	probed  bool    // what follows was found out
	filters bool    // seccomp
	files   bool    // Landlock
}

// Missing returns, in words, what a sandbox is made of and this kernel does not give this user.
// Nothing means that parts are held as well as this package can, for an ordinary user as one
// account of the host. It is for programs that would rather not start than be held by less; of a
// Separation that is not from Probe it says nothing about Landlock and seccomp.
func (s Separation) Missing() []string {
	var missing []string
	switch {
	case s.Mode == NotSeparated:
		missing = append(missing, "users or namespaces of their own")
	case s.flags&allFlags() != allFlags():
		missing = append(missing, "namespaces of their own")
	}
	if s.Mode != NotSeparated && !s.mounts {
		missing = append(missing, "a root directory of their own")
	}
	if s.probed && !s.files {
		missing = append(missing, "Landlock")
	}
	if s.probed && !s.filters {
		missing = append(missing, "seccomp")
	}
	return missing
}

// String says what holds parts apart, in words for people.
func (s Separation) String() string {
	var text string
	switch s.Mode {
	case ByUser:
		text = "a user for each part"
		if s.flags != 0 {
			text += ", in namespaces of its own"
		}
	case ByNamespace:
		text = "user, mount, process, network and IPC namespaces for each part, one user of the " +
			"host"
	default:
		text = "NOT SEPARATED BY THE KERNEL"
	}
	if s.Reason != "" {
		text += " (" + s.Reason + ")"
	}
	return text
}

// plan is all the sandbox needs to know, sent to it over the control socket as JSON before anything
// else.
type plan struct {
	Name       string
	Program    string // a path for messages and scripts; "" is this program
	Args       []string
	Dir        string
	Env        []string
	Rights     Rights
	Unconfined bool
	Init       bool // an init starts the part
	SetIDs     bool // become UID and GID, which needs root
	UID, GID   uint32
	Sharers    int    // parts that run as UID: the kernel counts their processes together
	Mounts     bool   // build a root directory; the process is alone in a mount namespace
	DropCaps   bool   // the process holds capabilities in a user namespace
	Child      string // value of PB_CHILD for the program, empty but for the probe
}

func (p *plan) encode() ([]byte, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, prefix.Errorf("distrib: part %s: %w", p.Name, err)
	}
	if len(b) > maxPlan {
		return nil, fmt.Errorf("distrib: part %s: arguments, environment and rights take %d "+
			"bytes, at most %d", p.Name, len(b), maxPlan)
	}
	return b, nil
}

// report is what the sandbox says is in force just before it becomes the program.
type report struct {
	landlock  int // ABI, 0 where there is none
	seccomp   bool
	mounts    bool
	processes bool // the limits that some systems cannot set
	memory    bool
}

// encode puts a report into two printable bytes, as messages are text.
func (r report) encode() string {
	bits := byte('0')
	if r.seccomp {
		bits |= 1
	}
	if r.mounts {
		bits |= 2
	}
	if r.processes {
		bits |= 4
	}
	if r.memory {
		bits |= 8
	}
	return string([]byte{byte('0' + max(0, min(r.landlock, 40))), bits})
}

func decodeReport(text string) (report, error) {
	if len(text) != 2 || text[0] < '0' || text[0] > '0'+40 || text[1] < '0' || text[1] > '0'+15 {
		return report{}, fmt.Errorf("%w: report %q", errControl, text)
	}
	bits := text[1] - '0'
	return report{
		landlock:  int(text[0] - '0'),
		seccomp:   bits&1 != 0,
		mounts:    bits&2 != 0,
		processes: bits&4 != 0,
		memory:    bits&8 != 0,
	}, nil
}

// words adds to the report what the monitor itself put in force.
func (r report) words(sep Separation, namespaces []string, rights Rights, group grouped) []string {
	var held []string
	if sep.Mode == ByUser {
		held = append(held, "own uid")
	}
	if len(namespaces) > 0 {
		held = append(held, "namespaces "+strings.Join(namespaces, " "))
	}
	if !slices.Contains(namespaces, "pid") {
		// Without an init the kernel's word to end it can be taken back from inside.
		held = append(held, "MAY OUTLIVE A KILLED MONITOR (no process namespace)")
	}
	if r.mounts {
		held = append(held, "own root")
	}
	if r.landlock > 0 {
		held = append(held, fmt.Sprintf("landlock %d", r.landlock))
	}
	if r.seccomp {
		held = append(held, "seccomp")
	}
	byGroup, byProcess := r.limitWords(rights, group)
	if group.there {
		held = append(held, strings.TrimSuffix("cgroup "+strings.Join(byGroup, " "), " "))
	}
	return append(held, "rlimits "+strings.Join(byProcess, " "))
}

// fewWords are those of a part without a sandbox.
func (r report) fewWords(sep Separation, rights Rights, group grouped) []string {
	var held []string
	if sep.Mode == ByUser {
		held = append(held, "own uid")
	}
	held = append(held, "NO SANDBOX", "MAY OUTLIVE A KILLED MONITOR (no process namespace)",
		"no_new_privs")
	if group.there {
		held = append(held, "cgroup")
	}
	return append(held, "rlimits "+limitWord(rights.Descriptors, defaultDescriptors, true,
		"descriptors"))
}

// grouped is what the control group of a part does.
type grouped struct{ there, processes, memory bool }

// limitWords says what a part is limited to: all of it together by its control group, and by
// rlimits, most of which hold for each of its processes.
func (r report) limitWords(rights Rights, group grouped) (byGroup, byProcess []string) {
	if group.processes {
		byGroup = append(byGroup, limitWord(rights.Processes, defaultProcesses, true, "processes"))
	} else {
		byProcess = append(byProcess,
			limitWord(rights.Processes, defaultProcesses, r.processes, "processes"))
	}
	if group.memory {
		byGroup = append(byGroup, limitWord(rights.Memory, defaultMemory, true, "memory"))
	} else {
		byProcess = append(byProcess,
			limitWord(rights.Memory, defaultMemory, r.memory, "memory of each"))
		if rights.UncountedMemory || !r.seccomp {
			byProcess = append(byProcess, "uncounted memory UNLIMITED")
		}
	}
	return byGroup, append(byProcess,
		limitWord(rights.Descriptors, defaultDescriptors, true, "descriptors"),
		limitWord(rights.FileSize, defaultFileSize, true, "file"))
}

func limitWord(value, zero uint64, set bool, unit string) string {
	if value == 0 {
		value = zero
	}
	if !set || value == Unlimited {
		return unit + " UNLIMITED"
	}
	return unit + " " + shortNumber(value)
}

// shortNumber writes whole multiples of 1024 with K, M, G.
func shortNumber(n uint64) string {
	unit := ""
	for _, next := range []string{"K", "M", "G"} {
		if n < 1<<10 || n%(1<<10) != 0 {
			break
		}
		n, unit = n>>10, next
	}
	return strconv.FormatUint(n, 10) + unit
}

package distrib

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"text/tabwriter"

	"perspective/internal/guard"
)

// State is where a part is in its life.
type State string

// The states of a part.
const (
	Waiting State = "waiting" // not running: dead and due to start again, or not asked for yet
	Started State = "started" // running, has not said that it is ready
	Ready   State = "ready"   // running and ready; a back end also has its link to the front
	// NoLink is a back end that is running and was ready, and has no link to the front that serves.
	NoLink State = "no link"
	Ending State = "ending" // asked to end
)

// Description is what one process of a split program is, at one moment.
type Description struct {
	// Name is the part's name; the monitor is called "monitor".
	Name string
	// Mount is what a back end is an instance of; empty for the monitor and the front.
	Mount string
	// State is where it is in its life.
	State State
	// PID is its process id as the monitor sees it; 0 while it does not run.
	PID int
	// UID and GID are the ids it runs as, seen from the host.
	UID, GID uint32
	// Runs is what the process runs: the program, where it is not the monitor's own, and its
	// arguments.
	Runs string
	// Listens are the addresses of the listeners it holds, as NAME=ADDRESS.
	Listens []string
	// May are its rights in words.
	May []string
	// Held names what holds it: "own uid", namespaces, "landlock", "seccomp", and last its limits
	// and by what they are set: "cgroup …" for those of its control group, which may be none, and
	// "rlimits …". Empty until it has reported.
	Held []string
	// Restarts counts how often it was started again.
	Restarts int
	// Relinks counts how often a back end's link to the front was made again though both processes
	// lived on.
	Relinks int

	onDemand bool
	beside   bool // the part restarts, and another of its lives is in the table
}

// WriteTable prints the descriptions as a table for people: PID, UID, name, state, what it runs,
// what it listens on, what it may do, what holds it to that.
func WriteTable(w io.Writer, table []Description) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if _, err := fmt.Fprintln(t,
		"PID\tUID\tPART\tSTATE\tRUNS\tLISTENS ON\tMAY\tHELD BY"); err != nil {
		return err
	}
	for _, d := range table {
		_, err := fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", d.PID, d.UID, d.Name,
			d.State, orDash(d.Runs),
			orDash(strings.Join(d.Listens, " ")), orDash(strings.Join(d.May, ", ")),
			orDash(strings.Join(d.Held, ", ")))
		if err != nil {
			return err
		}
	}
	return t.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func describeMonitor(sep Separation) Description {
	may := []string{"start and end parts", "bind ports"}
	if sep.Mode == ByUser {
		may = append(may, "everything (root)")
	}
	//nolint:gosec // ids are never negative where there are ids
	return Description{Name: "monitor", State: Ready, PID: os.Getpid(), UID: uint32(os.Getuid()),
		GID:  uint32(os.Getgid()),
		Runs: "starts the parts, parses nothing", May: may}
}

// describePart gives the part of a Description that does not change.
func describePart(p *Part, sep Separation) Description {
	d := Description{
		Name:     p.Name,
		UID:      p.UID,
		GID:      p.GID,
		Runs:     strings.TrimSpace(p.Program + " " + strings.Join(p.Args, " ")),
		May:      p.words(),
		onDemand: p.OnDemand,
	}
	if p.dials != "" {
		d.Runs = "dials for " + p.dials
	}
	if p.Socket != "" {
		d.Runs, d.May = "elsewhere, behind "+p.Socket, []string{"what its own service lets it"}
	}
	if sep.Mode != ByUser {
		d.UID, d.GID = uint32(os.Getuid()), uint32(os.Getgid()) //nolint:gosec // as above
	}
	for _, name := range sortedKeys(p.Listeners) {
		d.Listens = append(d.Listens, name+"="+addressOf(p.Listeners[name]))
	}
	return d
}

func addressOf(l net.Listener) string {
	addr := "?"
	_ = guard.Run(func() error { // a listener may be the program's own
		if l != nil && l.Addr() != nil {
			addr = l.Addr().String()
		}
		return nil
	})
	return addr
}

func (p *Part) words() []string {
	if p.dials != "" {
		return []string{"connect to " + strings.Join(p.Args, ", ")}
	}
	if p.Unconfined {
		return []string{"EVERYTHING THAT ITS USER MAY"}
	}
	return p.Rights.words()
}

func (r Rights) words() []string {
	var words []string
	for _, path := range r.Read {
		words = append(words, "read "+path)
	}
	for _, path := range r.Write {
		words = append(words, "write "+path)
	}
	if r.Net {
		words = append(words, "use the network")
	}
	if len(r.Dial) > 0 {
		words = append(words, "be connected to "+strings.Join(r.Dial, ", "))
	}
	if r.Exec {
		words = append(words, "start programs")
	}
	if r.UncountedMemory {
		words = append(words, "make uncounted memory")
	}
	if words == nil {
		words = []string{"answer over its link"}
	}
	return words
}

// allReady says whether all parts that start by themselves have said that they are ready. A part on
// demand is in the table, but its waiting does not count.
func allReady(table []Description) bool {
	for _, d := range table {
		said := d.State == Ready || d.State == NoLink || d.beside
		if !said && (d.State != Waiting || !d.onDemand) {
			return false
		}
	}
	return len(table) > 0
}

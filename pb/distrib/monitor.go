package distrib

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"time"

	"perspective/internal/lines"
)

var (
	// ErrNotManaged comes from Inherited in a process that no monitor started.
	ErrNotManaged = errors.New("distrib: this process was not started by a monitor")
	// ErrNoRunChild comes from Run and Probe when main did not call RunChild: a part would then
	// start main all over again.
	ErrNoRunChild = errors.New(
		"distrib: call distrib.RunChild first thing in main, a part is this program started again")
	// ErrUnsupported comes where the system has no way to hold processes apart that this package
	// knows.
	ErrUnsupported = errors.New("distrib: a monitor needs Linux; mount the handlers in one " +
		"process, or join back ends by URL")
	// ErrStopped comes from WaitReady once the monitor has ended.
	ErrStopped = errors.New("distrib: the monitor has stopped")
)

const (
	maxParts     = 256
	maxName      = 64
	maxHandovers = 64
)

// Monitor starts the front and the back ends of a split program as processes of their own, makes
// the links between them, starts again what dies, and ends them all. It reads nothing from any
// network.
//
// For each back end it makes one socket pair; one end goes to the front under the back end's name,
// the other to the back end. So the peer's identity is the descriptor it sits on, and nobody can
// claim another's. When either side dies, the monitor makes a new pair and hands over both ends. It
// does so, within a second, too when the link ends for any reason while both sides live. Until the
// new link serves, the back end's state is NoLink.
//
// Where the monitor may divide its own control group (cgroup version 2; under systemd:
// Delegate=yes), each run of a part gets one, which bounds its processes and memory together and
// kills what it leaves behind. The monitor then moves itself to a group below its own if that hands
// controllers down. Where it may not, rlimits bound each process; Description.Held tells which.
//
// The zero Monitor has no parts and Run refuses it. Set the fields, then call Run once; WaitReady
// and Describe may be called at any time from any goroutine. It ends when Run's ctx ends. Every
// part dies when the monitor dies, however it dies.
type Monitor struct {
	// Front is the part that gets one end of every link. A Front without a Name is called "front".
	Front Part
	// Backs are the back ends; their names are the names of the links.
	Backs []Part
	// Separation says what the kernel can do to hold parts apart; nil makes Run ask Probe.
	Separation *Separation
	// Backoff rules the waiting before a dead part is started again; the zero value has defaults.
	Backoff Backoff
	// Grace is how long the front, and after it the back ends, may take to end after SIGTERM before
	// SIGKILL. Zero means 5 s. A part that has not said Ready is killed at once.
	Grace time.Duration
	// ReadyTimeout is how long the second process of a Restart may take to serve. Zero means 30 s.
	ReadyTimeout time.Duration
	// Output gets what parts without a Stdout or Stderr of their own print, a line at a time, each
	// behind the name of its part and with control bytes escaped. A line that is a JSON object
	// stays one: it gets the fields "part" and "pid" at its end, and fields of its own that are
	// called so get "own_" before their names. Nil means os.Stderr. It is never written to from two
	// goroutines at once.
	Output io.Writer
	// Logger gets the comings and goings of parts. Nil means slog.Default.
	Logger *slog.Logger

	log   lines.Log
	state monitorState
}

// monitorState is what Run shares with Describe and WaitReady.
type monitorState struct {
	sync.Mutex
	started bool
	ended   error
	table   []Description
	changed chan struct{} // closed and replaced at every change
	loop    *loop         // once it runs
}

// Part is one process of a split program: this same program, or another, started with its own
// arguments and only the rights named here. The zero Part but for a Name runs with no argument, no
// file, no network, and no descriptor but its control socket and links.
type Part struct {
	// Name is the part's identity, and for a back end the name of its link and of the instance that
	// it is: 1 to 64 bytes out of letters, digits, and "._~-". No two parts share one.
	Name string
	// Mount is the mount of the front's that a back end is an instance of, as in Route.Back; parts
	// with one Mount share its requests, and may share one UID: where they name none, they do.
	// Empty: the Name, for a mount with one instance.
	Mount string
	// Program is the file to run, as a clean absolute path; "" means this program. Each run opens
	// it anew, so a part that starts again runs the file that is there by then. The part's user
	// must have the right to execute it, and needs none to the folders above. A file that begins
	// with "#!" is run by the interpreter it names, and both are shown to the part at their paths.
	// A dynamically linked program gets its loader and the folders of the system's libraries, see
	// Rights.Exec for others.
	//
	// A program that is no part of this package's making never says Ready (Handover.Ready), so it
	// stays in the state Started. Closing all descriptors over 2, as a daemon does, ends it.
	Program string
	// Socket is the path of a unix socket that a back end of somebody else's listens at
	// (Mount.Accept): the monitor starts no process, but connects there and hands the connection to
	// the front as the part's link, again and again. UID is the owner that the socket must have,
	// zero: the monitor's user; see DialSocket. Of the other fields only Name and Mount count.
	Socket string
	// Args are the arguments after the program's name, as main will see them in os.Args[1:].
	Args []string
	// Dir is the folder that it starts in, as a clean absolute path that its user may enter, and
	// that lies in what Rights show it. "" means "/".
	Dir string
	// Env is the environment ("KEY=value"). Nil means that of DefaultEnv.
	Env []string
	// UID and GID are the user and the group to run as where users separate (ByUser); zero means
	// one that Run picks and reserves while it runs, so that no other monitor does. A GID of zero
	// beside a UID means the number of the UID. A UID in FreeIDs' range that another monitor has is
	// ErrIDTaken; what still runs as one of them when its part has ended is killed.
	UID, GID uint32
	// Rights are what the part may do.
	Rights Rights
	// Unconfined leaves out the sandbox: no namespaces, no view of its own, no Landlock, no
	// seccomp, no limits but Rights.Descriptors. What is left is the user, where users separate,
	// without groups, capabilities and a way to gain any (no_new_privs). Of Rights the others say
	// nothing then. It is for programs that run in no sandbox; Description says it loudly.
	Unconfined bool
	// Listeners are open sockets that the part gets by name (Handover.Listener). They stay open in
	// the monitor, which never accepts from them; close them after Run has returned.
	Listeners map[string]net.Listener
	// Files are open files that the part gets by name (Handover.File); as with Listeners the caller
	// closes them.
	Files map[string]*os.File
	// OnDemand holds the part back until the front asks for it (Handover.Start). False starts it
	// with the others.
	OnDemand bool
	dials    string // the part that a dialer dials for
	freeID   bool   // Run picked the UID
	sharers  int    // parts that have the UID, this one among them
	child    string // PB_CHILD of a dialer

	// Stdout and Stderr get what the part prints. An *os.File is handed to the part itself; any
	// other writer gets whole lines with control bytes escaped, on a goroutine of its own. Nil
	// means Monitor.Output.
	Stdout, Stderr io.Writer
	// OutputLine is how many bytes of a line of Stdout or Stderr the monitor holds; a longer one is
	// broken. Zero means 16 KiB, in which an access line with its target finds room. It does not
	// concern an *os.File.
	OutputLine int
	// OutputRate is how many bytes a second each of Stdout and Stderr may print, after 16 seconds'
	// worth at once. What is more is left out and counted, and a line says how much, once a second;
	// meanwhile the part is read slowly. Zero means 64 KiB. It does not concern an *os.File.
	OutputRate int
}

// Rights are what a part may do beyond computing and using the descriptors it was handed. The zero
// value is nothing. A value may be shared; Run only reads it.
type Rights struct {
	// Read are the files and folders (with all below) that it may read, as absolute paths.
	Read []string
	// Write are the files and folders that it may read and change, as absolute paths. Owners and
	// modes still count. What is not there Run makes: a folder of the part's user alone. Where the
	// part's UID is left out, its folders remember which it was, and it gets the same again if
	// that is free, or they change hands; an empty folder of root's becomes the part's too.
	Write []string
	// Net leaves it in the host's network, free to dial and to bind. False gives it no network but
	// inherited listeners.
	Net bool
	// Dial are the addresses ("host:port", the port a number) that it may reach by Dial, and by no
	// other way: it is in no network, and its dialer, a process with a user of its own, connects
	// and hands it the connection. A name is compared as it is written, and looked up by the
	// dialer with the host's /etc/resolv.conf and /etc/hosts as they were when that started.
	Dial []string
	// Exec lets it start programs out of what it may read. False ends at the call of
	// Handover.Confine; until then only the program itself can be started.
	Exec bool
	// Descriptors limits the open files of each of its processes; zero means 16384, or the
	// monitor's own limit where that is lower. Unlimited leaves the monitor's limit; so it does for
	// the fields below.
	Descriptors uint64
	// Processes limits its processes and threads, its init's handful among them; zero means 512. A
	// control group counts them where the monitor may make one. As an rlimit the kernel counts them
	// by user, so where a part has neither a user nor a user namespace of its own zero sets none,
	// and it never counts those of root.
	Processes uint64
	// Memory limits what each of its processes may write to of its own, in bytes, and its address
	// space to 4 GiB more, as a Go program reserves far more than it uses. Zero means 2 GiB, and no
	// limit where the program takes more before it has begun, as with the race detector. A control
	// group limits what all its processes together use, the files that the kernel keeps in memory
	// for them among it, to the same number. Where none does, what the kernel holds for sockets and
	// pipes comes on top, and what Write leads to may be memory (tmpfs).
	Memory uint64
	// UncountedMemory lets it make memory that Memory does not count where no control group does:
	// memfd_create, System V memory, messages and semaphores, and vmsplice. Some compilers at run
	// time need the first. False refuses them, with EPERM.
	UncountedMemory bool
	// FileSize limits each file it writes, also those in memory, in bytes; the kernel ends it by
	// SIGXFSZ for more. Zero means 1 GiB.
	FileSize uint64
}

// Unlimited in a limit of Rights sets none: that of the monitor holds.
const Unlimited = math.MaxUint64

// The limits for zero. They are far over what a server needs, and bound what one can take from the
// machine.
const (
	defaultDescriptors = 16 << 10
	defaultProcesses   = 512
	defaultMemory      = 2 << 30
	defaultFileSize    = 1 << 30
	memoryReserved     = 4 << 30 // what a Go program reserves and does not use, and libraries
)

// Run starts the parts and keeps them running until ctx ends; then it asks the front, and after it
// the back ends, to end, kills what does not, waits for all of them and returns nil. It returns an
// error at once where the parts are not well formed, and after ending everything where a part could
// not be set up the first time, or no front was ever ready (Handover.Fail). A part that ends by
// itself, also with exit code 0, is started again after a wait (Backoff).
func (m *Monitor) Run(ctx context.Context) error {
	parts, err := m.begin()
	if err != nil {
		return err
	}
	err = m.serve(ctx, parts)
	m.state.Lock()
	defer m.state.Unlock()
	m.state.ended = ErrStopped
	if err != nil {
		m.state.ended = err
	}
	m.state.announce()
	return err
}

func (m *Monitor) serve(ctx context.Context, parts []*Part) error {
	var sep Separation
	if m.Separation != nil {
		sep = *m.Separation
	} else {
		sep = Probe(ctx)
	}
	release, err := assignIDs(sep, parts)
	if err != nil {
		return err
	}
	defer release()
	if err := makeFolders(sep, parts); err != nil {
		return err
	}
	launcher, err := newLauncher(sep, m.output(), m.logger())
	if err != nil {
		return err
	}
	loop := newLoop(launcher, sep, parts, m.Backoff, m.grace(), m.logger(), m.publish)
	if m.ReadyTimeout > 0 {
		loop.readyWithin = m.ReadyTimeout
	}
	m.state.Lock()
	m.state.loop = loop
	m.state.Unlock()
	err = loop.run(ctx)
	launcher.close()
	return err
}

// begin checks the fields and returns copies of the parts, the front first.
func (m *Monitor) begin() ([]*Part, error) {
	m.state.Lock()
	defer m.state.Unlock()
	if m.state.started {
		return nil, errors.New("distrib: Monitor.Run was called twice, make a new Monitor")
	}
	if !ranChild.Load() {
		return nil, ErrNoRunChild
	}
	if len(m.Backs)+1 > maxParts {
		return nil, fmt.Errorf("distrib: %d parts, at most %d", len(m.Backs)+1, maxParts)
	}
	front := m.Front
	if front.Name == "" {
		front.Name = "front"
	}
	front.OnDemand = false
	parts := []*Part{&front}
	if front.Socket != "" {
		return nil, errors.New("distrib: the front is a process, it has no Socket")
	}
	for _, back := range m.Backs {
		parts = append(parts, &back)
	}
	seen := map[string]bool{}
	for _, p := range parts {
		if err := p.check(); err != nil {
			return nil, err
		}
		if seen[p.Name] {
			return nil, fmt.Errorf("distrib: two parts are called %q", p.Name)
		}
		seen[p.Name] = true
	}
	for _, p := range parts {
		d := dialerOf(p)
		if d != nil && seen[d.Name] {
			return nil, fmt.Errorf("distrib: a part has the name of a dialer, %q", d.Name)
		}
		if d != nil {
			parts = append(parts, d)
		}
	}
	if len(m.Backs) == 0 {
		return nil, errors.New("distrib: a monitor without back ends, set Backs")
	}
	if len(parts) > maxParts {
		return nil, fmt.Errorf("distrib: %d parts and their dialers, at most %d", len(parts),
			maxParts)
	}
	m.state.started = true
	return parts, nil
}

func (p *Part) check() error {
	if !validName(p.Name) {
		return fmt.Errorf("distrib: %q is no name for a part, use up to %d letters, digits and "+
			"._~-", p.Name, maxName)
	}
	if p.Mount != "" && !validName(p.Mount) {
		return fmt.Errorf("distrib: part %s: %q is no name for a mount", p.Name, p.Mount)
	}
	if len(p.Listeners)+len(p.Files) > maxHandovers {
		return fmt.Errorf("distrib: part %s is handed more than %d descriptors",
			p.Name, maxHandovers)
	}
	for name := range p.Listeners {
		if !validName(name) {
			return fmt.Errorf("distrib: part %s: %q is no name for a listener", p.Name, name)
		}
	}
	for name := range p.Files {
		if !validName(name) {
			return fmt.Errorf("distrib: part %s: %q is no name for a file", p.Name, name)
		}
	}
	if err := p.Rights.checkDial(); err != nil {
		return fmt.Errorf("distrib: part %s: %w", p.Name, err)
	}
	if p.Socket != "" && (p.Program != "" || p.OnDemand || len(p.Rights.Dial) > 0) {
		return fmt.Errorf("distrib: part %s has a Socket, so the monitor starts nothing for it",
			p.Name)
	}
	paths := append(append([]string(nil), p.Rights.Read...), p.Rights.Write...)
	if p.Socket != "" {
		paths = append(paths, p.Socket)
	}
	if p.Program != "" {
		paths = append(paths, p.Program)
	}
	if p.Dir != "" && p.Dir != "/" {
		paths = append(paths, p.Dir)
	}
	for _, path := range paths {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
			return fmt.Errorf("distrib: part %s: %q must be a clean absolute path below /",
				p.Name, path)
		}
	}
	return nil
}

// DefaultEnv returns the environment of a part without an Env: of the monitor's the few variables
// that steer the Go runtime, and the time zone.
func DefaultEnv() []string {
	few := []string{}
	for _, key := range []string{"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK",
		"GORACE", "TZ"} {
		if value, ok := os.LookupEnv(key); ok {
			few = append(few, key+"="+value)
		}
	}
	return few
}

// mount is what a back end is an instance of.
func (p *Part) mount() string { return cmp.Or(p.Mount, p.Name) }

// validName is deliberately narrow: names stand in messages, logs and tables.
func validName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '~', c == '-':
		default:
			return false
		}
	}
	return true
}

// WaitReady waits until every part that starts by itself has said that it is ready. It returns
// ctx's error when ctx ends first, and why the monitor ended (ErrStopped after an orderly end) when
// that comes first.
func (m *Monitor) WaitReady(ctx context.Context) error {
	for {
		m.state.Lock()
		changed, ended, ready := m.state.watch(), m.state.ended, allReady(m.state.table)
		m.state.Unlock()
		if ended != nil {
			return ended
		}
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Describe returns what each part is and may do now: the monitor itself first, then the front, then
// the back ends. Before Run it is empty.
func (m *Monitor) Describe() []Description {
	m.state.Lock()
	defer m.state.Unlock()
	return append([]Description(nil), m.state.table...)
}

func (m *Monitor) publish(table []Description) {
	m.state.Lock()
	defer m.state.Unlock()
	m.state.table = table
	m.state.announce()
}

// watch returns the channel of the next change; the caller holds the lock.
func (s *monitorState) watch() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// announce wakes the goroutines that wait for a change. The caller holds the lock.
func (s *monitorState) announce() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

func (m *Monitor) grace() time.Duration {
	if m.Grace <= 0 {
		return 5 * time.Second
	}
	return m.Grace
}

func (m *Monitor) output() io.Writer {
	if m.Output == nil {
		return os.Stderr
	}
	return m.Output
}

func (m *Monitor) logger() *slog.Logger { return m.log.Logger(m.Logger) }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

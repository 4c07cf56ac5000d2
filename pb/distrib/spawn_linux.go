package distrib

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"perspective/internal/prefix"
)

// spawner is the launcher of Linux. All its clones happen on one OS thread that lives as long as it
// does: the parent death signal is tied to the thread that made the child, and the runtime ends
// threads as it likes.
type spawner struct {
	sep     Separation
	log     *slog.Logger
	output  *lineWriter
	program *os.File // this program, as an O_PATH descriptor or a sealed copy
	null    *os.File

	groups   *partGroups // nil where there are none
	grouping sync.Once   // looks for them
	ungroup  bool        // they did not work; those that were made remain till their parts end

	mu    sync.Mutex
	users map[uint32]int // how many lives of parts run as each user

	requests chan func()
	thread   sync.WaitGroup
	lives    sync.WaitGroup
}

func newLauncher(sep Separation, output io.Writer, log *slog.Logger) (launcher, error) {
	program, err := openProgram()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, program.Close())
	}
	s := &spawner{
		sep:      sep,
		log:      log,
		output:   &lineWriter{log: log, w: output},
		program:  program,
		null:     null,
		requests: make(chan func()),
	}
	s.thread.Go(func() { // ends when requests is closed
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for request := range s.requests {
			request()
		}
	})
	return s, nil
}

func (s *spawner) close() {
	s.lives.Wait()
	close(s.requests)
	s.thread.Wait()
	if s.groups != nil {
		s.groups.close()
	}
	_ = s.program.Close()
	_ = s.null.Close()
}

func (s *spawner) pair() (front, back linkEnd, err error) {
	if front.conn, back.conn, err = linkPair(); err != nil {
		return front, back, err
	}
	if front.files, back.files, err = filePair(); err != nil {
		return front, back, errors.Join(err, front.Close(), back.Close())
	}
	return front, back, nil
}

func (s *spawner) socket(p *Part, tell func(event)) {
	s.lives.Go(func() { // ends when the kernel has answered
		conn, err := dialSocket(p.Socket, p.socketOwner())
		tell(event{conn: conn, err: err})
	})
}

func (s *spawner) dialPair() (part, dialer *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX,
		unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("distrib: no socket for a dialer: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "dialer"), os.NewFile(uintptr(fds[1]), "dialer"), nil
}

// openProgram opens what /proc/self/exe is, so that it can be executed where no path leads to it. A
// file that others may not execute is copied into memory and sealed.
func openProgram() (*os.File, error) {
	fd, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("distrib: the program itself: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && st.Mode&0o001 != 0 || os.Getuid() != 0 {
		return os.NewFile(uintptr(fd), "program"), nil
	}
	_ = unix.Close(fd)
	return copyProgram()
}

func copyProgram() (*os.File, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("program", flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // kernels before 6.3 know no MFD_EXEC
		fd, err = unix.MemfdCreate("program", flags)
	}
	if err != nil {
		return nil, fmt.Errorf("distrib: a copy of the program: %w", err)
	}
	sealed := os.NewFile(uintptr(fd), "program")
	source, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("distrib: the program itself: %w", err), sealed.Close())
	}
	defer func() { _ = source.Close() }()
	if _, err := io.Copy(sealed, source); err != nil {
		return nil, errors.Join(fmt.Errorf("distrib: a copy of the program: %w", err),
			sealed.Close())
	}
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(sealed.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, errors.Join(fmt.Errorf("distrib: seal the copy of the program: %w", err),
			sealed.Close())
	}
	return sealed, nil
}

func (s *spawner) launch(p *Part, tell func(event)) (running, error) {
	l, err := s.launchAs(p, p.child, tell)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// groupFor makes a control group for a run of a part; nil where there are none.
func (s *spawner) groupFor(p *Part) *partGroup {
	s.grouping.Do(func() {
		var err error
		if s.groups, err = openGroups(); err != nil {
			s.noGroups(err)
		} else if s.groups.lacks != nil {
			s.log.Info("control groups bound not everything of parts, rlimits do the rest",
				"why", s.groups.lacks)
		}
	})
	if s.ungroup {
		return nil
	}
	rights := p.Rights
	if p.Unconfined {
		rights.Processes, rights.Memory = Unlimited, Unlimited
	}
	group, err := s.groups.group(rights)
	if err != nil {
		s.noGroups(err)
	}
	return group
}

// noGroups goes on without control groups.
func (s *spawner) noGroups(why error) {
	s.ungroup = true
	s.log.Info("no control groups for parts from now on, only rlimits bound them", "why", why)
}

// launchAs starts a part; child is what RunChild is to do inside, for the probe.
func (s *spawner) launchAs(p *Part, child string, tell func(event)) (*life, error) {
	plan := plan{Name: p.Name,
		Program:    p.Program,
		Args:       p.Args,
		Dir:        p.Dir,
		Env:        p.Env,
		Rights:     p.Rights,
		Unconfined: p.Unconfined,
		Child:      child,
		SetIDs:     s.sep.Mode == ByUser,
		UID:        p.UID,
		GID:        p.GID,
		Sharers:    p.sharers,
		DropCaps:   s.sep.Mode == ByNamespace && !p.Unconfined,
		Mounts:     s.sep.mounts && !p.Unconfined,
		Init:       s.hasInit(p)}
	if plan.Env == nil {
		plan.Env = DefaultEnv()
	}
	text, err := plan.encode()
	if err != nil {
		return nil, err
	}
	ctl, theirs, err := controlPair()
	if err != nil {
		return nil, err
	}
	l := &life{spawner: s, part: p, ctl: ctl, tell: tell, hasInit: s.hasInit(p),
		namespaces: namespaceNames(s.flags(p))}
	defer l.closeTheirs()
	l.theirs = []*os.File{theirs}
	if err := l.handOver(text); err != nil {
		return nil, l.abandon(err)
	}
	stdout, err := l.outputFor(p.Stdout)
	if err != nil {
		return nil, l.abandon(err)
	}
	stderr, err := l.outputFor(p.Stderr)
	if err != nil {
		return nil, l.abandon(err)
	}
	inside := childConfine
	if l.hasInit {
		inside = childInit
	}
	attr := &os.ProcAttr{
		Dir:   "/",
		Env:   append(DefaultEnv(), envChild+"="+inside),
		Files: []*os.File{s.null, stdout, stderr, theirs, s.program},
		Sys:   s.attributes(p),
	}
	if child != childProbe {
		l.group = s.groupFor(p)
	}
	if err := l.start(attr); err != nil {
		return nil, l.abandon(prefix.Errorf("distrib: part %s: %w", p.Name, err))
	}
	l.begin()
	return l, nil
}

// startProcess clones a process on the thread that all are made on.
func (s *spawner) startProcess(l *life, attr *os.ProcAttr) (err error) {
	done := make(chan struct{})
	s.requests <- func() {
		defer close(done)
		l.process, err = os.StartProcess("/proc/self/exe", []string{l.part.Name}, attr)
	}
	<-done
	return err
}

// hasInit says whether a part is in a process namespace, whose first process is an init.
func (s *spawner) hasInit(p *Part) bool { return s.flags(p)&unix.CLONE_NEWPID != 0 }

// flags returns the namespaces for a part.
func (s *spawner) flags(p *Part) uintptr {
	if p.Unconfined {
		return 0
	}
	flags := s.sep.flags
	if p.Rights.Net {
		flags &^= unix.CLONE_NEWNET
	}
	if s.sep.Mode == ByNamespace {
		flags |= unix.CLONE_NEWUSER
	}
	return flags
}

func (s *spawner) attributes(p *Part) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Setsid:     true, // no terminal to type into, and Ctrl-C reaches the monitor alone
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: s.flags(p),
	}
	if s.sep.Mode == ByNamespace && !p.Unconfined {
		attr.UidMappings = []syscall.SysProcIDMap{
			{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1},
		}
		attr.GidMappings = []syscall.SysProcIDMap{
			{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1},
		}
		// Ambient, or execve would lose them: the user is not root inside either.
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP}
	}
	return attr
}

func allFlags() uintptr {
	return unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUTS
}

func namespaceNames(flags uintptr) []string {
	var names []string
	for _, n := range []struct {
		flag uintptr
		name string
	}{
		{unix.CLONE_NEWUSER, "user"},
		{unix.CLONE_NEWNS, "mount"},
		{unix.CLONE_NEWPID, "pid"},
		{unix.CLONE_NEWNET, "net"},
		{unix.CLONE_NEWIPC, "ipc"},
		{unix.CLONE_NEWUTS, "uts"},
	} {
		if flags&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// runsAs counts the lives that run as a user.
func (s *spawner) runsAs(id uint32, more int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == nil {
		s.users = map[uint32]int{}
	}
	s.users[id] += more
	return s.users[id]
}

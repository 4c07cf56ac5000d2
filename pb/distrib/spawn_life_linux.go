package distrib

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"perspective/internal/prefix"
)

// life is one run of a part's process.
type life struct {
	spawner    *spawner
	part       *Part
	ctl        *control
	rules      rules // of listen
	tell       func(event)
	hasInit    bool
	process    *os.Process  // init's, where there is one
	born       atomic.Int64 // the part's process; 0 until it is known
	pidfd      atomic.Int64 // of the part's process; 0 where it is the child itself
	namespaces []string
	group      *partGroup // nil: none
	theirs     []*os.File // what the child has copies of
	pipes      []*os.File // what the child prints
	readers    sync.WaitGroup
	copying    sync.WaitGroup
}

// handOver puts the plan and everything the part was promised into its control socket, before it
// exists.
func (l *life) handOver(plan []byte) error {
	if err := l.ctl.sendRaw(plan, nil); err != nil {
		return prefix.Errorf("distrib: part %s: plan: %w", l.part.Name, err)
	}
	give := func(kind messageKind, name string, holder any) error {
		err := withDescriptor(holder,
			func(fd int) error { return l.ctl.send(message{kind, name}, fd) })
		if err != nil {
			return prefix.Errorf("distrib: part %s: hand over %s: %w", l.part.Name, name, err)
		}
		return nil
	}
	for _, name := range sortedKeys(l.part.Listeners) {
		if err := give(msgListener, name, l.part.Listeners[name]); err != nil {
			return err
		}
	}
	for _, name := range sortedKeys(l.part.Files) {
		if err := give(msgFile, name, l.part.Files[name]); err != nil {
			return err
		}
	}
	return l.ctl.send(message{msgBegin, ""}, -1)
}

// outputFor returns the file that the part prints to.
func (l *life) outputFor(w io.Writer) (*os.File, error) {
	if f, ok := w.(*os.File); ok && f != nil {
		return f, nil
	}
	lines, named := l.spawner.output, w == nil
	if w != nil {
		lines = &lineWriter{log: l.spawner.log, w: w}
	}
	r, wr, err := os.Pipe()
	if err != nil {
		return nil, prefix.Errorf("distrib: part %s: %w", l.part.Name, err)
	}
	l.theirs = append(l.theirs, wr)
	l.pipes = append(l.pipes, r)
	printer := newPrinter(l.part, l.pid)
	// ends when all writers are gone, or with finish's deadline
	l.copying.Go(func() { printer.copyLines(lines, r, named) })
	return wr, nil
}

func (l *life) closeTheirs() {
	for _, f := range l.theirs {
		_ = f.Close()
	}
	l.theirs = nil
}

// abandon undoes a launch that failed.
func (l *life) abandon(err error) error {
	l.closeTheirs()
	l.ctl.close()
	l.copying.Wait()
	for _, r := range l.pipes {
		_ = r.Close()
	}
	return err
}

// start starts the process, in its control group if it has one, or else without.
func (l *life) start(attr *os.ProcAttr) error {
	if l.group != nil {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(l.group.dir.Fd())
		err := l.spawner.startProcess(l, attr)
		if err == nil {
			l.group.inhabited()
			return nil
		}
		l.endGroup()
		l.group = nil
		l.spawner.noGroups(err)
		attr.Sys.UseCgroupFD = false
	}
	return l.spawner.startProcess(l, attr)
}

// grouped says what the part's control group bounds.
func (l *life) grouped() grouped {
	if l.group == nil {
		return grouped{}
	}
	return grouped{true, slices.Contains(l.group.bounds, controlProcesses),
		slices.Contains(l.group.bounds, controlMemory)}
}

// endGroup kills what is left in the part's control group.
func (l *life) endGroup() {
	if l.group == nil {
		return
	}
	if err := l.group.end(); err != nil {
		l.spawner.log.Warn("the control group of a part stays, the next monitor removes it", "part",
			l.part.Name, "err", err)
	}
}

func (l *life) begin() {
	if !l.hasInit {
		l.born.Store(int64(l.process.Pid))
	}
	l.spawner.lives.Add(1)
	l.spawner.runsAs(l.part.UID, 1)
	l.readers.Go(l.listen) // ends when the control socket does
	go func() {            // ends when the process has; close waits for it by lives
		defer l.spawner.lives.Done()
		l.finish()
	}()
}

// listen turns what the part says into events. The first break of the rules is the last thing
// heard.
func (l *life) listen() {
	r := &l.rules
	if r.mayBeBorn = l.hasInit; !r.mayBeBorn {
		l.tell(event{run: l, kind: eventStarted})
	}
	reset := false
	for {
		m, fd, err := l.ctl.receive(r.mayBeBorn)
		if errors.Is(err, syscall.ECONNRESET) && !reset {
			// It ended without reading all that was sent to it. That is told once and first, before
			// its last words.
			reset = true
			continue
		}
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) ||
			errors.Is(err, os.ErrDeadlineExceeded) {
			// A process that closed its control socket can't be told from a dying one. It is killed
			// in both cases: it alone, for its init, which takes the rest along, has yet to say how
			// it ended.
			_ = l.killPart()
			l.tell(event{run: l, kind: eventDying})
			return
		}
		var e event
		if err == nil {
			err = r.admit(m, time.Now())
		}
		if err == nil {
			e, err = l.eventOf(m, fd)
		} else if fd >= 0 {
			_ = unix.Close(fd)
		}
		if err != nil {
			l.tell(event{run: l, kind: eventFault, text: err.Error()})
			return
		}
		l.tell(e)
	}
}

// eventOf owns the descriptor, which only msgBorn carries.
func (l *life) eventOf(m message, fd int) (event, error) {
	e := event{run: l, text: m.text}
	switch m.kind {
	case msgBorn:
		l.pidfd.Store(int64(fd))
		pid, err := pidOf(fd)
		if err != nil {
			return e, err
		}
		l.born.Store(int64(pid))
		e.kind = eventStarted
	case msgReport:
		report, err := decodeReport(m.text)
		if err != nil {
			return e, err
		}
		e.kind, e.report, e.held = eventReport, report, l.held(report)
	case msgFailed:
		e.kind, e.text = eventFailed, printable(m.text)
	case msgReady:
		e.kind = eventReady
	case msgStart:
		e.kind = eventStart
	case msgStop:
		e.kind = eventStop
	case msgDialEnded:
		e.kind = eventDialEnded
	case msgTook:
		e.kind = eventTook
		name, why, _ := strings.Cut(m.text, ":")
		e.text, e.why = name, printable(why)
	case msgEnded:
		e.kind = eventLinkEnded
		e.text, e.number, _ = parseLink(m.text)
	case msgServes:
		e.kind = eventLinkServes
		e.text, e.number, _ = parseLink(m.text)
	default:
		return e, fmt.Errorf("%w: kind %d", errControl, m.kind)
	}
	return e, nil
}

func (l *life) held(r report) []string {
	if l.part.Unconfined {
		return r.fewWords(l.spawner.sep, l.part.Rights, l.grouped())
	}
	return r.words(l.spawner.sep, l.namespaces, l.part.Rights, l.grouped())
}

// finish waits for the process, then for everything of it, and tells.
func (l *life) finish() {
	// Not reaped yet, its number still names its session, so what it left behind can be killed
	// without risk.
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, l.process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = syscall.Kill(-l.process.Pid, syscall.SIGKILL)
	last := l.spawner.runsAs(l.part.UID, -1) == 0 // while a part restarts two lives have its user
	if last && l.spawner.sep.Mode == ByUser && !l.hasInit &&
		isFreeID(l.part.UID) {
		killUser(l.part.UID) // what left the session; a process namespace would have taken it along
	}
	how := "wait failed"
	if state, err := l.process.Wait(); err == nil {
		how = state.String()
		if l.hasInit {
			how = exitText(state)
		}
	}
	l.endGroup() // only now, the process that was waited for was in it
	for _, r := range l.pipes {
		// What it printed last is in the pipe; a writer that got away does not hold this up.
		_ = r.SetReadDeadline(time.Now().Add(time.Second))
	}
	l.copying.Wait()
	for _, r := range l.pipes {
		_ = r.Close()
	}
	// its last words, a reason perhaps, then the end
	_ = l.ctl.conn.SetReadDeadline(time.Now().Add(time.Second))
	l.readers.Wait()
	l.ctl.close()
	l.tell(event{run: l, kind: eventExited, text: how})
	// After the last event nobody signals it.
	if fd := l.pidfd.Load(); fd > 0 {
		_ = unix.Close(int(fd))
	}
}

func (l *life) pid() int { return int(l.born.Load()) }

// signal sends a signal to the part; SIGKILL goes to its init, so to all that is in the namespace.
func (l *life) signal(s os.Signal) error {
	number, ok := s.(syscall.Signal)
	fd := l.pidfd.Load()
	if !ok || number == syscall.SIGKILL || fd == 0 {
		return l.process.Signal(s)
	}
	return unix.PidfdSendSignal(int(fd), number, nil, 0)
}

// killPart kills the part's process, which is not its init. One that is ending already ends as it
// would have.
func (l *life) killPart() error {
	if fd := l.pidfd.Load(); fd > 0 {
		return unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0)
	}
	return l.process.Signal(os.Kill)
}

func (l *life) link(name, mount string, number uint64, end linkEnd) error {
	l.rules.words.Add(wordsPerLink)             // before the part can say one
	if end.files != nil && !l.part.Unconfined { // see files.go
		err := withDescriptor(end.files, func(fd int) error {
			return l.ctl.send(message{msgFiles, linkText(name, number)}, fd)
		})
		if err != nil {
			return err
		}
	}
	return withDescriptor(end.conn, func(fd int) error {
		return l.ctl.send(message{msgLink, handedText(name, mount, number)}, fd)
	})
}

func (l *life) file(name string, f *os.File) error {
	l.rules.files.Add(1) // before the part can answer
	return withDescriptor(f,
		func(fd int) error { return l.ctl.send(message{msgFile, name}, fd) })
}

func (l *life) dialer(end *os.File) error {
	return withDescriptor(end,
		func(fd int) error { return l.ctl.send(message{msgDialer, ""}, fd) })
}

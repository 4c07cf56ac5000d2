package distrib

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// life is one run of a part's process.
type life struct {
	spawner    *spawner
	part       *Part
	ctl        *control
	tell       func(event)
	process    *os.Process
	namespaces []string
	theirs     []*os.File // what the child has copies of
	pipes      []*os.File // what the child prints
	readers    sync.WaitGroup
	copying    sync.WaitGroup
}

// handOver puts the plan and everything the part was promised into its control socket, before it exists.
func (l *life) handOver(plan []byte) error {
	if err := l.ctl.sendRaw(plan, nil); err != nil {
		return fmt.Errorf("distrib: part %s: plan: %w", l.part.Name, err)
	}
	give := func(kind messageKind, name string, holder any) error {
		err := withDescriptor(holder, func(fd int) error { return l.ctl.send(message{kind, name}, fd) })
		if err != nil {
			return fmt.Errorf("distrib: part %s: hand over %s: %w", l.part.Name, name, err)
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
	lines, prefix := l.spawner.output, l.part.Name+": "
	if w != nil {
		lines, prefix = &lineWriter{w: w}, ""
	}
	r, wr, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("distrib: part %s: %w", l.part.Name, err)
	}
	l.theirs = append(l.theirs, wr)
	l.pipes = append(l.pipes, r)
	l.copying.Go(func() { lines.copyLines(r, prefix) }) // ends when all writers are gone, or with finish's deadline
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

func (l *life) begin() {
	l.spawner.lives.Add(1)
	l.readers.Go(l.listen) // ends when the control socket does
	go func() {            // ends when the process has; close waits for it by lives
		defer l.spawner.lives.Done()
		l.finish()
	}()
}

// listen turns what the part says into events. The first break of the rules is the last thing heard.
func (l *life) listen() {
	var r rules
	reset := false
	for {
		m, _, err := l.ctl.receive(false)
		if errors.Is(err, syscall.ECONNRESET) && !reset {
			// It ended without reading all that was sent to it. That is told once and first, before its last words.
			reset = true
			continue
		}
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, os.ErrDeadlineExceeded) {
			// A process that closed its control socket can't be told from a dying one. It is killed in both cases.
			_ = l.signal(os.Kill)
			return
		}
		var e event
		if err == nil {
			err = r.admit(m, time.Now())
		}
		if err == nil {
			e, err = l.eventOf(m)
		}
		if err != nil {
			l.tell(event{run: l, kind: eventFault, text: err.Error()})
			return
		}
		l.tell(e)
	}
}

func (l *life) eventOf(m message) (event, error) {
	e := event{run: l, text: m.text}
	switch m.kind {
	case msgReport:
		report, err := decodeReport(m.text)
		if err != nil {
			return e, err
		}
		e.kind, e.held = eventReport, report.words(l.spawner.sep, l.namespaces)
	case msgFailed:
		e.kind, e.text = eventFailed, printable(m.text)
	case msgReady:
		e.kind = eventReady
	case msgStart:
		e.kind = eventStart
	case msgStop:
		e.kind = eventStop
	default:
		return e, fmt.Errorf("%w: kind %d", errControl, m.kind)
	}
	return e, nil
}

// finish waits for the process, then for everything of it, and tells.
func (l *life) finish() {
	// Not reaped yet, its number still names its session, so what it left behind can be killed without risk.
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, l.process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = syscall.Kill(-l.process.Pid, syscall.SIGKILL)
	if l.spawner.sep.Mode == ByUser && l.spawner.sep.flags&unix.CLONE_NEWPID == 0 && l.part.UID >= firstID && l.part.UID <= lastID {
		killUser(l.part.UID) // what left the session; a process namespace would have taken it along
	}
	how := "wait failed"
	if state, err := l.process.Wait(); err == nil {
		how = state.String()
	}
	for _, r := range l.pipes {
		// What it printed last is in the pipe; a writer that got away does not hold this up.
		_ = r.SetReadDeadline(time.Now().Add(time.Second))
	}
	l.copying.Wait()
	for _, r := range l.pipes {
		_ = r.Close()
	}
	_ = l.ctl.conn.SetReadDeadline(time.Now().Add(time.Second)) // its last words, a reason perhaps, then the end
	l.readers.Wait()
	l.ctl.close()
	l.tell(event{run: l, kind: eventExited, text: how})
}

func (l *life) pid() int { return l.process.Pid }

func (l *life) signal(s os.Signal) error { return l.process.Signal(s) }

func (l *life) link(name string, end *os.File) error {
	return withDescriptor(end, func(fd int) error { return l.ctl.send(message{msgLink, name}, fd) })
}

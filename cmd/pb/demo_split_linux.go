package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"perspective/pb/distrib"
)

const (
	startLimit = 20 * time.Second // for the parts to become ready, or be so again
	lookEvery  = 10 * time.Millisecond
)

// A troupe is the parts of the demo while they run.
type troupe struct {
	*show

	monitor *distrib.Monitor
	orders  *orders
	pids    map[int]bool // of all processes seen
}

// split shows the site as several processes.
func (s *show) split(ctx context.Context) (err error) {
	sep := distrib.Probe(ctx)
	var ids owners
	if sep.Mode == distrib.ByUser {
		if ids, err = distrib.FreeIDs(3); err != nil {
			return err
		}
	}
	if s.folder, err = newFolder(s.root, ids); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.folder.remove()) }()
	ours, theirs, err := orderPair()
	if err != nil {
		return err
	}
	defer ours.close()
	defer theirs.close()

	t := &troupe{
		show:    s,
		monitor: s.newMonitor(sep, theirs),
		orders:  ours,
		pids:    make(map[int]bool),
	}
	if err := ours.send(order{Do: doRehearse}); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- t.monitor.Run(running) }() // ends after stop
	err = t.perform(ctx, sep)
	stop()
	if end := <-ended; !errors.Is(err, end) { // that the monitor failed may be known already
		err = errors.Join(err, end)
	}
	return errors.Join(err, t.gone())
}

// newMonitor returns the plan: which parts run, as which users, and what each may do.
func (s *show) newMonitor(sep distrib.Separation, o *orders) *distrib.Monitor {
	f := s.folder
	part := func(i int, name, arg string) distrib.Part {
		p := distrib.Part{Name: name, Args: []string{partName, name, arg}}
		if len(f.ids) > 0 {
			p.UID, p.GID = f.ids[i], f.ids[i]
		}
		return p
	}
	front := part(0, "front", f.key())
	front.Rights.Read = []string{f.front}
	front.Listeners = map[string]net.Listener{"http": s.http}
	site := part(1, "site", f.site)
	site.Rights.Read = []string{f.site}
	board := part(2, "board", f.journal())
	board.Rights.Write = []string{f.board}
	board.Listeners = map[string]net.Listener{"pb": s.pb}
	board.Files = map[string]*os.File{"orders": o.file}
	return &distrib.Monitor{
		Front: front, Backs: []distrib.Part{site, board}, Separation: &sep, Output: s.err,
		Logger:  slog.New(newRestarts(slog.NewTextHandler(s.err, nil))),
		Backoff: distrib.Backoff{Min: 50 * time.Millisecond, Max: time.Second},
	}
}

// perform does everything between the start of the parts and their end.
func (t *troupe) perform(ctx context.Context, sep distrib.Separation) error {
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := t.monitor.WaitReady(starting); err != nil {
		return t.startError(ctx, err)
	}
	before := t.look()
	if err := distrib.WriteTable(t.out, before); err != nil {
		return err
	}
	how := sep.String() // which says it loud where nothing does
	if sep.Mode != distrib.NotSeparated {
		how = "held apart by " + how
	}
	if _, err := fmt.Fprintln(t.out, how); err != nil {
		return err
	}
	outcomes, err := t.attack(ctx)
	if err != nil {
		return err
	}
	won, err := t.tell(outcomes)
	if err != nil {
		return err
	}
	for _, path := range []string{"/", boardPath} {
		if t.root != "" && path == "/" {
			continue // there need be no first page
		}
		if _, err := t.get(ctx, path); err != nil {
			return err
		}
	}
	t.tellChanged(before)
	if err := t.ready(); err != nil {
		return err
	}
	if !t.once {
		<-ctx.Done()
		return nil
	}
	err = t.underLoad(ctx, t.killBoard)
	if won > 0 {
		err = errors.Join(err, fmt.Errorf("pb: demo: %d attacks succeeded", won))
	}
	return err
}

func (t *troupe) startError(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("pb: demo: the parts are not ready after %v", startLimit)
	}
	return err
}

// attack has the first life of the board's process make the attacks. Its next
// life serves.
func (t *troupe) attack(ctx context.Context) (outcomes map[string]outcome, err error) {
	front := t.find("front").PID
	outcomes = make(map[string]outcome)
	for _, name := range attacks {
		if fromOutside(name) {
			continue
		}
		f := t.folder
		done, err := t.orders.attack(
			&attack{Name: name, Key: f.key(), Site: f.site, FrontPID: front,
				Outside: []string{f.base, f.front, f.site, os.TempDir(), "/"}})
		if err != nil {
			return nil, fmt.Errorf("pb: demo: the attack %s: %w", name, err)
		}
		outcomes[name] = done
	}
	// After the last attack that life reads no orders: this one is for the next.
	if err := t.orders.send(order{Do: doOverdo}); err != nil {
		return nil, err
	}
	if err := t.killBoard(ctx); err != nil {
		return nil, err
	}
	if outcomes[siteCookie], err = judgeCookies(ctx, "http://"+t.httpAddr); err != nil {
		return nil, err
	}
	outcomes[takeMount], err = t.judgeMount(ctx)
	return outcomes, err
}

// killBoard ends the board's process as abruptly as can be, and waits for the
// next one.
func (t *troupe) killBoard(ctx context.Context) error {
	old := t.find("board").PID
	if old <= 0 {
		return errors.New("pb: demo: the board's process is not there to be killed")
	}
	if err := unix.Kill(old, unix.SIGKILL); err != nil {
		return fmt.Errorf("pb: demo: kill the board: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit,
		fmt.Errorf("pb: demo: the board is not back after %v", startLimit))
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if d := t.find("board"); d.State == distrib.Ready && d.PID != old {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// look gives the table of parts, and remembers the processes in it.
func (t *troupe) look() []distrib.Description {
	table := t.monitor.Describe()
	for _, d := range table {
		if d.PID > 0 && d.PID != os.Getpid() {
			t.pids[d.PID] = true
		}
	}
	return table
}

// tellChanged prints which processes run now, if the table that was printed is no longer true.
func (t *troupe) tellChanged(before []distrib.Description) {
	var now []string
	changed := false
	for i, d := range t.look() {
		now = append(now, fmt.Sprintf("%s %d", d.Name, d.PID))
		changed = changed || d.PID != before[i].PID
	}
	if changed {
		_, _ = fmt.Fprintf(t.err, "pb: demo: the processes are now %s\n", strings.Join(now, ", "))
	}
}

func (t *troupe) find(name string) distrib.Description {
	for _, d := range t.look() {
		if d.Name == name {
			return d
		}
	}
	return distrib.Description{}
}

// gone checks that no process and no file is left.
func (t *troupe) gone() error {
	if err := unix.Waitid(unix.P_ALL, 0, nil,
		unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); !errors.Is(err, unix.ECHILD) {
		return fmt.Errorf("pb: demo: a process of this one is still there: %w", err)
	}
	for pid := range t.pids {
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("pb: demo: process %d is still there", pid)
		}
	}
	if err := t.folder.remove(); err != nil {
		return err
	}
	if _, err := os.Lstat(t.folder.base); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pb: demo: %s is still there", t.folder.base)
	}
	return nil
}

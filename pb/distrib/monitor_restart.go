package distrib

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// readyTimeout is Monitor.ReadyTimeout for zero.
const readyTimeout = 30 * time.Second

// Restart replaces the running process of a part without a pause: it starts a second one, waits
// until that is ready and its links serve, and then ends the first with SIGTERM and Grace. Requests
// that the first has begun it finishes; new ones go to the second, which runs the file that is
// there now (Part.Program). A second front has the same listeners, and a link of its own to each
// back end. Where the second does not serve within ReadyTimeout, or ends, it is killed, the first
// stays, and the error says why. One restart of a part is under way at a time.
//
// When ctx ends first its error is returned, and the restart goes on. It may be called from any
// goroutine while Run runs; after that the error is ErrStopped.
func (m *Monitor) Restart(ctx context.Context, part string) error {
	return m.do(ctx, func(l *loop, done chan<- error) { l.restart(part, done) })
}

// do has the loop begin something, and waits until that says over done, which has room, what became
// of it.
func (m *Monitor) do(ctx context.Context, begin func(l *loop, done chan<- error)) error {
	m.state.Lock()
	loop := m.state.loop
	m.state.Unlock()
	if loop == nil {
		return errors.New("distrib: Monitor.Run has not started the parts yet")
	}
	done := make(chan error, 1)
	select {
	case loop.verbs <- func() { begin(loop, done) }:
	case <-loop.over:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-loop.over:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A part that restarts has two slots. The second life's slot hangs on the first's (next) until it
// serves:
//
//	started --ready, and its links: up--> takes the first's place, which retires and ends
//	   └------ exit, or its time is over ---> gone, and the first stays
//
// Both links of a back end have its name. Meanwhile the first gets no other link, for that would be
// the newer. A second front has links of its own (slot.ahead), and the first keeps those that it
// has for what it has begun; the back ends serve over both.

// restart begins a restart.
func (l *loop) restart(part string, done chan<- error) {
	refuse := func(text string) { done <- fmt.Errorf("distrib: restart %s: %s", part, text) }
	i := slices.IndexFunc(l.slots, func(s *slot) bool { return s.part.Name == part })
	switch {
	case l.phase != serving:
		done <- ErrStopped
		return
	case i < 0:
		refuse("no part has that name")
		return
	}
	s := l.slots[i]
	switch {
	case s.elsewhere():
		refuse("its process is not the monitor's: start it again where it was started")
		return
	case s.next != nil:
		refuse("it is under way")
		return
	case !s.lives():
		refuse("the part does not run")
		return
	}
	next := &slot{part: s.part, fixed: s.fixed, front: s.front, tells: s.tells, dialer: s.dialer,
		starts: s.starts, replaces: s, verdict: done, giveUp: time.Now().Add(l.readyWithin)}
	next.link.again = s.link.again
	s.next = next
	l.start(next)
	if next.run == nil {
		l.giveUp(next, errors.New("it cannot be started"))
	}
}

// serves says whether a second life can take the first's place: it is ready and has its links. A
// front must have one to each back end that the front before it has one to.
func (l *loop) serves(next *slot) bool {
	if !next.ready || !next.front {
		return next.ready && next.linkedTo(l.front)
	}
	for _, back := range l.backs() {
		if back.linkedTo(l.front) && !back.linkedTo(next) {
			return false
		}
	}
	return true
}

// takePlace puts the second life in the place of the first, which ends.
func (l *loop) takePlace(next *slot) {
	s := next.replaces
	if s.front {
		for _, back := range l.backs() {
			again := back.link.again
			back.link, back.ahead = back.ahead, slotLink{}
			back.link.again += again
		}
		l.front = next
	}
	next.replaces, next.giveUp, next.wanted = nil, time.Time{}, s.wanted
	l.slots[slices.Index(l.slots, s)] = next
	if next.dialer != nil {
		next.dialer.owner = next
	}
	s.next, s.dialer, s.wanted, s.due, s.link.due = nil, nil, false, time.Time{}, time.Time{}
	if s.run != nil {
		l.retiring = append(l.retiring, s)
		l.terminate(s)
	}
	l.log.Info("part restarted", "part", next.part.Name)
	next.verdict <- nil
}

// giveUp ends a restart: the second life will not serve.
func (l *loop) giveUp(next *slot, why error) {
	if next.replaces == nil {
		return
	}
	l.log.Warn("part not restarted, the process before it stays", "part", next.part.Name,
		"err", why)
	s := next.replaces
	if next.front {
		for _, back := range l.backs() {
			back.ahead = slotLink{}
		}
	}
	s.next, next.replaces, next.giveUp = nil, nil, time.Time{}
	switch { // what was left undone as the second life had its link
	case s.run == nil && s.due.IsZero():
		l.bury(s)
	case s.lives() && s.link.state == linkDown && s.link.due.IsZero():
		l.linkDown(&s.link)
	}
	next.dialer = nil
	next.verdict <- fmt.Errorf("distrib: restart %s: %w", next.part.Name, why)
	if next.run != nil {
		l.retiring = append(l.retiring, next)
		l.kill(next)
	}
}

// linked says whether a second life, if there is one, was handed its link.
func (s *slot) linked() bool { return s != nil && s.link.state != linkNone }

// successors are the second lives of restarts under way.
func (l *loop) successors() []*slot {
	var all []*slot
	for _, s := range l.slots {
		if s.next != nil {
			all = append(all, s.next)
		}
	}
	return all
}

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

// verb is what another goroutine asks of the loop.
type verb struct {
	part   string
	within time.Duration
	done   chan error // has room for the answer
}

// Restart replaces the running process of a back end without a pause: it starts a second one, waits
// until that is ready and the front serves over its link, and then ends the first with SIGTERM and
// Grace. Requests that the first has begun it finishes; new ones go to the second, which runs the
// file that is there now (Part.Program). Where the second does not serve within ReadyTimeout, or
// ends, it is killed, the first stays, and the error says why. One restart of a part is under way
// at a time.
//
// When ctx ends first its error is returned, and the restart goes on. It may be called from any
// goroutine while Run runs; after that the error is ErrStopped.
func (m *Monitor) Restart(ctx context.Context, part string) error {
	m.state.Lock()
	loop := m.state.loop
	m.state.Unlock()
	if loop == nil {
		return errors.New("distrib: Restart before Monitor.Run")
	}
	v := verb{part, readyTimeout, make(chan error, 1)}
	if m.ReadyTimeout > 0 {
		v.within = m.ReadyTimeout
	}
	select {
	case loop.verbs <- v:
	case <-loop.over:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-v.done:
		return err
	case <-loop.over:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A back end that restarts has two slots. The second life's slot hangs on the first's (next) until
// it serves:
//
//	started --ready, and the front: serves--> takes the first's place, which retires and ends
//	   └------ exit, or its time is over ---> gone, and the first stays
//
// Both links have the back end's name, and their numbers are of one sequence. Meanwhile the first
// gets no other link, for that would be the newer.

// restart begins a restart.
func (l *loop) restart(v verb) {
	refuse := func(text string) { v.done <- fmt.Errorf("distrib: restart %s: %s", v.part, text) }
	i := slices.IndexFunc(l.slots, func(s *slot) bool { return s.part.Name == v.part })
	switch {
	case l.phase != serving:
		v.done <- ErrStopped
		return
	case i < 0:
		refuse("no part has that name")
		return
	case i == 0:
		refuse("the front has no second process beside it")
		return
	}
	s := l.slots[i]
	switch {
	case s.next != nil:
		refuse("it is under way")
		return
	case !s.lives():
		refuse("the part does not run")
		return
	}
	next := &slot{part: s.part, fixed: s.fixed, dialer: s.dialer, starts: s.starts,
		replaces: s, verdict: v.done, giveUp: time.Now().Add(v.within)}
	next.link.again = s.link.again
	s.next = next
	l.start(next)
	if next.run == nil {
		l.giveUp(next, errors.New("it cannot be started"))
	}
}

// serves puts the second life in the place of the first, which ends.
func (l *loop) serves(next *slot) {
	s := next.replaces
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
	s.next, next.replaces, next.giveUp = nil, nil, time.Time{}
	switch { // what was left undone as the second life had its link
	case s.run == nil && s.due.IsZero():
		l.bury(s)
	case s.lives() && s.link.state == linkDown && s.link.due.IsZero():
		l.linkDown(s)
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

// nextNumber is the number of a back end's next link, over both its lives.
func (s *slot) nextNumber() uint64 {
	n := s.link.number
	if s.next != nil {
		n = max(n, s.next.link.number)
	}
	if s.replaces != nil {
		n = max(n, s.replaces.link.number)
	}
	return n + 1
}

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

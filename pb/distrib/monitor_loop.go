package distrib

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"
)

// loop is the life of a monitor: one goroutine that owns every slot. Parts, timers and the caller's
// ctx reach it as events, so no field needs a lock, and no call it makes waits for a part.
//
// A slot's life:
//
//	waiting --start--> started --ready--> ready --exit--> waiting (due after the backoff)
//	                      └-----------stop------------┴--> ending --exit--> waiting (no due)
//
// The lives of links are drawn in monitor_links.go, those of restarts in monitor_restart.go.
//
// Ending all: the front gets SIGTERM first so that it can drain while its back ends still answer;
// when it is gone they get theirs. A part that outlives its grace gets SIGKILL.
type loop struct {
	launcher launcher
	sep      Separation
	backoff  Backoff
	relink   Backoff
	grace    time.Duration
	log      *slog.Logger
	publish  func([]Description)

	front  *slot
	slots  []*slot // front first
	served bool    // a front was ready once
	// numbers are those of each back end's newest link.
	numbers map[string]uint64
	// dialers are the slots of those; each starts and ends with the part that it dials for.
	dialers []*slot
	// retiring are lives that another one has replaced, until they have ended.
	retiring []*slot
	// readyWithin is how long a second life may take to serve.
	readyWithin time.Duration
	verbs       chan func() // what other goroutines ask for
	events      chan event
	over        chan struct{} // closed when run returns
	phase       phase
	err         error // why it ends before it was told to
}

type phase int

const (
	serving phase = iota
	endingFront
	endingBacks
)

// slot is one part over all its lives.
type slot struct {
	part    *Part
	fixed   Description
	run     running // nil while it does not run
	wanted  bool    // to be started again when it dies
	ready   bool
	ending  bool
	dying   bool // it is dead or about to be, and its exit is yet to be told
	held    []string
	deaths  int
	starts  int
	started time.Time
	due     time.Time // when to start it; zero: not
	killAt  time.Time // when to kill it; zero: not
	link    slotLink  // to the front; not used for the front itself and dialers
	ahead   slotLink  // to the second life of the front, while that restarts
	dialer  *slot     // nil: the part has none
	owner   *slot     // of a dialer: the part that it dials for

	front bool // it is one of the front's lives
	// tells: this front reports which links serve, so that a link without a report does not.
	tells bool

	handings []handing // files that it has yet to answer, see monitor_hand.go

	// of a restart, see monitor_restart.go
	next     *slot // the second life; nil: none
	replaces *slot // of a second life: the first
	verdict  chan<- error
	giveUp   time.Time // of a second life: when it must serve
}

func newLoop(
	l launcher, sep Separation, parts []*Part, b Backoff, grace time.Duration, log *slog.Logger,
	publish func([]Description),
) *loop {
	lp := &loop{launcher: l, sep: sep, backoff: b.held(log), relink: quickRelink, grace: grace,
		log: log, publish: publish, readyWithin: readyTimeout, numbers: map[string]uint64{},
		verbs: make(chan func()), events: make(chan event), over: make(chan struct{})}
	named := map[string]*slot{}
	for _, p := range parts {
		s := &slot{part: p, fixed: describePart(p, sep), wanted: !p.OnDemand}
		if p.dials == "" {
			lp.slots, named[p.Name] = append(lp.slots, s), s
			continue
		}
		s.owner = named[p.dials] // parts come before their dialers
		s.owner.dialer = s
		lp.dialers = append(lp.dialers, s)
	}
	lp.front = lp.slots[0]
	lp.front.front = true
	for _, back := range lp.slots[1:] {
		back.fixed.Mount = back.part.mount()
	}
	return lp
}

// run returns when no part is left.
func (l *loop) run(ctx context.Context) error {
	defer close(l.over)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for _, s := range l.all() {
		if s.wanted {
			l.start(s)
		}
	}
	ended := ctx.Done()
	for {
		l.advance()
		l.publish(l.table())
		if l.phase != serving && l.alive() == 0 {
			return l.err
		}
		timer.Reset(l.untilNext(time.Now()))
		select {
		case <-ended:
			ended = nil
			l.end(nil)
		case e := <-l.events:
			l.handle(e)
		case v := <-l.verbs:
			v()
		case <-timer.C:
			l.tick(time.Now())
		}
	}
}

// tell is how the goroutines of a running part reach the loop. False: it is over.
func (l *loop) tell(e event) bool {
	select {
	case l.events <- e:
		return true
	case <-l.over:
		return false
	}
}

func (l *loop) start(s *slot) {
	s.due = time.Time{}
	if s.elsewhere() {
		l.connectAll(s)
		return
	}
	s.starts++
	s.started = time.Now()
	run, err := l.launcher.launch(s.part, func(e event) { e.slot = s; _ = l.tell(e) })
	if err != nil {
		l.unable(s, err)
		l.bury(s)
		return
	}
	s.run, s.ready, s.ending, s.dying, s.held = run, false, false, false, nil
	l.dialing(s)
	if s.owner == nil {
		l.connectAll(s)
	}
}

// all returns the parts, their dialers, and what else lives while parts restart.
func (l *loop) all() []*slot {
	return slices.Concat(l.slots, l.dialers, l.successors(), l.retiring)
}

func (l *loop) handle(e event) {
	s := e.slot
	if e.kind == eventDialled {
		l.dialled(e)
		return
	}
	if s.run == nil || s.run != e.run {
		return
	}
	switch e.kind {
	case eventExited:
		l.log.Info("part ended", "part", s.part.Name, "how", e.text)
		s.run, s.ready, s.ending, s.dying, s.killAt = nil, false, false, false, time.Time{}
		l.giveUp(s, fmt.Errorf("its process ended: %s", e.text))
		l.retiring = slices.DeleteFunc(l.retiring, func(r *slot) bool { return r == s })
		l.unlink(s)
		s.dropFiles()
		if s == l.front && !l.served {
			l.end(fmt.Errorf("distrib: part %s ended before it was ready: %s", s.part.Name,
				e.text))
		}
		l.bury(s)
		if !s.wanted {
			l.terminate(s.dialer)
		}
	case eventDying:
		l.dying(s)
	case eventStarted:
		l.log.Info("part started", "part", s.part.Name, "pid", s.run.pid())
	case eventReport:
		s.held = e.held
	case eventFailed:
		err := fmt.Errorf("distrib: part %s: %s", s.part.Name, e.text)
		if s.replaces != nil {
			l.giveUp(s, errors.New(e.text))
			return
		}
		if s.held == nil {
			l.unable(s, err)
			return
		}
		if s == l.front && !l.served {
			l.log.Error("part cannot serve", "part", s.part.Name, "err", e.text)
			l.end(err)
			return
		}
		// After its report the sandbox may have become the program, whose word ends nothing but
		// itself.
		l.log.Warn("part says that it failed", "part", s.part.Name, "err", err)
		l.kill(s)
	case eventReady:
		s.ready, l.served = true, l.served || s.front
		l.log.Info("part ready", "part", s.part.Name)
	case eventFault:
		l.log.Warn("part broke the rules of its control socket", "part",
			s.part.Name, "what", e.text)
		l.kill(s)
	case eventDialEnded:
		l.dialing(s)
	case eventDialled: // above
	case eventStart, eventStop:
		l.ask(s, e)
	case eventLinkEnded, eventLinkServes:
		l.heardOfLink(s, e)
	case eventTook:
		l.took(s, e.text, e.why)
	}
}

// lives says whether a part runs and is not about to end.
func (s *slot) lives() bool {
	return s.elsewhere() || s.run != nil && !s.dying && !s.ending
}

// dying notes that a part will not live, which shows before its exit: its links are not made again.
func (l *loop) dying(s *slot) {
	s.dying = true
	for link := range l.linksOf(s) {
		link.due = time.Time{}
	}
}

// ask does what the front asked for. Only back ends of the configuration can be named, and nothing
// else be said.
func (l *loop) ask(from *slot, e event) {
	if from != l.front || l.phase != serving {
		return
	}
	for _, s := range l.slots[1:] {
		if s.part.Name != e.text {
			continue
		}
		s.wanted = e.kind == eventStart
		if s.dialer != nil {
			s.dialer.wanted = s.wanted
		}
		if s.wanted {
			s.startSoon()
			s.dialer.startSoon()
			return
		}
		s.due = time.Time{}
		if s.next != nil {
			l.giveUp(s.next, errors.New("the front stopped the part"))
		}
		l.terminate(s)
		if s.run == nil { // or when it has ended, for it may still dial
			l.terminate(s.dialer)
		}
		return
	}
	l.log.Warn("front named an unknown part", "name", e.text)
}

// startSoon has a part started that does not run; nil is none.
func (s *slot) startSoon() {
	if s != nil && s.run == nil && s.due.IsZero() {
		s.due = time.Now()
	}
}

// bury decides when a part that is not running starts again.
func (l *loop) bury(s *slot) {
	if l.phase != serving || !s.wanted || s.next.linked() {
		return
	}
	wait, deaths := l.backoff.next(s.deaths, time.Since(s.started))
	s.deaths, s.due = deaths, time.Now().Add(wait)
}

// unable ends the whole when a part cannot be set up the first time: that is a mistake of the
// configuration. Later it is a passing want of descriptors or processes, and waits like a death.
func (l *loop) unable(s *slot, err error) {
	l.log.Error("part cannot be set up", "part", s.part.Name, "err", err)
	if s.starts == 1 {
		l.end(err)
	}
}

func (l *loop) end(err error) {
	if l.phase != serving {
		return
	}
	l.err, l.phase = err, endingFront
	for _, next := range l.successors() {
		l.giveUp(next, ErrStopped)
	}
	for _, s := range l.all() {
		s.wanted, s.due = false, time.Time{}
	}
	l.terminate(l.front)
}

// advance does what has become due by what was heard. While it serves, second lives take their
// places; when it ends, it goes on to the back ends when the front is gone, and to the dialers when
// all are.
func (l *loop) advance() {
	if l.phase == serving {
		for _, next := range l.successors() {
			if l.serves(next) {
				l.takePlace(next)
			}
		}
		return
	}
	frontRuns := slices.ContainsFunc(l.all(),
		func(s *slot) bool { return s.front && s.run != nil })
	if l.phase == endingFront && !frontRuns {
		l.phase = endingBacks
		for _, s := range l.slots[1:] {
			l.terminate(s)
		}
	}
	for _, s := range l.dialers {
		if s.owner.run == nil {
			l.terminate(s)
		}
	}
}

// terminate asks a part to end; nil is none.
func (l *loop) terminate(s *slot) {
	if s == nil || s.run == nil || s.ending {
		return
	}
	s.ending = true
	if !s.ready {
		// It has nothing to finish, and as process 1 of its namespace it would not even get a
		// SIGTERM that comes before the runtime has a handler for it.
		l.kill(s)
		return
	}
	s.killAt = time.Now().Add(l.grace)
	_ = s.run.signal(syscall.SIGTERM) // an error means that it is dead, which eventExited tells
}

func (l *loop) kill(s *slot) {
	if s.run != nil {
		_ = s.run.signal(os.Kill)
		l.dying(s)
	}
}

func (l *loop) tick(now time.Time) {
	for _, s := range l.all() {
		if !s.due.IsZero() && !s.due.After(now) {
			l.start(s)
		}
		for _, front := range l.fronts() {
			if link := s.linkTo(front); !link.due.IsZero() && !link.due.After(now) {
				if !s.elsewhere() {
					link.again++
				}
				l.connect(front, s)
			}
		}
		if !s.giveUp.IsZero() && !s.giveUp.After(now) {
			l.giveUp(s, errors.New("it did not serve in time"))
		}
		if !s.killAt.IsZero() && !s.killAt.After(now) {
			s.killAt = time.Time{}
			l.log.Warn("part outlived its grace", "part", s.part.Name)
			l.kill(s)
		}
	}
}

func (l *loop) untilNext(now time.Time) time.Duration {
	next := now.Add(time.Hour)
	for _, s := range l.all() {
		for _, at := range []time.Time{s.due, s.killAt, s.giveUp, s.link.due, s.ahead.due} {
			if !at.IsZero() && at.Before(next) {
				next = at
			}
		}
	}
	return next.Sub(now)
}

func (l *loop) alive() int {
	n := 0
	for _, s := range l.all() {
		if s.run != nil {
			n++
		}
	}
	return n
}

func (l *loop) table() []Description {
	table := []Description{describeMonitor(l.sep)}
	for _, s := range l.all() {
		d := s.fixed
		d.beside = s.replaces != nil || slices.Contains(l.retiring, s)
		d.State, d.Held, d.Restarts, d.Relinks = Waiting, s.held, max(0, s.starts-1), s.link.again
		if s.elsewhere() {
			d.State = Ready
			if s.link.state != linkUp {
				d.State = NoLink
			}
		}
		if s.run != nil {
			d.PID, d.State = s.run.pid(), Started
			if s.ready {
				d.State = Ready
				if !s.front && s.owner == nil && !s.linkedTo(l.front) {
					d.State = NoLink
				}
			}
			if s.ending {
				d.State = Ending
			}
		}
		table = append(table, d)
	}
	return table
}

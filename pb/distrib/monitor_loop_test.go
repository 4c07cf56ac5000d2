package distrib

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeLauncher starts parts that exist only as a record of what was done to them.
type fakeLauncher struct {
	mu     sync.Mutex
	nextID int
	lives  []*fakeLife
	refuse error // what launch returns
	deaf   bool  // new parts do not heed SIGTERM
	stuck  bool  // new parts take no link

	sockets int   // how often one was connected to
	refused error // what comes of it; nil: a connection
}

type fakeLife struct {
	launcher *fakeLauncher
	part     string
	id       int
	at       time.Time
	tell     func(event)

	links   []string
	number  uint64 // of the last link
	sockets int    // to or from a dialer
	files   []string
	signals []os.Signal
	dead    bool
	deaf    bool
	stuck   bool
}

func (f *fakeLauncher) launch(p *Part, tell func(event)) (running, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, f.refuse
	}
	f.nextID++
	l := &fakeLife{
		launcher: f,
		part:     p.Name,
		id:       f.nextID,
		at:       time.Now(),
		tell:     tell,
		deaf:     f.deaf,
		stuck:    f.stuck,
	}
	f.lives = append(f.lives, l)
	return l, nil
}

func (f *fakeLauncher) pair() (front, back linkEnd, err error) {
	front.conn, back.conn, err = os.Pipe()
	return front, back, err
}

func (f *fakeLauncher) dialPair() (part, dialer *os.File, err error) { return os.Pipe() }

func (f *fakeLauncher) socket(_ *Part, tell func(event)) {
	f.mu.Lock()
	f.sockets++
	answer := event{err: f.refused}
	f.mu.Unlock()
	if answer.err == nil {
		answer.conn, answer.err = os.Open(os.DevNull)
	}
	go tell(answer) // ends with the loop
}

func (f *fakeLauncher) close() {}

// last returns the newest life of a part.
func (f *fakeLauncher) last(part string) *fakeLife {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range slices.Backward(f.lives) {
		if l.part == part {
			return l
		}
	}
	return nil
}

func (f *fakeLauncher) starts(part string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, l := range f.lives {
		if l.part == part {
			n++
		}
	}
	return n
}

func (l *fakeLife) pid() int { return l.id }

func (l *fakeLife) link(name, _ string, number uint64, _ linkEnd) error {
	l.launcher.mu.Lock()
	defer l.launcher.mu.Unlock()
	if l.stuck {
		return syscall.EAGAIN
	}
	l.links, l.number = append(l.links, name), number
	return nil
}

func (l *fakeLife) file(name string, _ *os.File) error {
	l.launcher.mu.Lock()
	defer l.launcher.mu.Unlock()
	if l.stuck {
		return syscall.EAGAIN
	}
	l.files = append(l.files, name)
	return nil
}

func (l *fakeLife) dialer(*os.File) error {
	l.launcher.mu.Lock()
	defer l.launcher.mu.Unlock()
	l.sockets++
	return nil
}

// sayOfLink is a word about the link of that name and number.
func (l *fakeLife) sayOfLink(kind eventKind, name string, number uint64) {
	l.tell(event{run: l, kind: kind, text: name, number: number})
	synctest.Wait()
}

func (l *fakeLife) lastLink() (count int, number uint64) {
	l.launcher.mu.Lock()
	defer l.launcher.mu.Unlock()
	return len(l.links), l.number
}

func (l *fakeLife) signal(s os.Signal) error {
	l.launcher.mu.Lock()
	l.signals = append(l.signals, s)
	ends := s == os.Kill || !l.deaf
	l.launcher.mu.Unlock()
	if ends {
		go l.die(s.String())
	}
	return nil
}

func (l *fakeLife) die(how string) {
	l.launcher.mu.Lock()
	already := l.dead
	l.dead = true
	l.launcher.mu.Unlock()
	if !already {
		l.tell(event{run: l, kind: eventExited, text: how})
	}
}

func (l *fakeLife) say(kind eventKind, text string) {
	l.tell(event{run: l, kind: kind, text: text})
}

func (l *fakeLife) sawSignals() []os.Signal {
	l.launcher.mu.Lock()
	defer l.launcher.mu.Unlock()
	return slices.Clone(l.signals)
}

func (l *fakeLife) sawLinks() []string {
	l.launcher.mu.Lock()
	defer l.launcher.mu.Unlock()
	return slices.Clone(l.links)
}

// fakeLoop runs a loop over a front and the backs "a" and "b" inside a bubble.
type fakeLoop struct {
	*fakeLauncher
	loop  *loop
	stop  context.CancelFunc
	done  chan error
	mu    sync.Mutex
	table []Description
}

func startLoop(t *testing.T, launcher *fakeLauncher, onDemand bool) *fakeLoop {
	t.Helper()
	return startLoopOf(t, launcher,
		[]*Part{{Name: "front"}, {Name: "a"}, {Name: "b", OnDemand: onDemand}})
}

func startLoopOf(t *testing.T, launcher *fakeLauncher, parts []*Part) *fakeLoop {
	t.Helper()
	f := &fakeLoop{fakeLauncher: launcher, done: make(chan error, 1)}
	loop := newLoop(launcher, Separation{}, parts,
		Backoff{Rand: func() float64 { return 0 }}, 5*time.Second,
		slog.New(slog.DiscardHandler), func(table []Description) {
			f.mu.Lock()
			f.table = table
			f.mu.Unlock()
		})
	ctx, stop := context.WithCancel(t.Context())
	f.stop, f.loop = stop, loop
	go func() { f.done <- loop.run(ctx) }() // ends with stop, or the test deadlocks
	synctest.Wait()
	return f
}

func (f *fakeLoop) end(t *testing.T) {
	t.Helper()
	f.stop()
	if err := <-f.done; err != nil {
		t.Errorf("run = %v", err)
	}
	f.fakeLauncher.mu.Lock()
	defer f.fakeLauncher.mu.Unlock()
	for _, l := range f.lives {
		if !l.dead {
			t.Errorf("%s %d still lives", l.part, l.id)
		}
	}
}

func TestLoopLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startLoop(t, &fakeLauncher{}, false)
		defer f.end(t)
		f.last("front").say(eventReady, "")
		if got := f.last("front").sawLinks(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("the front got %v", got)
		}
		f.last("a").die("killed")
		time.Sleep(time.Second)
		if got := f.last("front").sawLinks(); !slices.Equal(got, []string{"a", "b", "a"}) {
			t.Errorf("the front got %v after the death of a", got)
		}
		if got := f.last("a").sawLinks(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("the new a got %v", got)
		}
		f.last("front").die("killed")
		time.Sleep(time.Second)
		if got := f.last("front").sawLinks(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("the new front got %v", got)
		}
		if got := f.last("b").sawLinks(); !slices.Equal(got, []string{"b", "b"}) {
			t.Errorf("b got %v, want its link twice", got)
		}
	})
}

// look returns the state and the count of new links of the back end "a".
func (f *fakeLoop) look() (State, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.table[2].State, f.table[2].Relinks
}

// ready has all parts say that they are, and the front that a's first link serves.
func (f *fakeLoop) ready(t *testing.T) {
	t.Helper()
	for _, name := range []string{"front", "a", "b"} {
		f.last(name).say(eventReport, "")
		f.last(name).say(eventReady, "")
	}
	f.last("front").sayOfLink(eventLinkServes, "a", 1)
	if state, _ := f.look(); state != Ready {
		t.Fatalf("state %q of a, want ready", state)
	}
}

func TestLoopReplacesALinkThatEnded(t *testing.T) {
	for _, who := range []string{"front", "a"} {
		t.Run(who, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startLoop(t, &fakeLauncher{}, false)
				defer f.end(t)
				f.ready(t)
				front, a := f.last("front"), f.last("a")
				links, _ := front.lastLink()
				f.last(who).sayOfLink(eventLinkEnded, "a", 1)
				if state, _ := f.look(); state != NoLink {
					t.Errorf("state %q without a link, want %q", state, NoLink)
				}
				time.Sleep(time.Second)
				for _, end := range []*fakeLife{front, a} {
					if _, number := end.lastLink(); number != 2 {
						t.Errorf("%s has link %d, want a second", end.part, number)
					}
				}
				if state, _ := f.look(); state != NoLink {
					t.Errorf("state %q while the new link does not serve yet, want %q",
						state, NoLink)
				}
				a.sayOfLink(eventLinkServes, "a", 2) // is the front's to say
				if state, _ := f.look(); state != NoLink {
					t.Errorf("state %q by the back end's own word", state)
				}
				front.sayOfLink(eventLinkServes, "a", 2)
				if state, again := f.look(); state != Ready || again != 1 {
					t.Errorf("state %q after %d new links, want ready after 1", state, again)
				}
				// The other end was slower: what it says is of the first link.
				front.sayOfLink(eventLinkEnded, "a", 1)
				a.sayOfLink(eventLinkEnded, "a", 1)
				f.last("b").sayOfLink(eventLinkEnded, "a", 2) // not its own
				f.last("b").sayOfLink(eventLinkEnded, "nobody", 1)
				time.Sleep(time.Minute)
				if got, _ := front.lastLink(); got != links+1 {
					t.Errorf("the front got %d links more, want 1", got-links)
				}
				if f.starts("a") != 1 || f.starts("front") != 1 {
					t.Error("a part was started again for a link")
				}
			})
		})
	}
}

func TestLoopBacksOffWithLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startLoop(t, &fakeLauncher{}, false)
		defer f.end(t)
		f.ready(t)
		a := f.last("a")
		began := time.Now()
		for time.Since(began) < time.Minute {
			_, number := a.lastLink()
			a.sayOfLink(eventLinkEnded, "a", number) // at once, and for ever
			told := time.Now()
			for {
				if _, now := a.lastLink(); now != number {
					break
				}
				time.Sleep(10 * time.Millisecond)
				synctest.Wait()
			}
			if waited := time.Since(told); waited > time.Second {
				t.Fatalf("link %d was replaced after %v, want within a second", number, waited)
			}
		}
		// By chance between half and all of 50, 100, 200, 400, then of 800 ms for ever: 75 to 160
		// in a minute.
		if _, number := a.lastLink(); number > 160 {
			t.Errorf("%d links in a minute for one that ends each at once, want at most 160",
				number)
		}
		if state, again := f.look(); state != NoLink || again < 70 {
			t.Errorf("state %q after %d new links", state, again)
		}
	})
}

// A link that ends because a part is dying is not made again for it, and not counted, whichever is
// heard first.
func TestLoopCountsNoLinksOfTheDying(t *testing.T) {
	for _, who := range []string{"front", "a"} {
		for _, linkFirst := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				f := startLoop(t, &fakeLauncher{}, false)
				defer f.end(t)
				f.ready(t)
				other := map[string]string{"front": "a", "a": "front"}[who]
				if linkFirst {
					f.last(other).sayOfLink(eventLinkEnded, "a", 1)
				}
				f.last(who).say(eventDying, "")
				if !linkFirst {
					f.last(other).sayOfLink(eventLinkEnded, "a", 1)
				}
				time.Sleep(2 * time.Second) // until what is left of it is gone
				if _, number := f.last(other).lastLink(); number != 1 {
					t.Errorf("%s is dying: %s has link %d, want no new one", who, other, number)
				}
				f.last(who).die("killed")
				time.Sleep(time.Second)
				if _, number := f.last(other).lastLink(); number != 2 {
					t.Errorf("%s lives again: %s has link %d, want 2", who, other, number)
				}
				if _, again := f.look(); again != 0 {
					t.Errorf("%s died: %d links made again, want none", who, again)
				}
			})
		}
	}
}

func TestLoopForgetsLinksOfTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startLoop(t, &fakeLauncher{}, false)
		defer f.end(t)
		f.ready(t)
		f.last("a").sayOfLink(eventLinkEnded, "a", 1)
		f.last("a").die("killed") // before the new link was made
		time.Sleep(time.Second)
		if links, number := f.last("a").lastLink(); links != 1 || number != 2 {
			t.Errorf("the next life got %d links, the last with number %d, want one with number 2",
				links, number)
		}
		f.last("a").say(eventReport, "")
		f.last("a").say(eventReady, "")
		f.last("front").sayOfLink(eventLinkServes, "a", 2)
		if state, again := f.look(); state != Ready || again != 0 {
			t.Errorf("state %q after %d new links, want ready after none", state, again)
		}
		f.last("front").die("killed")
		synctest.Wait()
		if state, _ := f.look(); state != NoLink {
			t.Errorf("state %q while there is no front, want %q", state, NoLink)
		}
		time.Sleep(time.Second)
		f.last("front").sayOfLink(eventLinkServes, "a", 3)
		if state, _ := f.look(); state != Ready {
			t.Errorf("state %q with the new front, want ready", state)
		}
	})
}

func TestLoopBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startLoop(t, &fakeLauncher{}, false)
		defer f.end(t)
		// Rand is 0, so each wait is half of 100 ms, 200 ms, … up to half of 30 s.
		for i, milliseconds := range []int{50, 100, 200, 400, 800, 1600, 3200, 6400, 12800,
			15000, 15000, 50} {
			want := time.Duration(milliseconds) * time.Millisecond
			if i == 11 {
				time.Sleep(10 * time.Second) // stable
			}
			died := time.Now()
			f.last("a").die("killed")
			synctest.Wait()
			f.mu.Lock()
			if state := f.table[2].State; state != Waiting {
				t.Errorf("state %s after death", state)
			}
			f.mu.Unlock()
			time.Sleep(want)
			synctest.Wait()
			if got := f.last("a").at.Sub(died); got != want {
				t.Fatalf("wait %d = %v, want %v", i, got, want)
			}
		}
	})
}

func TestLoopEndsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startLoop(t, &fakeLauncher{deaf: true}, false)
		for _, name := range []string{"front", "a", "b"} {
			f.last(name).say(eventReport, "")
			f.last(name).say(eventReady, "")
		}
		synctest.Wait()
		began := time.Now()
		f.stop()
		synctest.Wait()
		if got := f.last("front").sawSignals(); !slices.Equal(got, []os.Signal{syscall.SIGTERM}) {
			t.Errorf("the front got %v", got)
		}
		if got := f.last("a").sawSignals(); len(got) != 0 {
			t.Errorf("a got %v while the front drains", got)
		}
		f.last("front").die("drained")
		synctest.Wait()
		f.last("a").die("as asked")
		if err := <-f.done; err != nil {
			t.Errorf("run = %v", err)
		}
		if got := f.last("b").sawSignals(); !slices.Equal(got,
			[]os.Signal{syscall.SIGTERM, os.Kill}) {
			t.Errorf("the deaf b got %v", got)
		}
		if got := time.Since(began); got != 5*time.Second {
			t.Errorf("ended after %v, want the grace of 5 s", got)
		}
	})
}

func TestLoopEndsBeforeReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startLoop(t, &fakeLauncher{deaf: true}, false)
		began := time.Now()
		f.end(t)
		if got := time.Since(began); got != 0 {
			t.Errorf("took %v for parts that were never ready", got)
		}
	})
}

func TestLoopOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startLoop(t, &fakeLauncher{}, true)
		defer f.end(t)
		time.Sleep(time.Hour)
		if f.starts("b") != 0 {
			t.Fatal("b runs unasked")
		}
		f.last("a").say(eventStart, "b") // not the front's word
		f.last("front").say(eventStart, "front")
		f.last("front").say(eventStart, "nobody")
		synctest.Wait()
		if f.starts("b") != 0 || f.starts("front") != 1 {
			t.Fatal("started by somebody who may not, or somebody who must not")
		}
		f.last("front").say(eventStart, "b")
		f.last("front").say(eventStart, "b")
		time.Sleep(time.Second)
		if f.starts("b") != 1 {
			t.Fatalf("b was started %d times", f.starts("b"))
		}
		f.last("front").say(eventStop, "b")
		time.Sleep(time.Hour)
		if !f.last("b").dead || f.starts("b") != 1 {
			t.Error("b runs although it was stopped")
		}
	})
}

func TestLoopKillsTheStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		launcher := &fakeLauncher{}
		f := startLoop(t, launcher, false)
		defer f.end(t)
		front := f.last("front")
		front.say(eventReady, "")
		launcher.mu.Lock()
		front.stuck = true
		launcher.mu.Unlock()
		f.last("a").die("killed")
		time.Sleep(time.Second)
		if !slices.Contains(front.sawSignals(), os.Kill) || f.last("front") == front {
			t.Error("a front that takes no link lives on")
		}
	})
}

func TestLoopFirstFailureEndsAll(t *testing.T) {
	for _, how := range []string{"launch", "sandbox", "front", "front's word"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				refused := errors.New("no processes left")
				launcher := &fakeLauncher{}
				if how == "launch" {
					launcher.refuse = refused
				}
				f := startLoop(t, launcher, false)
				if how == "sandbox" {
					f.last("a").say(eventFailed, "no such folder")
				}
				front := f.last("front")
				if how == "front" {
					front.die("exit status 1")
				}
				if how == "front's word" {
					front.tell(event{run: front, kind: eventReport, held: []string{"seccomp"}})
					front.say(eventFailed, "no such key")
				}
				err := <-f.done
				if err == nil || how == "front's word" &&
					err.Error() != "distrib: part front: no such key" ||
					how == "launch" && !errors.Is(err, refused) {
					t.Errorf("run = %v", err)
				}
			})
		})
	}
}

func TestLoopLaterFailureWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		launcher := &fakeLauncher{}
		f := startLoop(t, launcher, false)
		defer f.end(t)
		launcher.mu.Lock()
		launcher.refuse = errors.New("no processes left")
		launcher.mu.Unlock()
		f.last("a").die("killed")
		time.Sleep(time.Second)
		launcher.mu.Lock()
		launcher.refuse = nil
		launcher.mu.Unlock()
		time.Sleep(time.Minute)
		if f.starts("a") != 2 {
			t.Errorf("a was started %d times, want again once it can be", f.starts("a"))
		}
		if a := f.last("a"); a.dead {
			t.Error("a is dead")
		}
		// Its word after the report is a program's word.
		f.last("a").tell(event{run: f.last("a"), kind: eventReport, held: []string{"seccomp"}})
		f.last("a").say(eventFailed, "a lie")
		time.Sleep(time.Minute)
		if f.starts("a") != 3 || f.starts("front") != 1 {
			t.Errorf("starts: a %d, front %d, want 3 and 1", f.starts("a"), f.starts("front"))
		}
	})
}

func TestBackoff(t *testing.T) {
	fixed := func(v float64) func() float64 { return func() float64 { return v } }
	for _, test := range []struct {
		name   string
		b      Backoff
		deaths int
		lived  time.Duration
		wait   time.Duration
		count  int
	}{
		{"first, shortest", Backoff{Rand: fixed(0)}, 0, 0, 50 * time.Millisecond, 1},
		{"first, longest", Backoff{Rand: fixed(1)}, 0, 0, 100 * time.Millisecond, 1},
		{"second", Backoff{Rand: fixed(1)}, 1, 0, 200 * time.Millisecond, 2},
		{"capped", Backoff{Rand: fixed(1)}, 40, 0, 30 * time.Second, 41},
		{"stable", Backoff{Rand: fixed(1)}, 40, 10 * time.Second, 100 * time.Millisecond, 1},
		{"own numbers", Backoff{
			Min:    time.Second,
			Max:    3 * time.Second,
			Stable: time.Hour,
			Rand:   fixed(0),
		}, 1, time.Minute, time.Second, 2},
		{"own cap", Backoff{
			Min:    time.Second,
			Max:    3 * time.Second,
			Stable: time.Hour,
			Rand:   fixed(1),
		}, 9, time.Minute, 3 * time.Second, 10},
		{"min over max", Backoff{Min: time.Minute, Max: time.Second, Rand: fixed(1)}, 3, 0,
			time.Second, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			wait, count := test.b.next(test.deaths, test.lived)
			if wait != test.wait || count != test.count {
				t.Errorf("next(%d, %v) = %v, %d, want %v, %d", test.deaths, test.lived, wait, count,
					test.wait, test.count)
			}
		})
	}
	for deaths := range 100 {
		if wait, _ := (Backoff{}).next(deaths, 0); wait < 50*time.Millisecond ||
			wait > 30*time.Second {
			t.Errorf("next(%d) = %v", deaths, wait)
		}
	}
}

func TestMonitorRefusesBadParts(t *testing.T) {
	for name, m := range map[string]*Monitor{
		"no backs":      {},
		"no name":       {Backs: []Part{{}}},
		"bad name":      {Backs: []Part{{Name: "a b"}}},
		"twice":         {Backs: []Part{{Name: "a"}, {Name: "a"}}},
		"like front":    {Backs: []Part{{Name: "front"}}},
		"relative path": {Backs: []Part{{Name: "a", Rights: Rights{Read: []string{"etc"}}}}},
		"unclean path": {
			Backs: []Part{{Name: "a", Rights: Rights{Write: []string{"/var/../etc"}}}},
		},
		"root": {Backs: []Part{{Name: "a", Rights: Rights{Read: []string{"/"}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := m.Run(t.Context()); err == nil {
				t.Error("Run = nil")
			}
		})
	}
	many := &Monitor{}
	for i := range maxParts {
		many.Backs = append(many.Backs, Part{Name: fmt.Sprint("p", i)})
	}
	if err := many.Run(t.Context()); err == nil {
		t.Error("too many parts: Run = nil")
	}
}

// TestLoopDialers has a part on demand whose dialer starts, starts again and ends with it.
func TestLoopDialers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Part{Name: "b", OnDemand: true, Rights: Rights{Dial: []string{"x:1"}}}
		f := startLoopOf(t, &fakeLauncher{}, []*Part{{Name: "front"}, b, dialerOf(b)})
		defer f.end(t)
		const dialer = "b" + dialerSuffix
		sockets := func(name string) int {
			l := f.last(name)
			f.fakeLauncher.mu.Lock()
			defer f.fakeLauncher.mu.Unlock()
			return l.sockets
		}
		if f.starts(dialer) != 0 {
			t.Error("a dialer that nobody needs")
		}
		f.last("front").say(eventStart, "b")
		time.Sleep(time.Second)
		if f.starts("b") != 1 || sockets("b") != 1 || sockets(dialer) != 1 {
			t.Errorf("%d, %d sockets, want one each", sockets("b"), sockets(dialer))
		}
		f.last(dialer).die("killed")
		time.Sleep(time.Second)
		if f.starts(dialer) != 2 || sockets("b") != 2 || sockets(dialer) != 1 {
			t.Errorf("the dialer's next life: %d, %d sockets", sockets("b"), sockets(dialer))
		}
		f.last("b").say(eventDialEnded, "")
		synctest.Wait()
		if sockets("b") != 3 || sockets(dialer) != 2 {
			t.Errorf("asked for another: %d, %d sockets", sockets("b"), sockets(dialer))
		}
		f.last("b").die("killed")
		time.Sleep(time.Second)
		if f.starts(dialer) != 2 || sockets("b") != 1 || sockets(dialer) != 3 {
			t.Errorf("the part's next life: %d, %d sockets", sockets("b"), sockets(dialer))
		}
		f.last("front").say(eventStop, "b")
		time.Sleep(time.Minute)
		if f.starts("b") != 2 || f.starts(dialer) != 2 || len(f.last(dialer).sawSignals()) == 0 {
			t.Errorf("stopped: %d starts, the dialer got %v", f.starts(dialer),
				f.last(dialer).sawSignals())
		}
	})
}

package distrib

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// restart asks the loop to restart a part, and returns where the answer comes.
func (f *fakeLoop) restart(part string) chan error {
	done := make(chan error, 1)
	f.loop.verbs <- func() { f.loop.restart(part, done) }
	synctest.Wait()
	return done
}

func (l *fakeLife) isDead() bool {
	l.launcher.mu.Lock()
	defer l.launcher.mu.Unlock()
	return l.dead
}

func TestLoopRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startLoop(t, &fakeLauncher{}, false)
		defer f.end(t)
		f.ready(t)
		first := f.last("a")
		done := f.restart("a")
		second := f.last("a")
		if second == first {
			t.Fatal("no second life")
		}
		if err := <-f.restart("a"); err == nil || !strings.Contains(err.Error(), "under way") {
			t.Errorf("a restart during another: %v", err)
		}
		second.say(eventReport, "")
		second.say(eventReady, "")
		synctest.Wait()
		if _, number := second.lastLink(); number != 2 || len(first.sawSignals()) != 0 {
			t.Errorf("link %d, the first got %v", number, first.sawSignals())
		}
		first.sayOfLink(eventLinkEnded, "a", 1) // it has nothing left to do
		time.Sleep(time.Minute / 4)
		if count, _ := first.lastLink(); count != 1 {
			t.Error("the first life gets a new link, and takes its place back")
		}
		if state, _ := f.look(); state != NoLink {
			t.Errorf("state %q of the first without its link", state)
		}
		f.last("front").sayOfLink(eventLinkServes, "a", 2)
		if err := <-done; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if got := first.sawSignals(); !slices.Equal(got, []os.Signal{syscall.SIGTERM}) ||
			!first.isDead() || len(second.sawSignals()) != 0 || f.starts("a") != 2 {
			t.Errorf("signals %v and %v, %d starts", got, second.sawSignals(), f.starts("a"))
		}
		if state, _ := f.look(); state != Ready {
			t.Errorf("state %q after the restart", state)
		}
		second.die("killed") // an ordinary death, with an ordinary next life
		time.Sleep(time.Second)
		if count, number := f.last("a").lastLink(); f.starts("a") != 3 || count != 1 ||
			number != 3 {
			t.Errorf("%d starts, link %d", f.starts("a"), number)
		}
	})
}

func TestLoopRestartThatFails(t *testing.T) {
	for name, test := range map[string]struct {
		fail func(f *fakeLoop, second *fakeLife)
		want string
	}{
		"dies": {func(_ *fakeLoop, l *fakeLife) { l.die("killed") },
			"its process ended: killed"},
		"is not ready": {func(*fakeLoop, *fakeLife) {}, "in time"},
		"does not serve": {func(_ *fakeLoop, l *fakeLife) {
			l.say(eventReport, "")
			l.say(eventReady, "")
		}, "in time"},
		"cannot be": {func(_ *fakeLoop, l *fakeLife) { l.say(eventFailed, "no file") }, "no file"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startLoop(t, &fakeLauncher{}, false)
				defer f.end(t)
				f.ready(t)
				first := f.last("a")
				done := f.restart("a")
				second := f.last("a")
				test.fail(f, second)
				if err := <-done; err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("restart = %v, want %q", err, test.want)
				}
				time.Sleep(time.Minute)
				if !second.isDead() || len(first.sawSignals()) != 0 || f.starts("a") != 2 {
					t.Errorf("the second life is dead: %v; the first got %v; %d starts",
						second.isDead(), first.sawSignals(), f.starts("a"))
				}
				if state, _ := f.look(); state != Ready {
					t.Errorf("state %q, want ready", state)
				}
			})
		})
	}
}

func TestLoopRestartRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startLoop(t, &fakeLauncher{}, true)
		defer f.end(t)
		for part, want := range map[string]string{
			"x": "no part has that name", "b": "does not run"} {
			if err := <-f.restart(part); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("restart of %s: %v, want %q", part, err, want)
			}
		}
	})
}

// frontServes has the front's newest life say that it is ready and that its link to each back end
// serves.
func (f *fakeLoop) frontServes() {
	front := f.last("front")
	front.say(eventReport, "")
	front.say(eventReady, "")
	for _, back := range []string{"a", "b"} {
		_, number := f.last(back).lastLink()
		front.sayOfLink(eventLinkServes, back, number)
	}
}

func TestLoopRestartOfTheFront(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startLoop(t, &fakeLauncher{deaf: true}, false)
		f.ready(t)
		first, a := f.last("front"), f.last("a")
		first.sayOfLink(eventLinkServes, "b", 1)
		done := f.restart("front")
		second := f.last("front")
		if got := second.sawLinks(); !slices.Equal(got, []string{"a", "b"}) {
			t.Fatalf("the second front got %v", got)
		}
		second.say(eventReport, "")
		second.say(eventReady, "")
		second.sayOfLink(eventLinkServes, "b", 2)
		second.sayOfLink(eventLinkEnded, "a", 2) // and gets another
		time.Sleep(time.Second)
		if _, number := second.lastLink(); number != 3 || len(first.sawSignals()) != 0 {
			t.Errorf("link %d, the first got %v", number, first.sawSignals())
		}
		second.sayOfLink(eventLinkServes, "a", 3)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := first.sawSignals(); !slices.Equal(got, []os.Signal{syscall.SIGTERM}) {
			t.Errorf("the first got %v", got)
		}
		if state, _ := f.look(); state != Ready {
			t.Errorf("state %q of a", state)
		}
		first.sayOfLink(eventLinkEnded, "a", 1) // it drains
		a.sayOfLink(eventLinkEnded, "a", 1)
		first.say(eventStop, "a") // it has nothing to say any more
		time.Sleep(time.Second)
		if _, number := a.lastLink(); number != 3 || f.starts("a") != 1 {
			t.Errorf("link %d of a, %d starts", number, f.starts("a"))
		}
		// At the end the back ends outlive both.
		f.stop()
		synctest.Wait()
		second.die("drained")
		synctest.Wait()
		if got := a.sawSignals(); len(got) != 0 {
			t.Errorf("a got %v while a front drains", got)
		}
		first.die("drained")
		for _, back := range []string{"a", "b"} {
			synctest.Wait()
			f.last(back).die("as asked")
		}
		if err := <-f.done; err != nil {
			t.Error(err)
		}
	})
}

func TestLoopRestartOfTheFrontThatFails(t *testing.T) {
	for name, fail := range map[string]func(second *fakeLife){
		"dies":           func(l *fakeLife) { l.die("killed") },
		"is not ready":   func(*fakeLife) {},
		"has no links":   func(l *fakeLife) { l.say(eventReport, ""); l.say(eventReady, "") },
		"lacks one link": func(l *fakeLife) { l.sayOfLink(eventLinkServes, "b", 2) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startLoop(t, &fakeLauncher{}, false)
				defer f.end(t)
				f.ready(t)
				first := f.last("front")
				first.sayOfLink(eventLinkServes, "b", 1)
				done := f.restart("front")
				second := f.last("front")
				fail(second)
				if err := <-done; err == nil {
					t.Error("restart = nil")
				}
				time.Sleep(time.Minute)
				if !second.isDead() || len(first.sawSignals()) != 0 || f.starts("front") != 2 {
					t.Errorf("the second is dead: %v; the first got %v; %d starts",
						second.isDead(), first.sawSignals(), f.starts("front"))
				}
				if state, _ := f.look(); state != Ready {
					t.Errorf("state %q of a", state)
				}
				first.sayOfLink(eventLinkEnded, "a", 1) // its own link is still heard of
				time.Sleep(time.Second)
				if _, number := first.lastLink(); number != 3 {
					t.Errorf("link %d, want 3", number)
				}
			})
		})
	}
}

// TestLoopRestartsAtOnce has a back end die, and another restart, while the front restarts.
func TestLoopRestartsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startLoop(t, &fakeLauncher{}, false)
		defer f.end(t)
		f.ready(t)
		f.last("front").sayOfLink(eventLinkServes, "b", 1)
		first := f.last("front")
		ofFront, ofB := f.restart("front"), f.restart("b")
		second := f.last("front")
		f.last("a").die("killed")
		time.Sleep(time.Second)
		if count, number := f.last("a").lastLink(); count != 2 || number != 4 {
			t.Errorf("a has %d links, the last %d, want one to each front", count, number)
		}
		f.last("b").say(eventReport, "")
		f.last("b").say(eventReady, "")
		first.sayOfLink(eventLinkServes, "b", 3) // 2 is the older b's to the second front
		if err := <-ofB; err != nil {
			t.Error(err)
		}
		f.last("a").say(eventReport, "")
		f.last("a").say(eventReady, "")
		first.sayOfLink(eventLinkServes, "a", 3)
		f.frontServes()
		if err := <-ofFront; err != nil {
			t.Error(err)
		}
		if state, _ := f.look(); state != Ready || first.isDead() == second.isDead() {
			t.Errorf("state %q", state)
		}
	})
}

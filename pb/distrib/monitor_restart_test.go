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
	v := verb{part, readyTimeout, make(chan error, 1)}
	f.loop.verbs <- v
	synctest.Wait()
	return v.done
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
		for part, want := range map[string]string{"front": "the front",
			"x": "no part has that name", "b": "does not run"} {
			if err := <-f.restart(part); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("restart of %s: %v, want %q", part, err, want)
			}
		}
	})
}

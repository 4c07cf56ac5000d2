package distrib

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// hand hands a file over, and returns where the answer comes.
func (f *fakeLoop) hand(part, name string) chan error {
	done := make(chan error, 1)
	f.loop.verbs <- func() { f.loop.hand(part, handing{name, os.Stdin, done}) }
	synctest.Wait()
	return done
}

func (l *fakeLife) sawFiles() []string {
	l.launcher.mu.Lock()
	defer l.launcher.mu.Unlock()
	return slices.Clone(l.files)
}

// took is the part's word about a file.
func (l *fakeLife) took(name, why string) {
	l.tell(event{run: l, kind: eventTook, text: name, why: why})
	synctest.Wait()
}

// kept says whether the part's next life gets the file.
func (f *fakeLoop) kept(part, name string) bool {
	answer := make(chan bool, 1)
	f.loop.verbs <- func() {
		i := slices.IndexFunc(f.loop.slots, func(s *slot) bool { return s.part.Name == part })
		answer <- f.loop.slots[i].part.Files[name] != nil
	}
	return <-answer
}

func TestLoopHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startLoop(t, &fakeLauncher{}, true)
		defer f.end(t)
		front := f.last("front")
		front.say(eventReady, "")
		one, two, again := f.hand("front", "one"), f.hand("front", "two"), f.hand("front", "one")
		if got := front.sawFiles(); !slices.Equal(got, []string{"one", "two", "one"}) {
			t.Errorf("the front got %v", got)
		}
		front.took("two", "")
		front.took("one", "another of its name came")
		front.took("three", "") // a lie
		if err := <-two; err != nil || !f.kept("front", "two") {
			t.Errorf("two: %v", err)
		}
		if err := <-one; err == nil || f.kept("front", "one") ||
			!strings.HasSuffix(err.Error(), "another of its name came") {
			t.Errorf("one: %v", err)
		}
		front.die("killed")
		if err := <-again; !errors.Is(err, errPartEnded) || f.kept("front", "one") {
			t.Errorf("one again: %v", err)
		}
		if err := <-f.hand("front", "three"); err != nil || !f.kept("front", "three") {
			t.Errorf("to a front that does not run: %v", err)
		}
		if err := <-f.hand("nobody", "one"); err == nil {
			t.Error("to nobody: no error")
		}
		for i := range maxHandovers {
			f.hand("b", strings.Repeat("x", i+1))
		}
		if err := <-f.hand("b", "one"); err == nil {
			t.Error("over the limit: no error")
		}
		if err := <-f.hand("b", "x"); err != nil {
			t.Errorf("in the place of one that is there: %v", err)
		}
	})
}

func TestLoopHandDuringARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startLoop(t, &fakeLauncher{}, false)
		defer f.end(t)
		f.ready(t)
		first, done := f.last("a"), f.hand("a", "one")
		f.restart("a")
		second := f.last("a")
		if got := second.sawFiles(); len(got) != 0 {
			t.Errorf("the second life got %v before the first has answered", got)
		}
		first.took("one", "")
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := second.sawFiles(); !slices.Equal(got, []string{"one"}) {
			t.Errorf("the second life got %v", got)
		}
		second.took("one", "no")
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's: the restart is given up
		if !f.kept("a", "one") || first.isDead() {
			t.Error("the first life's answer does not count")
		}
	})
}

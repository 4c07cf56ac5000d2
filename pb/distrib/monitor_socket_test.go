package distrib

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// answers sets what comes of connections from now on.
func (f *fakeLauncher) answers(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = err
}

func (f *fakeLauncher) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sockets
}

// A back end that is elsewhere is connected to until it is there, again when its link ends, and
// again for another front.
func TestLoopSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		launcher := &fakeLauncher{refused: errors.New("nobody listens")}
		f := startLoopOf(t, launcher, []*Part{{Name: "front"}, {Name: "a", Socket: "/run/a"}})
		defer f.end(t)
		time.Sleep(time.Minute)
		if n := f.connections(); n < 60 || n > 150 {
			t.Errorf("%d connections in a minute, want one a second or so", n)
		}
		if state, _ := f.look(); state != NoLink {
			t.Errorf("while nobody listens it is %q", state)
		}
		f.answers(nil)
		time.Sleep(time.Second)
		front := f.last("front")
		if got := front.sawLinks(); !slices.Equal(got, []string{"a"}) {
			t.Fatalf("the front got %v", got)
		}
		_, number := front.lastLink()
		front.say(eventReport, "")
		front.say(eventReady, "") // one that never was ends its monitor
		front.sayOfLink(eventLinkServes, "a", number)
		synctest.Wait()
		if state, _ := f.look(); state != Ready {
			t.Errorf("with its link it is %q", state)
		}
		front.sayOfLink(eventLinkEnded, "a", number)
		time.Sleep(time.Second)
		if got := front.sawLinks(); !slices.Equal(got, []string{"a", "a"}) {
			t.Errorf("when its link had ended the front got %v", got)
		}
		front.die("killed")
		time.Sleep(time.Second)
		if got := f.last("front").sawLinks(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("the next front got %v", got)
		}
		if f.starts("a") != 0 {
			t.Error("a process was started")
		}
		done := make(chan error, 1)
		f.loop.verbs <- func() { f.loop.restart("a", done) }
		if err := <-done; err == nil {
			t.Error("it was restarted")
		}
	})
}

func TestMonitorRefusesSocketsOfProcesses(t *testing.T) {
	ranChild.Store(true)
	for name, m := range map[string]*Monitor{
		"front":     {Front: Part{Socket: "/run/a"}, Backs: []Part{{Name: "a"}}},
		"program":   {Backs: []Part{{Name: "a", Socket: "/run/a", Program: "/bin/a"}}},
		"on demand": {Backs: []Part{{Name: "a", Socket: "/run/a", OnDemand: true}}},
		"list": {Backs: []Part{{Name: "a", Socket: "/run/a",
			Rights: Rights{Dial: []string{"a:1"}}}}},
		"relative": {Backs: []Part{{Name: "a", Socket: "run/a"}}},
	} {
		if err := m.Run(context.Background()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if (&Part{Socket: "/s"}).socketOwner() != uint32(os.Geteuid()) ||
		(&Part{Socket: "/s", UID: 7}).socketOwner() != 7 {
		t.Error("the owner of a socket")
	}
}

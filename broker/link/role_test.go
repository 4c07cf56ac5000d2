package link

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A world is what the role's model plays in: the state of a role, as plain data, and how far each
// actor has come.
type world struct {
	holder         int32
	taken          uint64
	kicked, dozing bool

	loop   int // its next step, see loopSteps
	rounds int // how often it will still offer the role
	last   uint64
	wanted bool
	now    uint64
	timer  bool // its timer runs

	callers [3]caller
}

// A caller makes one call. It reads for its answer or, if other is set, does not.
type caller struct {
	step     int
	other    bool
	gives    bool // it gives up while it reads, and its call has no answer yet
	asked    bool // its call has no answer
	answered bool
}

func (w *world) asked() (n int) {
	for _, c := range w.callers {
		if c.asked {
			n++
		}
	}
	return n
}

// on plays one step of a role whose state is w's.
func (w *world) on(f func(*role)) {
	var r role
	r.init()
	r.holder.Store(w.holder)
	r.taken.Store(w.taken)
	r.dozing.Store(w.dozing)
	if w.kicked {
		r.kick <- struct{}{}
	}
	f(&r)
	w.holder, w.taken, w.dozing, w.kicked = r.holder.Load(), r.taken.Load(),
		r.dozing.Load(), len(r.kick) > 0
}

// The steps of the loop: what vacate and nap do, cut wherever another goroutine may come between.
const (
	loopReads = iota
	loopOffered
	loopSleeps
	loopWoken
	loopDozes
	loopDozed
)

// loopSteps gives the worlds after each step that the loop may take in w.
func (w world) loopSteps() (next []world) {
	add := func(f func(*world)) {
		v := w
		f(&v)
		next = append(next, v)
	}
	switch w.loop {
	case loopReads:
		for i := range w.callers {
			if w.callers[i].asked { // its answer comes
				add(func(v *world) { v.callers[i].asked, v.callers[i].answered = false, true })
			}
		}
		if w.rounds > 0 {
			add(func(v *world) {
				v.rounds--
				v.on((*role).offer)
				v.loop = loopOffered
			})
		}
	case loopOffered:
		add(func(v *world) {
			v.on(func(r *role) {
				v.loop = loopReads
				if r.keepTo(v.asked()) {
					v.loop, v.last, v.timer = loopSleeps, r.taken.Load(), true
				}
			})
		})
	case loopSleeps:
		if w.kicked {
			add(func(v *world) { v.kicked, v.wanted, v.loop = false, true, loopWoken })
		}
		if w.timer {
			add(func(v *world) { v.wanted, v.loop = false, loopWoken })
		}
	case loopWoken:
		add(func(v *world) {
			v.on(func(r *role) {
				var mine bool
				v.now, mine = r.woken(v.wanted, v.last)
				switch {
				case mine:
					v.loop = loopReads
				case v.now == v.last:
					v.loop = loopDozes
				default:
					v.loop, v.last, v.timer = loopSleeps, v.now, true
				}
			})
		})
	case loopDozes:
		add(func(v *world) {
			v.on((*role).doze)
			v.loop = loopDozed
		})
	case loopDozed:
		add(func(v *world) {
			v.on(func(r *role) {
				v.loop, v.timer = loopSleeps, false
				if !r.mayDoze() {
					v.last, v.timer = v.now, true
				}
			})
		})
	}
	return next
}

// The steps of a caller: what Ask, ReadFor and leaveRole do.
const (
	callerAsks = iota
	callerTakes
	callerLooks
	callerReads
	callerLeaves
	callerLeft
	callerDone
)

// callerSteps gives the worlds after each step that caller i may take in w.
func (w world) callerSteps(i int) (next []world) {
	add := func(f func(*world, *caller)) {
		v := w
		f(&v, &v.callers[i])
		next = append(next, v)
	}
	switch w.callers[i].step {
	case callerAsks:
		add(func(_ *world, c *caller) { c.asked, c.step = true, callerTakes })
	case callerTakes:
		add(func(v *world, c *caller) {
			v.on(func(r *role) {
				c.step = callerDone
				if c.other {
					r.want()
				} else if r.take() {
					c.step = callerLooks
				}
			})
		})
	case callerLooks: // its answer may have come before the role was vacant
		add(func(_ *world, c *caller) {
			c.step = callerReads
			if c.answered {
				c.step = callerLeaves
			}
		})
	case callerReads:
		for j := range w.callers {
			if w.callers[j].asked {
				add(func(v *world, c *caller) {
					v.callers[j].asked, v.callers[j].answered = false, true
					if j == i {
						c.step = callerLeaves
					}
				})
			}
		}
		if w.callers[i].gives {
			add(func(_ *world, c *caller) { c.step = callerLeaves })
		}
	case callerLeaves:
		add(func(v *world, c *caller) {
			v.on((*role).leave)
			c.step = callerLeft
		})
	case callerLeft:
		add(func(v *world, c *caller) {
			v.on(func(r *role) { r.handOver(c.gives, v.asked()) })
			c.step = callerDone
		})
	}
	return next
}

// readers are how many read in w.
func (w *world) readers() (n int) {
	if w.loop == loopReads {
		n++
	}
	for _, c := range w.callers {
		if c.step >= callerLooks && c.step <= callerLeaves {
			n++
		}
	}
	return n
}

// TestRoleInEveryOrder plays the steps of a loop and three callers, which read or do not and may
// give up, in every order. At no time do two read; in no order does everybody stop reading, for the
// peer may say something; and no call without an answer waits for a timer while nobody reads.
//
// It fails if handOver does not look at dozing, or not at the calls; if mayDoze does not look at
// the role; if keepTo keeps to the offer whatever was asked; if want does nothing; and if take
// takes what is not vacant. A method of role is one step here, so it does not show that each is
// atomic; replace and the end of the connection are not in it.
func TestRoleInEveryOrder(t *testing.T) {
	worlds := 0
	for kinds := range 27 { // of each caller: reads, reads and gives up, does not read
		a, b, c := kinds%3, kinds/3%3, kinds/9
		if a > b || b > c {
			continue // they are alike in another order
		}
		first := world{rounds: 2}
		if testing.Short() || raceEnabled {
			first.rounds = 1
		}
		for i, k := range []int{a, b, c} {
			first.callers[i] = caller{gives: k == 1, other: k == 2}
		}
		from := map[world]world{first: first}
		for todo := []world{first}; len(todo) > 0; {
			w := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			next := w.loopSteps()
			for i := range w.callers {
				next = append(next, w.callerSteps(i)...)
			}
			switch {
			case w.readers() > 1:
				t.Fatalf("two read:%s", history(from, w))
			case len(next) == 0 && w.readers() == 0:
				t.Fatalf("nobody reads any more:%s", history(from, w))
			case w.asked() > 0 && w.readers() == 0 && w.onlyTime(next):
				t.Fatalf("a call without an answer waits for a timer:%s", history(from, w))
			}
			for _, v := range next {
				if _, seen := from[v]; !seen {
					from[v] = w
					todo = append(todo, v)
				}
			}
		}
		worlds += len(from)
	}
	t.Logf("%d worlds", worlds)
}

// onlyTime reports whether time alone leads from w to the worlds after it.
func (w *world) onlyTime(next []world) bool {
	return len(next) == 1 && w.loop == loopSleeps && w.timer && !w.kicked
}

// history is how w came about.
func history(from map[world]world, w world) string {
	var lines []string
	for ; from[w] != w; w = from[w] {
		lines = append(lines, fmt.Sprintf("\n%+v", w))
	}
	var b strings.Builder
	for _, line := range slices.Backward(lines) {
		b.WriteString(line)
	}
	return b.String()
}

package pb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A deferredNode is a Deferred in a random tree, and what the model knows of it.
type deferredNode struct {
	d       *Deferred[int]
	parents []int // none for a root
	kind    string
	calls   atomic.Int32
	stops   []context.CancelFunc // of the waiters

	// the model
	children []int
	fired    bool
	v        int
	err      error
	live     int
	waiting  int
	left     int // parents that have not fired
	called   int32
}

type deferredModel struct{ nodes []*deferredNode }

func (m *deferredModel) settle(i, v int, err error) bool {
	n := m.nodes[i]
	if n.fired {
		return false
	}
	n.fired, n.v, n.err = true, v, err
	for _, c := range n.children {
		switch m.nodes[c].kind {
		case "callback":
			if err != nil {
				m.settle(c, 0, err)
			} else {
				m.settle(c, v+1, nil)
			}
		case "errback":
			if err != nil {
				m.settle(c, 1000, nil)
			} else {
				m.settle(c, v, nil)
			}
		case "both", "timeout", "on":
			m.settle(c, v, err)
		case "gather", "first":
			m.gathered(c, v, err)
		}
	}
	return true
}

func (m *deferredModel) gathered(c, v int, err error) {
	n := m.nodes[c]
	n.left--
	early := (err != nil) == (n.kind == "gather")
	if early && m.settle(c, v, err) {
		m.leave(c, true)
	} else if n.left == 0 {
		m.settle(c, v, err)
	}
}

// leave takes c off its parents' counts and cancels those nobody wants then.
func (m *deferredModel) leave(c int, cancel bool) {
	for _, p := range m.nodes[c].parents {
		n := m.nodes[p]
		n.live--
		if cancel && !n.fired && n.live == 0 && n.waiting == 0 {
			m.cancel(p)
		}
	}
}

func (m *deferredModel) cancel(i int) {
	n := m.nodes[i]
	if n.fired {
		return
	}
	if len(n.parents) == 0 {
		n.called++
	}
	if m.settle(i, 0, ErrCancelled) {
		m.leave(i, true)
	}
}

// add makes a node of the given kind, in the model and for real.
func (m *deferredModel) add(kind string, parents ...int) {
	n := &deferredNode{kind: kind, parents: parents, left: len(parents)}
	id := len(m.nodes)
	m.nodes = append(m.nodes, n)
	var ds []*Deferred[int]
	for _, p := range parents {
		parent := m.nodes[p]
		ds = append(ds, parent.d)
		if !parent.fired {
			parent.live++
		}
		parent.children = append(parent.children, id)
	}
	switch kind {
	case "root":
		n.d = NewDeferred(func(*Deferred[int], error) { n.calls.Add(1) })
	case "callback":
		n.d = ds[0].AddCallback(func(v int) (int, error) { return v + 1, nil })
	case "errback":
		n.d = ds[0].AddErrback(func(error) (int, error) { return 1000, nil })
	case "both":
		n.d = ds[0].AddBoth(func(v int, err error) (int, error) { return v, err })
	case "timeout":
		n.d = ds[0].AddTimeout(time.Hour)
	case "on":
		n.d = ds[0].On(ExecutorFunc(func(f func()) { f() }))
	case "gather":
		n.d = Then(Gather(ds...), func(vs []int) (int, error) { return vs[len(vs)-1], nil })
	case "first":
		n.d = First(ds...)
	}
	for _, p := range parents {
		if parent := m.nodes[p]; parent.fired {
			// As if the parent fired now, for this child alone.
			children := parent.children
			parent.children, parent.fired = []int{id}, false
			v, err := parent.v, parent.err
			m.settle(p, v, err)
			parent.children = children
		}
	}
}

// Any order of adding, cancelling, firing and waiting ends as the model says. With
// Gather and First in the tree two errors may race for one Deferred, so there
// only whether it has fired and whether its canceller was called are compared.
func TestDeferredCancelModel(t *testing.T) {
	kinds := []string{"callback", "errback", "both", "timeout", "on", "callback", "gather", "first"}
	play := func(t *testing.T, seed uint64, joins bool) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := &deferredModel{}
		usable := kinds[:6]
		if joins {
			usable = kinds
		}
		var log []string
		for range 60 {
			i := 0
			if len(m.nodes) > 0 {
				i = r.IntN(len(m.nodes))
			}
			op := r.IntN(12)
			log = append(log, fmt.Sprint(op, "@", i))
			switch {
			case len(m.nodes) == 0 || op == 0:
				m.add("root")
			case op < 6:
				kind := usable[r.IntN(len(usable))]
				parents := []int{i}
				if kind == "gather" || kind == "first" {
					parents = append(parents, r.IntN(len(m.nodes)))
				}
				m.add(kind, parents...)
			case op < 9:
				m.nodes[i].d.Cancel()
				m.cancel(i)
			case op == 9:
				n := m.nodes[i]
				if n.kind == "gather" {
					continue // two Deferreds for one node: the model knows only the outer
				}
				got := n.d.Callback(int(seed))
				if got == n.fired {
					t.Fatalf("seed %d: Callback of %d = %v, it had fired: %v", seed,
						i, got, n.fired)
				}
				if got {
					m.leave(i, false)
					m.settle(i, int(seed), nil)
				}
			case op == 10:
				n := m.nodes[i]
				ctx, stop := context.WithCancel(t.Context())
				n.stops = append(n.stops, stop)
				n.waiting++
				go func() { _, _ = n.d.Wait(ctx) }()
			default:
				n := m.nodes[i]
				for _, stop := range n.stops {
					stop()
				}
				n.stops, n.waiting = nil, 0
			}
			synctest.Wait()
			for i, n := range m.nodes {
				v, err, ok := n.d.Result()
				if ok != n.fired || n.calls.Load() != n.called {
					t.Fatalf("seed %d, after %v: node %d (%s of %v) fired %v, canceller called "+
						"%d times, want %v, %d",
						seed, log, i, n.kind, n.parents, ok, n.calls.Load(), n.fired, n.called)
				}
				if !joins && (v != n.v || !errors.Is(err, n.err)) {
					t.Fatalf("seed %d, after %v: node %d (%s of %v) = %v, %v, want %v, %v",
						seed, log, i, n.kind, n.parents, v, err, n.v, n.err)
				}
			}
		}
		for _, n := range m.nodes {
			for _, stop := range n.stops {
				stop()
			}
			n.d.Cancel()
		}
	}
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) { play(t, seed, seed%2 == 1) })
	}
}

package pb

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestSerialOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l serialLock
		var order []string
		first, err := l.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		first.pause()
		second, err := l.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var done sync.WaitGroup
		done.Go(func() { // a new call, earlier than first's return
			h, err := l.enter(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			order = append(order, "new")
			h.leave()
		})
		synctest.Wait()
		for range 2 { // two goroutines of the first method, both waits over
			done.Go(first.resume)
		}
		synctest.Wait()
		order = append(order, "second")
		second.leave()
		synctest.Wait()
		order = append(order, "first")
		first.leave()
		first.leave()
		done.Wait()
		if got, want := order, [3]string{"second", "first", "new"}; len(got) != 3 ||
			[3]string(got) != want {
			t.Errorf("order = %v, want %v", got, want)
		}
		if l.busy || len(l.back) != 0 || len(l.queued) != 0 {
			t.Errorf("lock in the end: %+v, want free", &l)
		}
	})
}

func TestSerialEnterEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l serialLock
		h, err := l.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.enter(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("enter with an ended ctx = %v, want context.Canceled", err)
		}
		var over sync.WaitGroup
		h.pause()
		other, err := l.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		over.Go(h.resume) // a goroutine that outlives its method
		synctest.Wait()
		h.leave()
		over.Wait()
		other.leave()
		if l.busy || len(l.queued) != 0 || len(l.back) != 0 {
			t.Errorf("lock in the end: %+v, want free", &l)
		}
	})
}

func TestSerialExcludes(t *testing.T) {
	var l serialLock
	var inside, peak atomic.Int32
	var done sync.WaitGroup
	enter := func() { peak.Store(max(peak.Load(), inside.Add(1))) }
	for i := range uint64(8) {
		done.Go(func() {
			r := rand.New(rand.NewPCG(i, 1))
			for range 300 {
				ctx, cancel := context.WithCancel(t.Context())
				if r.IntN(4) == 0 {
					cancel()
				}
				h, err := l.enter(ctx)
				if err != nil {
					cancel()
					continue
				}
				enter()
				for range r.IntN(3) {
					inside.Add(-1)
					h.pause()
					h.resume()
					enter()
				}
				inside.Add(-1)
				h.leave()
				cancel()
			}
		})
	}
	done.Wait()
	if peak.Load() != 1 || l.busy {
		t.Errorf("at most %d at once, busy %v, want 1 and false", peak.Load(), l.busy)
	}
}

// Connections take turns, with new calls and with those that come back from a wait, whichever was
// first and has most.
func TestSerialTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l serialLock
		over := map[string]context.Context{}
		for _, name := range []string{"a", "b", "c"} {
			over[name] = context.WithValue(t.Context(), connKey{}, new(Conn))
		}
		var order []string
		var done sync.WaitGroup
		paused := make(chan struct{})
		call := func(name string, ctx context.Context, waits bool) {
			done.Go(func() { // ends with its turn
				h, err := l.enter(ctx)
				if err != nil {
					return
				}
				defer h.leave()
				if waits {
					h.pause()
					<-paused
					h.resume()
					name += " back"
				}
				order = append(order, name)
			})
			synctest.Wait()
		}
		for _, name := range []string{"a", "a", "a", "b", "c"} {
			call(name, over[name], true)
		}
		first, err := l.enter(over["a"])
		if err != nil {
			t.Fatal(err)
		}
		gone, cancel := context.WithCancel(over["b"])
		for _, name := range []string{"a", "a", "a", "a"} {
			call(name, over[name], false)
		}
		call("b that is gone", gone, false)
		for _, name := range []string{"b", "b", "c"} {
			call(name, over[name], false)
		}
		cancel()
		synctest.Wait()
		close(paused)
		synctest.Wait()
		first.leave()
		done.Wait()
		back := order[:min(5, len(order))]
		// the goroutines came back in any order: no line is before its turn
		for i, want := range []string{"b back", "c back"} {
			if j := slices.Index(back, want); j < 0 || j > 2 {
				t.Errorf("%d: %q is in place %d of %v, want one of the first three",
					i, want, j, back)
			}
		}
		if got, want := order[len(back):], []string{"a", "b", "c", "a",
			"b", "a", "a"}; !slices.Equal(got, want) {
			t.Errorf("order = %v, want %v", got, want)
		}
		if l.busy || len(l.back) != 0 || len(l.queued) != 0 {
			t.Errorf("lock in the end: %+v, want free", &l)
		}
	})
}

type surfaceSerial struct {
	Referenceable
	Concurrent
	Serial

	gate   *Deferred[int]
	inside atomic.Int32
}

func (s *surfaceSerial) RemoteStay(ctx context.Context) (int32, error) {
	n := s.inside.Add(1)
	defer s.inside.Add(-1)
	_, err := s.gate.Wait(context.WithoutCancel(withoutSerial(ctx)))
	return n, err
}

func (s *surfaceSerial) RemotePanic(context.Context) error { panic("x") }

func TestSerialMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &surfaceSerial{gate: new(Deferred[int])}
		x := export(s, &surroundings{})
		surfaceInvoke(t, x, surfaceIn(t), "Panic") // must not keep the lock
		var done sync.WaitGroup
		calls := []*surfaceIncoming{surfaceIn(t), surfaceIn(t), surfaceIn(t)}
		ctx, cancel := context.WithCancel(t.Context())
		calls[2].ctx = ctx
		for _, in := range calls {
			done.Go(func() { surfaceInvoke(t, x, in, "Stay") })
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		if n := s.inside.Load(); n != 1 {
			t.Errorf("%d methods inside, want 1", n)
		}
		s.gate.Callback(1)
		done.Wait()
		for i, want := range []string{"1", "1", "refused: context canceled"} {
			if got := calls[i].String(); got != want {
				t.Errorf("call %d = %s, want %s", i, got, want)
			}
		}
		if serialFrom(withSerial(t.Context(), &serialHold{})) == nil ||
			serialFrom(t.Context()) != nil {
			t.Error("serialFrom does not find what withSerial put")
		}
	})
}

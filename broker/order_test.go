package broker_test

import (
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"perspective/broker"
)

// orderCalls is how many calls a test of the order makes: PERSPECTIVE_ORDER_CALLS,
// or else usual.
func orderCalls(t *testing.T, usual int) int {
	t.Helper()
	text := os.Getenv("PERSPECTIVE_ORDER_CALLS")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("PERSPECTIVE_ORDER_CALLS=%q is no number of calls", text)
	}
	return n
}

// TestOrder: calls to one object over one connection begin in the order in
// which they were made, whatever their size and however their methods behave.
func TestOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		calls := 20_000
		if raceEnabled || testing.Short() || t.Name() == "TestOrder/pipe" {
			calls = 2_000
		}
		calls = orderCalls(t, calls)
		var next atomic.Int64
		var inversions, running atomic.Int64
		o := &methods{m: map[string]method{"next": func(in *broker.Incoming, args []any) {
			n := args[0].(int64)
			if next.Swap(n+1) != n {
				inversions.Add(1)
			}
			if running.Add(1) != 1 {
				inversions.Add(1)
			}
			if n%7 == 0 {
				runtime.Gosched()
			}
			running.Add(-1)
			if n%11 == 0 {
				in.EndTurn()
				runtime.Gosched()
			}
			if n%13 == 0 {
				go in.Return(value(n)) // ends with the answer
				return
			}
			in.Return(value(n))
		}}}
		cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: o})
		<-cb.Greeted()
		var wg sync.WaitGroup
		for i := range calls {
			size := 0
			switch {
			case i%500 == 3:
				size = 100<<10 + rand.IntN(200<<10)
			case i%20 == 1:
				size = rand.IntN(5000)
			}
			q := ask(i, make([]byte, size))
			h := &broker.Header{Export: 1, Method: "next", Flags: broker.FlagFinal, Call: &q.call}
			if i%5 == 2 {
				h.Flags, h.Call = broker.FlagOneway, nil
			}
			if err := cb.Ask(t.Context(), h, q); err != nil {
				t.Fatal(err)
			}
			if h.Call != nil {
				wg.Go(func() {
					if _, err := q.wait(t); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		settled(t, cb, sb)
		t.Logf("%d inversions in %d calls", inversions.Load(), calls)
		if n := inversions.Load(); n != 0 || next.Load() != int64(calls) {
			t.Errorf("%d of %d calls began out of order, %d began", n, calls, next.Load())
		}
	})
}

// TestPipelineOrder: calls on an answer run before those made on the object
// itself once the answer was there.
func TestPipelineOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		rounds := 200
		if raceEnabled {
			rounds = 50
		}
		var mu sync.Mutex
		var got []int64
		obj := &methods{m: map[string]method{"note": func(in *broker.Incoming, args []any) {
			mu.Lock()
			got = append(got, args[0].(int64))
			mu.Unlock()
			in.Return(value(nil))
		}}}
		cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: lender(obj)})
		for range rounds {
			got = got[:0]
			base := &refQuestion{question: *ask(), b: cb}
			if err := cb.Ask(t.Context(),
				&broker.Header{Export: 1, Method: "same", Call: &base.call}, base); err != nil {
				t.Fatal(err)
			}
			var qs []*question
			n := int64(0)
			note := func(h broker.Header) bool {
				q := ask(n)
				h.Method, h.Call = "note", &q.call
				if err := cb.Ask(t.Context(), &h, q); err != nil {
					return false
				}
				qs = append(qs, q)
				n++
				return true
			}
			//nolint:revive // the condition does it all
			for n < 20 && note(broker.Header{Answer: &base.call}) {
			}
			<-base.done
			for end := n + 5; n < end; {
				if !note(broker.Header{Handle: &base.is.Handle}) {
					t.Fatal("a call on a living reference was refused")
				}
			}
			for _, q := range qs {
				if _, err := q.wait(t); err != nil {
					t.Fatal(err)
				}
			}
			for i, x := range got {
				if x != int64(i) {
					t.Fatalf("call %d ran as number %d", x, i)
				}
			}
		}
		settled(t, cb, sb)
	})
}

// TestOneQueue: an object that is released and lent again while calls to it
// wait keeps its one queue.
func TestOneQueue(t *testing.T) {
	c, s := tcp(t)
	enter, leave := make(chan int64), make(chan struct{})
	var running atomic.Int64
	obj := &methods{m: map[string]method{"slow": func(in *broker.Incoming, args []any) {
		if running.Add(1) != 1 {
			t.Error("two turns at once")
		}
		enter <- args[0].(int64)
		<-leave
		running.Add(-1)
		in.Return(value(nil))
	}}}
	cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: lender(obj)})
	call := func(h *held, n int) *question {
		q := ask(n)
		if err := cb.Ask(t.Context(),
			&broker.Header{Handle: &h.Handle, Method: "slow", Call: &q.call}, q); err != nil {
			t.Fatal(err)
		}
		return q
	}
	first, err := askRef(t, cb, "same")
	if err != nil {
		t.Fatal(err)
	}
	qs := []*question{call(first, 0), call(first, 1)}
	if n := <-enter; n != 0 {
		t.Fatalf("call %d runs first", n)
	}
	cb.Release(&first.Handle)
	second, err := askRef(t, cb, "same")
	if err != nil || second == first {
		t.Fatal(second == first, err)
	}
	qs = append(qs, call(second, 2))
	if err := cb.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for want := range int64(2) {
		leave <- struct{}{}
		if n := <-enter; n != want+1 {
			t.Errorf("call %d runs as number %d", n, want+1)
		}
	}
	leave <- struct{}{}
	for _, q := range qs {
		if _, err := q.wait(t); err != nil {
			t.Error(err)
		}
	}
	cb.Release(&second.Handle)
	settled(t, cb, sb)
	if st := sb.Stats(); st.Exports != 0 {
		t.Errorf("%+v", st)
	}
}

// TestCollected: a reference that the collector takes goes back.
func TestCollected(t *testing.T) {
	c, s := tcp(t)
	cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: lender(echo())})
	for range 3 {
		if _, err := askRef(t, cb, "new"); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		runtime.GC()
		if err := cb.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if sb.Stats().Exports == 0 && cb.Stats().Imports == 0 {
			return
		}
	}
	t.Errorf("%+v, %+v", cb.Stats(), sb.Stats())
}

// TestReferencesStorm: counts stay right while references come, go and are
// collected at random.
func TestReferencesStorm(t *testing.T) {
	c, s := tcp(t)
	cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: lender(echo())})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 300 {
				h, err := askRef(t, cb, "same")
				if err != nil {
					t.Error(err)
					return
				}
				switch i % 3 {
				case 0:
					cb.Release(&h.Handle)
				case 1:
					if i%30 == 1 {
						runtime.GC()
					}
				}
			}
		})
	}
	wg.Wait()
	for range 100 {
		runtime.GC()
		if err := cb.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if sb.Stats().Exports == 0 && cb.Stats().Imports == 0 {
			return
		}
	}
	t.Errorf("%+v, %+v", cb.Stats(), sb.Stats())
}

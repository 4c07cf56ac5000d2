package pb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// deferredOutcome fires one of several inputs.
type deferredOutcome struct {
	input int
	v     int
	err   error
}

func TestDeferredJoins(t *testing.T) {
	errA, errB := errors.New("a"), errors.New("b")
	join := func(ds []*Deferred[int]) (gather, first, list *Deferred[string]) {
		gather = Then(Gather(ds...), func(v []int) (string, error) { return fmt.Sprint(v), nil })
		first = Then(First(ds...), func(v int) (string, error) { return fmt.Sprint(v), nil })
		list = Then(List(ds...),
			func(v []Result[int]) (string, error) { return fmt.Sprint(v), nil })
		return gather, first, list
	}
	type outcome struct {
		v    string
		errs []error
	}
	tests := []struct {
		name                string
		inputs              int
		order               []deferredOutcome
		gather, first, list outcome // with neither v nor errs: pending
	}{
		{"of none", 0, nil, outcome{v: "[]"}, outcome{errs: []error{errNoInputs}},
			outcome{v: "[]"}},
		{"all fire, out of order", 3, []deferredOutcome{{2, 30, nil}, {0, 10, nil}, {1, 20, nil}},
			outcome{v: "[10 20 30]"}, outcome{v: "30"},
			outcome{v: "[{10 <nil>} {20 <nil>} {30 <nil>}]"}},
		{"one fails", 2, []deferredOutcome{{1, 0, errA}, {0, 10, nil}},
			outcome{errs: []error{errA}}, outcome{v: "10"}, outcome{v: "[{10 <nil>} {0 a}]"}},
		{"all fail", 2, []deferredOutcome{{1, 0, errB}, {0, 0, errA}},
			outcome{errs: []error{errB}}, outcome{errs: []error{errA, errB}},
			outcome{v: "[{0 a} {0 b}]"}},
		{"one is left", 2, []deferredOutcome{{1, 5, nil}}, outcome{}, outcome{v: "5"}, outcome{}},
		{"one is left, one failed", 2, []deferredOutcome{{1, 0, errA}},
			outcome{errs: []error{errA}}, outcome{}, outcome{}},
	}
	check := func(t *testing.T, what string, d *Deferred[string], want outcome) {
		t.Helper()
		v, err, ok := d.Result()
		if wantFired := want.v != "" || want.errs != nil; ok != wantFired || v != want.v ||
			(err != nil) != (want.errs != nil) {
			t.Errorf("%s = %q, %v, fired %v, want %q, %v", what, v, err, ok, want.v, want.errs)
		}
		for _, e := range want.errs {
			if !errors.Is(err, e) {
				t.Errorf("%s error = %v, want %v", what, err, e)
			}
		}
	}
	for _, tt := range tests {
		for _, fired := range []string{"before", "after"} {
			t.Run(tt.name+", made "+fired, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ds := make([]*Deferred[int], tt.inputs)
					for i := range ds {
						ds[i] = &Deferred[int]{}
						ds[i].retain() // so that the joins do not cancel each other's inputs
					}
					var gather, first, list *Deferred[string]
					if fired == "before" {
						gather, first, list = join(ds)
					}
					for _, o := range tt.order {
						ds[o.input].fire(o.v, o.err)
					}
					if fired == "after" {
						gather, first, list = join(ds)
						if tt.name == "all fire, out of order" {
							tt.first.v = "10" // looked at in the order given
						}
						if tt.name == "all fail" {
							tt.gather.errs = []error{errA}
						}
					}
					synctest.Wait()
					check(t, "Gather", gather, tt.gather)
					check(t, "First", first, tt.first)
					check(t, "List", list, tt.list)
				})
			})
		}
	}
}

// The order of a slice given to Gather is its own: changing the slice afterwards
// changes nothing.
func TestDeferredGatherCopies(t *testing.T) {
	ds := []*Deferred[int]{{}, {}}
	all := Gather(ds...)
	a, b := ds[0], ds[1]
	ds[0], ds[1] = nil, nil
	b.Callback(2)
	a.Callback(1)
	if v, err := all.Wait(t.Context()); !slices.Equal(v, []int{1, 2}) || err != nil {
		t.Errorf("Gather = %v, %v, want [1 2]", v, err)
	}
}

// Inputs that all fire at once, for the race detector.
func TestDeferredJoinsConcurrently(t *testing.T) {
	for round := range 50 {
		ds := make([]*Deferred[int], 16)
		for i := range ds {
			ds[i] = &Deferred[int]{}
		}
		var firing sync.WaitGroup
		for i, d := range ds {
			firing.Go(func() {
				if i == round%32 {
					d.Errback(errDeferredTest)
					return
				}
				d.Callback(i)
			})
		}
		all, first, list := Gather(ds...), First(ds...), List(ds...)
		firing.Wait()
		_, err := all.Wait(t.Context())
		if failed := round%32 < len(ds); !failed && err != nil || failed && err == nil {
			t.Errorf("Gather error = %v, one failed: %v", err, failed)
		}
		if _, err := first.Wait(t.Context()); err != nil {
			t.Errorf("First error = %v", err)
		}
		if v, err := list.Wait(t.Context()); len(v) != len(ds) || err != nil {
			t.Errorf("List = %v, %v", v, err)
		}
	}
}

// A canceller may block: the goroutine that makes a Gather fail goes on.
func TestDeferredGatherCancelsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		slow := NewDeferred(func(*Deferred[int], error) { <-gate })
		quick := &Deferred[int]{}
		all := Gather(slow, quick)
		quick.Errback(errDeferredTest)
		if _, err := all.Wait(t.Context()); !errors.Is(err, errDeferredTest) {
			t.Errorf("Gather error = %v, want that of the input", err)
		}
		close(gate)
		synctest.Wait()
		deferredWant(t, "slow", slow, 0, ErrCancelled)
	})
}

func ExampleGather() {
	both := Gather(Succeed(3), Succeed(4))
	fmt.Println(both.Wait(context.Background()))
	// Output: [3 4] <nil>
}

func ExampleFirst() {
	mirror, origin := &Deferred[string]{}, &Deferred[string]{}
	page := First(mirror, origin)
	mirror.Errback(errors.New("mirror is away"))
	origin.Callback("<html>")
	fmt.Println(page.Wait(context.Background()))
	// Output: <html> <nil>
}

func ExampleList() {
	results, _ := List(Succeed("ok"), Fail[string](errors.New("lost"))).Wait(context.Background())
	for _, r := range results {
		fmt.Printf("%q %v\n", r.Value, r.Err)
	}
	// Output:
	// "ok" <nil>
	// "" lost
}

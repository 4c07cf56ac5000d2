package pb

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"perspective/internal/guard"
)

func TestDeferredCallbackKinds(t *testing.T) {
	double := func(v int) (int, error) { return 2 * v, nil }
	errOther := errors.New("other")
	tests := []struct {
		name    string
		add     func(*Deferred[int]) *Deferred[int]
		value   int   // the child of one that fires with 21
		err     error //
		failed  int   // the child of one that fails with errDeferredTest
		failErr error
	}{
		{"AddCallback", func(d *Deferred[int]) *Deferred[int] { return d.AddCallback(double) }, 42,
			nil, 0, errDeferredTest},
		{"AddCallback that fails", func(d *Deferred[int]) *Deferred[int] {
			return d.AddCallback(func(int) (int, error) { return 1, errOther })
		}, 0, errOther, 0, errDeferredTest},
		{"AddErrback", func(d *Deferred[int]) *Deferred[int] {
			return d.AddErrback(func(error) (int, error) { return -1, nil })
		}, 21, nil, -1, nil},
		{"AddErrback that fails", func(d *Deferred[int]) *Deferred[int] {
			return d.AddErrback(func(err error) (int, error) {
				return 0, errors.Join(err, errOther)
			})
		}, 21, nil, 0, errOther},
		{"AddBoth", func(d *Deferred[int]) *Deferred[int] {
			return d.AddBoth(func(v int, err error) (int, error) {
				if err != nil {
					return -2, nil
				}
				return v + 1, nil
			})
		}, 22, nil, -2, nil},
		{"Then", func(d *Deferred[int]) *Deferred[int] {
			text := Then(d, func(v int) (string, error) { return strconv.Itoa(v), nil })
			return Then(text, func(s string) (int, error) { return len(s), nil })
		}, 2, nil, 0, errDeferredTest},
		{"a chain", func(d *Deferred[int]) *Deferred[int] {
			return d.AddCallback(double).AddErrback(func(error) (int, error) {
				return 5, nil
			}).AddCallback(double)
		}, 84, nil, 10, nil},
	}
	for _, tt := range tests {
		for _, when := range []string{"before", "after"} {
			t.Run(tt.name+" added "+when, func(t *testing.T) {
				good, bad := &Deferred[int]{}, &Deferred[int]{}
				fire := func() { good.Callback(21); bad.Errback(errDeferredTest) }
				if when == "after" {
					fire()
				}
				fromGood, fromBad := tt.add(good), tt.add(bad)
				if when == "before" {
					fire()
				}
				<-fromGood.Done()
				<-fromBad.Done()
				deferredWant(t, "of a value", fromGood, tt.value, tt.err)
				deferredWant(t, "of an error", fromBad, tt.failed, tt.failErr)
			})
		}
	}
}

func TestDeferredCallbacksRunInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Deferred[int]{}
		var got []int // only callbacks of d touch it, so it needs no lock
		add := func(i int) {
			d.AddCallback(func(v int) (int, error) {
				runtime.Gosched()
				got = append(got, i)
				return v, nil
			}).AddCallback(func(v int) (int, error) { return v, nil })
		}
		for i := range 50 {
			add(i)
		}
		d.Callback(0)
		for i := range 50 {
			add(50 + i)
		}
		synctest.Wait()
		if len(got) != 100 || !slices.IsSorted(got) {
			t.Errorf("callbacks ran in the order %v", got)
		}
	})
}

// A callback may wait for whatever it likes, but for those behind it: it holds up neither the
// goroutine that fires nor another Deferred.
func TestDeferredCallbackMayBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, gate := &Deferred[int]{}, make(chan struct{})
		first := d.AddCallback(func(v int) (int, error) { return v, nil })
		// Behind first on its list is a child of first that waits for second.
		var second *Deferred[int]
		behind := first.AddCallback(func(v int) (int, error) { return second.Wait(t.Context()) })
		second = d.AddCallback(func(v int) (int, error) { <-gate; return v + 1, nil })
		d.Callback(1)
		synctest.Wait()
		deferredWant(t, "first", first, 1, nil)
		deferredPending(t, "second", second)
		close(gate)
		synctest.Wait()
		deferredWant(t, "second", second, 2, nil)
		deferredWant(t, "behind", behind, 2, nil)
	})
}

func TestDeferredCallbackRunsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Deferred[int]{}
		d.AddBoth(func(v int, err error) (int, error) { return v, err })
		gate := make(chan struct{})
		blocked := d.AddCallback(func(int) (int, error) { <-gate; return 0, nil })
		d.Callback(1) // would never return if it ran the callback
		late := d.AddCallback(func(v int) (int, error) { return v, nil })
		deferredPending(t, "late", late)
		close(gate)
		synctest.Wait()
		deferredWant(t, "blocked", blocked, 0, nil)
		deferredWant(t, "late", late, 1, nil)
	})
}

func TestDeferredCallbackPanics(t *testing.T) {
	ctx := context.Background()
	child := Succeed(1).AddCallback(func(int) (int, error) { panic(errDeferredTest) })
	_, err := child.Wait(ctx)
	p, ok := errors.AsType[*PanicError](err)
	if !ok || p.Value != any(errDeferredTest) || p.ID == "" ||
		!strings.Contains(string(p.Stack()), "then_test.go") {
		t.Errorf("error = %#v, want a PanicError with value, id and stack", err)
	}
	if errors.Is(err, errDeferredTest) {
		t.Error("a panic with an error counts as that error")
	}
	if want := "out of paper"; !strings.Contains(err.Error(), want) {
		t.Errorf("error = %q, want %q in it", err, want)
	}
	//nolint:errorlint // itself, bare
	if _, err := child.AddCallback(func(v int) (int, error) {
		return v, nil
	}).Wait(ctx); err != error(p) {
		t.Errorf("the child of the child got %v, want the same error", err)
	}
}

func TestDeferredCallbackEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Deferred[int]{}
		gone := d.AddCallback(func(int) (int, error) { runtime.Goexit(); return 0, nil })
		after := gone.AddErrback(func(error) (int, error) { return 7, nil })
		next := d.AddCallback(func(v int) (int, error) { return v, nil })
		d.Callback(3)
		synctest.Wait()
		deferredWant(t, "gone", gone, 0, guard.ErrGoexit)
		deferredWant(t, "after", after, 7, nil)
		deferredWant(t, "next", next, 3, nil)
	})
}

// A long chain neither overflows a stack nor takes a goroutine for each link.
func TestDeferredLongChain(t *testing.T) {
	links := 100_000
	if testing.Short() {
		links = 20_000
	}
	first := &Deferred[int]{}
	last := first
	for range links {
		last = last.AddCallback(func(v int) (int, error) { return v + 1, nil })
	}
	before := runtime.NumGoroutine()
	most := 0
	last = last.AddCallback(func(v int) (int, error) {
		most = runtime.NumGoroutine()
		return v, nil
	})
	first.Callback(0)
	if v, err := last.Wait(t.Context()); v != links || err != nil {
		t.Errorf("a chain of %d = %v, %v", links, v, err)
	}
	if most > before+10 {
		t.Errorf("%d goroutines at the end of the chain, %d before", most, before)
	}

	source := &deferredSource{}
	cancelled := &Deferred[int]{src: source}
	last = cancelled
	for range links {
		last = last.AddTimeout(1 << 40)
	}
	last.Cancel()
	deferredWant(t, "the first of a cancelled chain", cancelled, 0, ErrCancelled)
}

// What a derived Deferred was made from can be collected once it has fired.
func TestDeferredLetsGoOfItsParent(t *testing.T) {
	collected := make(chan struct{})
	child := func() *Deferred[int] {
		parent := &Deferred[*[1 << 16]byte]{}
		runtime.AddCleanup(parent, func(done chan struct{}) { close(done) }, collected)
		child := Then(parent, func(b *[1 << 16]byte) (int, error) { return len(b), nil })
		parent.Callback(new([1 << 16]byte))
		<-child.Done()
		return child
	}()
	for range 500 {
		runtime.GC()
		select {
		case <-collected:
			deferredWant(t, "child", child, 1<<16, nil)
			return
		default:
			runtime.Gosched()
		}
	}
	t.Error("the parent is kept")
}

func ExampleDeferred_AddCallback() {
	price := &Deferred[int]{}
	withTax := price.AddCallback(func(cents int) (int, error) { return cents * 120 / 100, nil })

	price.Callback(1000)
	fmt.Println(withTax.Wait(context.Background()))
	// Output: 1200 <nil>
}

func ExampleDeferred_AddErrback() {
	weather := Fail[string](errors.New("station is down"))
	report := weather.AddErrback(func(err error) (string, error) {
		return "unknown, " + err.Error(), nil
	})
	fmt.Println(report.Wait(context.Background()))
	// Output: unknown, station is down <nil>
}

func ExampleDeferred_AddBoth() {
	job := Succeed("printed")
	logged := job.AddBoth(func(what string, err error) (string, error) {
		fmt.Println("done:", what, err)
		return what, err
	})
	<-logged.Done()
	// Output: done: printed <nil>
}

func ExampleThen() {
	name := Succeed("Perspective")
	length := Then(name, func(s string) (int, error) { return len(s), nil })
	fmt.Println(length.Wait(context.Background()))
	// Output: 11 <nil>
}

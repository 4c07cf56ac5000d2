package pb

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func deferredSame(v int) (int, error) { return v, nil }

func TestDeferredCancelRoot(t *testing.T) {
	tests := []struct {
		name      string
		canceller func(*Deferred[int], error)
		want      int
		wantErr   error
	}{
		{"no canceller", nil, 0, ErrCancelled},
		{"one that does not fire", func(*Deferred[int], error) {}, 0, ErrCancelled},
		{"one that fires", func(d *Deferred[int], _ error) { d.Callback(8) }, 8, nil},
		{"one with its own error", func(d *Deferred[int], _ error) { d.Errback(errDeferredTest) },
			0, errDeferredTest},
		{"one that hands on the cause", func(d *Deferred[int], cause error) { d.Errback(cause) }, 0,
			context.Canceled},
		{"one that cancels again", func(d *Deferred[int], _ error) { d.Cancel() }, 0, ErrCancelled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			calls := 0
			d := &Deferred[int]{}
			if tt.canceller != nil {
				d = NewDeferred(func(d *Deferred[int], cause error) {
					calls++
					tt.canceller(d, cause)
				})
			}
			child := d.AddCallback(deferredSame)
			d.Cancel()
			d.Cancel()
			deferredWant(t, "d", d, tt.want, tt.wantErr)
			<-child.Done()
			deferredWant(t, "child", child, tt.want, tt.wantErr)
			if tt.canceller != nil && calls != 1 {
				t.Errorf("the canceller was called %d times, want 1", calls)
			}
		})
	}
	t.Run("one that panics", func(t *testing.T) {
		d := NewDeferred(func(*Deferred[int], error) { panic("no") })
		d.Cancel()
		if _, err, ok := d.Result(); !ok || !deferredIsPanic(err) {
			t.Errorf("error = %v, want a PanicError", err)
		}
	})
	t.Run("not called after firing", func(t *testing.T) {
		d := NewDeferred(func(*Deferred[int], error) { t.Error("the canceller was called") })
		d.Callback(1)
		d.Cancel()
	})
}

func TestDeferredErrors(t *testing.T) {
	var timeout error = timeoutError{after: time.Second}
	tests := []struct {
		err, is error
		text    string
	}{
		{ErrCancelled, context.Canceled, "pb: cancelled"},
		{timeout, context.DeadlineExceeded, "pb: no result within 1s"},
	}
	for _, tt := range tests {
		if !errors.Is(tt.err, tt.is) || tt.err.Error() != tt.text {
			t.Errorf("error = %q, want %q that is %v", tt.err, tt.text, tt.is)
		}
	}
}

// Which cancels reach the root; each case is played on a fresh root.
func TestDeferredCancelReachesParent(t *testing.T) {
	type tree struct {
		t    *testing.T
		root *Deferred[int]
	}
	tests := []struct {
		name string
		play func(tree)
		want bool
	}{
		{"the only child", func(x tree) { x.root.AddCallback(deferredSame).Cancel() }, true},
		{"a grandchild",
			func(x tree) { x.root.AddCallback(deferredSame).AddTimeout(time.Hour).Cancel() }, true},
		{"a child of On", func(x tree) {
			x.root.On(ExecutorFunc(func(f func()) { f() })).AddCallback(deferredSame).Cancel()
		}, true},
		{"one of two children", func(x tree) {
			x.root.AddCallback(deferredSame)
			x.root.AddCallback(deferredSame).Cancel()
		}, false},
		{"one of two children, twice", func(x tree) {
			x.root.AddCallback(deferredSame)
			child := x.root.AddCallback(deferredSame)
			child.Cancel()
			child.Cancel()
		}, false},
		{"both children", func(x tree) {
			a, b := x.root.AddCallback(deferredSame), x.root.AddTimeout(time.Hour)
			a.Cancel()
			b.Cancel()
		}, true},
		{"the last child, another was fired by hand", func(x tree) {
			a, b := x.root.AddCallback(deferredSame), x.root.AddTimeout(time.Hour)
			b.Callback(1)
			a.Cancel()
		}, true},
		{"a child fired by hand",
			func(x tree) { x.root.AddCallback(deferredSame).Callback(1) }, false},
		{"a child, somebody waits for the root", func(x tree) {
			go func() { _, _ = x.root.Wait(x.t.Context()) }()
			synctest.Wait()
			x.root.AddCallback(deferredSame).Cancel()
		}, false},
		{"a child, somebody has waited for the root", func(x tree) {
			ctx, cancel := context.WithTimeout(x.t.Context(), time.Second)
			defer cancel()
			_, _ = x.root.Wait(ctx)
			x.root.AddCallback(deferredSame).Cancel()
		}, true},
		{"a child, somebody waits for the child", func(x tree) {
			child := x.root.AddCallback(deferredSame)
			go func() { _, _ = child.Wait(x.t.Context()) }()
			synctest.Wait()
			child.Cancel()
		}, true},
		{"a child, retained otherwise", func(x tree) {
			x.root.retain()
			x.root.AddCallback(deferredSame).Cancel()
		}, false},
		{"the last retain", func(x tree) {
			x.root.retain()
			x.root.AddCallback(deferredSame).Cancel()
			x.root.cancelCall(ErrCancelled)
		}, true},
		{"a timeout", func(x tree) {
			x.root.AddTimeout(time.Second)
			<-time.NewTimer(2 * time.Second).C
		}, true},
		{"a timeout beside another child", func(x tree) {
			x.root.AddCallback(deferredSame)
			x.root.AddTimeout(time.Second)
			<-time.NewTimer(2 * time.Second).C
		}, false},
		{"Gather", func(x tree) { Gather(x.root, &Deferred[int]{}).Cancel() }, true},
		{"Gather with the same twice", func(x tree) { Gather(x.root, x.root).Cancel() }, true},
		{"Gather beside a child",
			func(x tree) { x.root.AddCallback(deferredSame); Gather(x.root).Cancel() }, false},
		{"Gather that failed", func(x tree) { Gather(Fail[int](errDeferredTest), x.root) }, true},
		{"Gather fired by hand", func(x tree) { Gather(x.root).Callback(nil) }, false},
		{"First", func(x tree) { First(x.root).Cancel() }, true},
		{"First that succeeded", func(x tree) { First(x.root, Succeed(1)) }, true},
		{"First with one that failed",
			func(x tree) { First(x.root, Fail[int](errDeferredTest)) }, false},
		{"List", func(x tree) { List(x.root).AddTimeout(time.Hour).Cancel() }, true},
		{"List with one that failed",
			func(x tree) { List(x.root, Fail[int](errDeferredTest)) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &deferredSource{}
				root := &Deferred[int]{src: src}
				tt.play(tree{t, root})
				synctest.Wait()
				want := int32(0)
				if tt.want {
					want = 1
					deferredWant(t, "root", root, 0, ErrCancelled)
				} else {
					deferredPending(t, "root", root)
				}
				if got := src.calls.Load(); got != want {
					t.Errorf("the source was cancelled %d times, want %d", got, want)
				}
				root.Cancel()
			})
		})
	}
}

func TestDeferredCancelledChild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Deferred[int]{}
		never := func(int) (int, error) { t.Error("called after Cancel"); return 0, nil }
		var kept []int
		children := []*Deferred[int]{
			d.AddCallback(never),
			d.AddErrback(func(error) (int, error) { return never(0) }),
			Then(d, never),
			d.AddBoth(func(v int, err error) (int, error) {
				kept = append(kept, v)
				return 9, nil
			}),
		}
		other := d.AddCallback(deferredSame)
		for i, child := range children {
			child.Cancel()
			deferredWant(t, fmt.Sprintf("child %d", i), child, 0, ErrCancelled)
		}
		d.Callback(5)
		synctest.Wait()
		deferredWant(t, "other", other, 5, nil)
		deferredWant(t, "AddBoth", children[3], 0, ErrCancelled)
		if len(kept) != 1 || kept[0] != 5 {
			t.Errorf("the function of AddBoth was called with %v, want once with 5", kept)
		}
	})
}

func TestDeferredAddTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &deferredSource{}
		slow := &Deferred[int]{src: src}
		quick := &Deferred[int]{}
		late, inTime := slow.AddTimeout(time.Second), quick.AddTimeout(time.Second)
		fired := Succeed(3).AddTimeout(0)
		deferredWant(t, "fired", fired, 3, nil)
		quick.Callback(1)
		deferredWant(t, "inTime", inTime, 1, nil)
		start := time.Now()
		_, err := late.Wait(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Wait() error = %v after %v, want a deadline after 1s", err, time.Since(start))
		}
		synctest.Wait()
		deferredWant(t, "slow", slow, 0, ErrCancelled)
		if cause, _ := src.cause.Load().(error); !errors.Is(cause, context.DeadlineExceeded) {
			t.Errorf("the source was told %v, want the timeout", cause)
		}
	})
}

// A Deferred that lives long does not keep what has left it.
func TestDeferredForgets(t *testing.T) {
	d := &Deferred[int]{}
	stays := d.AddCallback(deferredSame)
	for range 10_000 {
		d.AddTimeout(time.Hour).Cancel()
		d.AddCallback(deferredSame).Cancel()
		Gather(d).Cancel()
	}
	d.mu.Lock()
	steps, hooks := len(d.deps.steps), len(d.deps.hooks)
	d.mu.Unlock()
	if steps > 50 || hooks > 50 {
		t.Errorf("%d steps and %d hooks are kept, want few", steps, hooks)
	}
	d.Callback(2)
	if v, err := stays.Wait(t.Context()); v != 2 || err != nil {
		t.Errorf("the child that stays = %v, %v, want 2", v, err)
	}
}

func ExampleDeferred_Cancel() {
	answer := NewDeferred(func(_ *Deferred[int], cause error) {
		fmt.Println("stopping the work:", cause)
	})
	doubled := answer.AddCallback(func(v int) (int, error) { return 2 * v, nil })
	shown := answer.AddCallback(func(v int) (int, error) { return v, nil })

	doubled.Cancel()
	_, _, ok := answer.Result()
	fmt.Println("after the first:", ok)
	shown.Cancel()
	fmt.Println(answer.Wait(context.Background()))
	// Output:
	// after the first: false
	// stopping the work: pb: cancelled
	// 0 pb: cancelled
}

func ExampleDeferred_AddTimeout() {
	never := &Deferred[string]{}
	_, err := never.AddTimeout(time.Millisecond).Wait(context.Background())
	fmt.Println(err, errors.Is(err, context.DeadlineExceeded))
	// Output: pb: no result within 1ms true
}

package pb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// deferredLoop is an Executor that runs functions when it is told to.
type deferredLoop struct {
	mu    sync.Mutex
	queue []func()
}

func (l *deferredLoop) Execute(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, f)
}

// turn runs one function and reports whether there was one.
func (l *deferredLoop) turn() bool {
	l.mu.Lock()
	if len(l.queue) == 0 {
		l.mu.Unlock()
		return false
	}
	f := l.queue[0]
	l.queue = l.queue[1:]
	l.mu.Unlock()
	f()
	return true
}

func TestDeferredOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loop := &deferredLoop{}
		onLoop := false // only true while the loop runs a function
		d := &Deferred[int]{}
		check := func(v int) (int, error) {
			if !onLoop {
				t.Error("a callback ran elsewhere")
			}
			return v + 1, nil
		}
		on := d.On(loop)
		child := on.AddCallback(check)
		grandchild := Then(child, check).AddTimeout(1 << 40).AddCallback(check)
		second := on.AddCallback(check)
		back := child.On(nil).AddCallback(func(v int) (int, error) {
			return v, nil
		})
		d.Callback(1)
		synctest.Wait()
		deferredWant(t, "on", on, 1, nil) // no user's code was needed
		deferredPending(t, "child", child)

		for {
			onLoop = true
			ran := loop.turn()
			onLoop = false
			synctest.Wait()
			if !ran {
				break
			}
		}
		deferredWant(t, "child", child, 2, nil)
		deferredWant(t, "grandchild", grandchild, 4, nil)
		deferredWant(t, "second", second, 2, nil)
		deferredWant(t, "back", back, 2, nil)
	})
}

// An Executor with many threads still runs the callbacks of one Deferred one
// after another.
func TestDeferredOnManyThreads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inside atomic.Int32
		d := new(Deferred[int]).On(ExecutorFunc(func(f func()) { go f() }))
		for range 100 {
			d.AddCallback(func(v int) (int, error) {
				if inside.Add(1) != 1 {
					t.Error("two callbacks at once")
				}
				inside.Add(-1)
				return v, nil
			})
			if _, _, ok := d.Result(); !ok {
				go d.Callback(1)
			}
		}
		synctest.Wait()
	})
}

func TestDeferredExecutorNeverHoldsUpFiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		d := &Deferred[int]{}
		child := d.On(ExecutorFunc(func(f func()) { <-gate; f() })).AddCallback(func(
			v int,
		) (int, error) {
			return v, nil
		})
		d.Callback(1) // returns although Execute blocks
		synctest.Wait()
		deferredPending(t, "child", child)
		close(gate)
		synctest.Wait()
		deferredWant(t, "child", child, 1, nil)
	})
}

// deferredDropper is an Executor that drops what it is given.
type deferredDropper struct{ err error }

func (x deferredDropper) Execute(func())                              {}
func (x deferredDropper) executeOrDrop(_ func(), dropped func(error)) { dropped(x.err) }

func TestDeferredBadExecutors(t *testing.T) {
	tests := []struct {
		name   string
		on     Executor
		calls  int
		want   int
		failed func(error) bool
	}{
		{"drops and says so", deferredDropper{errDeferredTest}, 0, 0,
			func(err error) bool { return errors.Is(err, errDeferredTest) }},
		{"calls twice", ExecutorFunc(func(f func()) { f(); f() }), 1, 2, nil},
		{"panics before", ExecutorFunc(func(func()) { panic("no") }), 0, 0, deferredIsPanic},
		{"panics afterwards", ExecutorFunc(func(f func()) { f(); panic("no") }), 1, 2, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				child := Succeed(1).On(tt.on).AddCallback(func(v int) (int, error) {
					calls++
					return v + 1, nil
				})
				grandchild := child.AddCallback(func(v int) (int, error) { return v, nil })
				synctest.Wait()
				for _, d := range []*Deferred[int]{child, grandchild} {
					v, err, ok := d.Result()
					if !ok || v != tt.want || (err != nil) != (tt.failed != nil) ||
						err != nil && !tt.failed(err) {
						t.Errorf("result = %v, %v, %v, want %v", v, err, ok, tt.want)
					}
				}
				if calls != tt.calls {
					t.Errorf("called %d times, want %d", calls, tt.calls)
				}
			})
		})
	}
}

func deferredIsPanic(err error) bool {
	_, ok := errors.AsType[*PanicError](err)
	return ok
}

func ExampleDeferred_On() {
	loop := make(chan func(), 8) // the loop of a user interface
	answer := &Deferred[string]{}
	answer.On(ExecutorFunc(func(f func()) { loop <- f })).AddCallback(func(
		s string,
	) (string, error) {
		fmt.Println("drawing", s)
		return s, nil
	})
	answer.Callback("a circle")

	draw := <-loop
	draw()
	// Output: drawing a circle
}

func ExampleDeferred_Wait() {
	answer := &Deferred[int]{}
	go answer.Callback(42)
	fmt.Println(answer.Wait(context.Background()))
	// Output: 42 <nil>
}

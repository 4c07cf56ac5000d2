package pb

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

var errDeferredTest = errors.New("out of paper")

// deferredWant fails the test unless d has fired with want and wantErr.
func deferredWant[T comparable](t *testing.T, what string, d *Deferred[T], want T, wantErr error) {
	t.Helper()
	v, err, ok := d.Result()
	if !ok {
		t.Errorf("%s: has not fired, want %v, %v", what, want, wantErr)
		return
	}
	if v != want || !errors.Is(err, wantErr) {
		t.Errorf("%s = %v, %v, want %v, %v", what, v, err, want, wantErr)
	}
}

// deferredPending fails the test if d has fired.
func deferredPending[T any](t *testing.T, what string, d *Deferred[T]) {
	t.Helper()
	if v, err, ok := d.Result(); ok {
		t.Errorf("%s has fired with %v, %v, want it to be pending", what, v, err)
	}
}

func TestDeferredFiresOnce(t *testing.T) {
	tests := []struct {
		name    string
		made    func() *Deferred[int]
		want    int
		wantErr error
	}{
		{"zero value, Callback",
			func() *Deferred[int] { d := &Deferred[int]{}; d.Callback(1); return d }, 1, nil},
		{"zero value, Errback", func() *Deferred[int] {
			d := &Deferred[int]{}
			d.Errback(errDeferredTest)
			return d
		}, 0, errDeferredTest},
		{"NewDeferred of nil",
			func() *Deferred[int] { d := NewDeferred[int](nil); d.Callback(2); return d }, 2, nil},
		{"Succeed", func() *Deferred[int] { return Succeed(3) }, 3, nil},
		{"Fail", func() *Deferred[int] { return Fail[int](errDeferredTest) }, 0, errDeferredTest},
		{"Errback of nil", func() *Deferred[int] {
			d := &Deferred[int]{}
			d.Errback(nil)
			return d
		}, 0, errNilErrback},
		{"Fail of nil", func() *Deferred[int] { return Fail[int](nil) }, 0, errNilErrback},
		{"fire with both", func() *Deferred[int] {
			d := &Deferred[int]{}
			d.fire(7, errDeferredTest)
			return d
		}, 0, errDeferredTest},
		{"Cancel", func() *Deferred[int] { d := &Deferred[int]{}; d.Cancel(); return d },
			0, ErrCancelled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := tt.made()
			for range 2 {
				deferredWant(t, "Result", d, tt.want, tt.wantErr)
				v, err := d.Wait(t.Context())
				if v != tt.want || !errors.Is(err, tt.wantErr) {
					t.Errorf("Wait() = %v, %v, want %v, %v", v, err, tt.want, tt.wantErr)
				}
				<-d.Done()
				if d.Callback(99) || d.Errback(context.Canceled) || d.claim() {
					t.Error("a Deferred that had fired fired again")
				}
				d.Cancel()
			}
		})
	}
}

func TestDeferredWait(t *testing.T) {
	t.Run("wakes everybody", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := &Deferred[string]{}
			var woken sync.WaitGroup
			for range 10 {
				woken.Go(func() {
					if v, err := d.Wait(t.Context()); v != "tea" || err != nil {
						t.Errorf("Wait() = %q, %v, want tea", v, err)
					}
				})
			}
			synctest.Wait()
			d.Callback("tea")
			woken.Wait()
		})
	})
	t.Run("ctx ends only the waiting", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := &Deferred[string]{}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			for range 2 { // the second time ctx has ended before
				if _, err := d.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Wait() error = %v, want a deadline", err)
				}
			}
			d.Callback("late")
			if v, err := d.Wait(ctx); v != "late" || err != nil {
				t.Errorf("Wait() of a fired Deferred = %q, %v, want late", v, err)
			}
		})
	})
	t.Run("the error has the cause too", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errDeferredTest)
		_, err := new(Deferred[int]).Wait(ctx)
		if !errors.Is(err, context.Canceled) || !errors.Is(err, errDeferredTest) {
			t.Errorf("Wait() error = %v, want Canceled and its cause", err)
		}
	})
	t.Run("while the answer is arriving", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := &Deferred[int]{}
			if !d.claim() {
				t.Fatal("claim() = false on a pending Deferred")
			}
			*d.slot() = 5
			d.Cancel()
			if d.Callback(6) {
				t.Error("Callback() = true while the answer is arriving")
			}
			deferredPending(t, "d", d)
			go d.settle(nil)
			if v, err := d.Wait(t.Context()); v != 5 || err != nil {
				t.Errorf("Wait() = %v, %v, want 5", v, err)
			}
		})
	})
}

func TestDeferredDone(t *testing.T) {
	d := &Deferred[int]{}
	done := d.Done()
	select {
	case <-done:
		t.Fatal("Done is closed before the Deferred has fired")
	default:
	}
	d.Callback(1)
	<-done
	if d.Done() != done {
		t.Error("Done() gave two channels")
	}
	<-Succeed(1).Done()
}

// A callback sees its Deferred fired and its channel closed.
func TestDeferredFiresBeforeCallbacks(t *testing.T) {
	for range 200 {
		d := &Deferred[int]{}
		check := func(v int) (int, error) {
			if _, _, ok := d.Result(); !ok {
				t.Error("Result() not ok in a callback")
			}
			select {
			case <-d.Done():
			default:
				t.Error("Done() is open in a callback")
			}
			return v, nil
		}
		d.Done()
		var fired sync.WaitGroup
		first := d.AddCallback(check)
		fired.Go(func() { d.Callback(1) })
		second := d.AddCallback(check) // before, at or after the firing
		if _, err := Gather(first, second).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		fired.Wait()
	}
}

func TestDeferredPromise(t *testing.T) {
	src := &deferredSource{}
	root := &Deferred[int]{src: src}
	child := root.AddCallback(func(v int) (int, error) { return v + 1, nil })
	var p promise = root
	if got := p.valueType(); got != reflect.TypeFor[int]() {
		t.Errorf("valueType() = %v, want int", got)
	}
	if p.source() != source(src) {
		t.Errorf("source() = %v, want what was set", p.source())
	}
	if got := promise(child).source(); got != nil {
		t.Errorf("source() of a child = %v, want nil", got)
	}
	if _, _, ok := p.settled(); ok {
		t.Error("settled() ok before firing")
	}
	var calls []string
	p.onDone(func() { calls = append(calls, "before") })
	root.Callback(4)
	p.onDone(func() { calls = append(calls, "after") })
	if got := strings.Join(calls, " "); got != "before after" {
		t.Errorf("onDone called %q, want before and after, on this goroutine", got)
	}
	if v, err, ok := p.settled(); v != 4 || err != nil || !ok {
		t.Errorf("settled() = %v, %v, %v, want 4", v, err, ok)
	}
	if v, err := child.Wait(t.Context()); v != 5 || err != nil {
		t.Errorf("child = %v, %v, want 5", v, err)
	}
}

// deferredSource counts how often it is cancelled.
type deferredSource struct {
	calls atomic.Int32
	cause atomic.Value
}

func (s *deferredSource) cancelCall(cause error) {
	s.calls.Add(1)
	s.cause.Store(cause)
}

func (*deferredSource) origin() *unseenLog { return nil }

// Everything at once, for the race detector: exactly one of the goroutines that fire wins, and all
// see the same result.
func TestDeferredConcurrentUse(t *testing.T) {
	for range 100 {
		src := &deferredSource{}
		d := &Deferred[int]{src: src}
		var wins atomic.Int32
		var all sync.WaitGroup
		var results [4]int
		var errs [4]error
		for i := range 4 {
			all.Go(func() {
				if d.Callback(i + 1) {
					wins.Add(1)
				}
			})
			all.Go(func() { results[i], errs[i] = d.Wait(t.Context()) })
			all.Go(func() {
				child := d.AddCallback(func(v int) (int, error) {
					return -v, nil
				}).AddTimeout(time.Hour)
				if i == 0 {
					child.Cancel()
				}
				_, _ = Gather(child, d).Wait(t.Context())
			})
			all.Go(func() { <-d.Done() })
		}
		all.Go(d.Cancel)
		all.Wait()
		cancelled := errors.Is(errs[0], ErrCancelled)
		if n := wins.Load(); n > 1 || n == 0 && !cancelled {
			t.Fatalf("%d fired it, cancelled = %v", n, cancelled)
		}
		for i := range results {
			if results[i] != results[0] || !errors.Is(errs[i], errs[0]) {
				t.Fatalf("one saw %v, %v, another %v, %v", results[0], errs[0], results[i], errs[i])
			}
		}
		if n := src.calls.Load(); n > 1 {
			t.Fatalf("the source was cancelled %d times", n)
		}
	}
}

func TestDeferredIsSmall(t *testing.T) {
	if got, limit := unsafe.Sizeof(Deferred[[0]byte]{}), uintptr(80); got > limit {
		t.Errorf("a Deferred of nothing has %d bytes, want at most %d", got, limit)
	}
	ctx := context.Background()
	var keep *Deferred[int]
	tests := []struct {
		name  string
		limit float64
		f     func()
	}{
		{"Succeed and Wait", 1, func() { keep = Succeed(1); _, _ = keep.Wait(ctx) }},
		{"fire and Wait", 1,
			func() { keep = &Deferred[int]{}; keep.fire(1, nil); _, _ = keep.Wait(ctx) }},
		{"claim, slot, settle", 1,
			func() { keep = &Deferred[int]{}; keep.claim(); *keep.slot() = 1; keep.settle(nil) }},
		{"Cancel", 1, func() { keep = &Deferred[int]{}; keep.Cancel() }},
		{"Done", 2, func() { keep = &Deferred[int]{}; keep.Done(); keep.fire(1, nil) }},
	}
	for _, tt := range tests {
		if got := testing.AllocsPerRun(100, tt.f); got > tt.limit {
			t.Errorf("%s: %v allocations, want at most %v", tt.name, got, tt.limit)
		}
	}
}

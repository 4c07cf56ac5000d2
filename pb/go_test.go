package pb

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"

	"perspective/internal/guard"
)

func TestDeferredGo(t *testing.T) {
	tests := []struct {
		name   string
		f      func(context.Context) (int, error)
		want   int
		failed func(error) bool
	}{
		{"value", func(context.Context) (int, error) { return 6, nil }, 6, nil},
		{"error", func(context.Context) (int, error) { return 6, errDeferredTest }, 0,
			func(err error) bool { return errors.Is(err, errDeferredTest) }},
		{"panic", func(context.Context) (int, error) { panic("no") }, 0, deferredIsPanic},
		{"Goexit", func(context.Context) (int, error) { runtime.Goexit(); return 6, nil }, 0,
			func(err error) bool { return errors.Is(err, guard.ErrGoexit) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var inside context.Context
				d := Go(t.Context(),
					func(ctx context.Context) (int, error) { inside = ctx; return tt.f(ctx) })
				v, err := d.Wait(t.Context())
				if v != tt.want || (err != nil) != (tt.failed != nil) ||
					err != nil && !tt.failed(err) {
					t.Errorf("Go = %v, %v, want %v", v, err, tt.want)
				}
				synctest.Wait()
				if inside.Err() == nil {
					t.Error("the context of the function lives on")
				}
				deferredNoGo(t)
			})
		})
	}
}

// deferredNoGo fails the test if a function given to Go is still counted.
func deferredNoGo(t *testing.T) {
	t.Helper()
	goJobs.mu.Lock()
	defer goJobs.mu.Unlock()
	if goJobs.running != 0 || goJobs.waiting.Len() != 0 {
		t.Errorf("%d functions run and %d wait, want none", goJobs.running, goJobs.waiting.Len())
	}
}

func TestDeferredGoContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
		wait := func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return fmt.Sprint(ctx.Value(key{})), context.Cause(ctx)
		}
		ends := Go(ctx, wait)
		cancelled := Go(ctx, func(ctx context.Context) (string, error) {
			if _, err := wait(ctx); !errors.Is(err, ErrCancelled) {
				t.Errorf("the context ended with %v, want ErrCancelled", err)
			}
			return "dropped", nil
		})
		synctest.Wait()
		cancelled.Cancel()
		deferredWant(t, "cancelled", cancelled, "", ErrCancelled)
		cancel()
		synctest.Wait()
		deferredWant(t, "ends", ends, "", context.Canceled)

		begun := false
		refused := Go(ctx, func(context.Context) (int, error) { begun = true; return 1, nil })
		synctest.Wait()
		deferredWant(t, "refused", refused, 0, context.Canceled)
		if begun {
			t.Error("a function began after its context had ended")
		}
	})
}

func TestDeferredGoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, end := make(chan struct{}), make(chan struct{})
		for i := range GoLimit {
			Go(t.Context(), func(context.Context) (int, error) {
				if i == 0 { // the only one that makes room
					<-gate
				} else {
					<-end
				}
				return i, nil
			})
		}
		var order []int // with one place free they run one after another
		var behind []*Deferred[int]
		for i := range 6 {
			behind = append(behind, Go(t.Context(), func(context.Context) (int, error) {
				order = append(order, i)
				return i, nil
			}))
		}
		synctest.Wait()
		if len(order) != 0 {
			t.Fatalf("functions %v began beyond the limit", order)
		}
		behind[3].Cancel()
		goJobs.mu.Lock()
		if got := goJobs.waiting.Len(); got != 5 {
			t.Errorf("%d functions wait after one of 6 was cancelled", got)
		}
		goJobs.mu.Unlock()
		close(gate)
		synctest.Wait()
		if want := []int{0, 1, 2, 4, 5}; !slices.Equal(order, want) {
			t.Errorf("functions ran in the order %v, want %v", order, want)
		}
		deferredWant(t, "cancelled while it waited", behind[3], 0, ErrCancelled)
		deferredWant(t, "the last", behind[5], 5, nil)
		close(end)
		synctest.Wait()
		deferredNoGo(t)
	})
}

func ExampleGo() {
	sum := Go(context.Background(), func(ctx context.Context) (int, error) {
		total := 0 // something slow, such as a query
		for i := range 101 {
			total += i
		}
		return total, nil
	})
	fmt.Println(sum.Wait(context.Background()))
	// Output: 5050 <nil>
}

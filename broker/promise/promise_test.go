package promise_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"perspective/broker/promise"
)

type waiter struct {
	told func(*promise.Promise)
}

func (w *waiter) Settled(p *promise.Promise) { w.told(p) }

// Random programs against the rule: each is told once, in the order of Await, also one that comes
// while others are told, and none waits once the promise is settled.
func TestOrder(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var mu sync.Mutex
		var p promise.Promise
		var began, told []int
		n := 0
		var await func(depth int)
		await = func(depth int) { // mu is held
			id := n
			n++
			if !p.Await(&waiter{func(q *promise.Promise) {
				if q != &p || q.IsSettled() {
					t.Errorf("seed %d: told of another promise, or of a settled one", seed)
				}
				if v, failed := q.Result(); string(v) != "v" || failed {
					t.Errorf("seed %d: told %q, %v", seed, v, failed)
				}
				mu.Lock()
				defer mu.Unlock()
				told = append(told, id)
				if depth > 0 && r.IntN(2) == 0 {
					await(depth - 1)
				}
			}}) {
				t.Errorf("seed %d: Await of a promise that is not settled is false", seed)
			}
			began = append(began, id)
		}
		mu.Lock()
		for range r.IntN(5) {
			await(3)
		}
		p.Settle(&mu, []byte("v"), nil)
		if !p.IsSettled() || p.Await(&waiter{}) {
			t.Errorf("seed %d: somebody may wait for a settled promise", seed)
		}
		mu.Unlock()
		if !slices.Equal(began, told) {
			t.Fatalf("seed %d: told %v, began %v", seed, told, began)
		}
	}
}

func TestFailure(t *testing.T) {
	var mu sync.Mutex
	var p promise.Promise
	mu.Lock()
	defer mu.Unlock()
	p.Settle(&mu, nil, []byte("e"))
	if v, failed := p.Result(); string(v) != "e" || !failed || p.Size() != 1 {
		t.Errorf("Result() = %q, %v", v, failed)
	}
	p.Replace([]byte("full"))
	if v, failed := p.Result(); string(v) != "full" || !failed {
		t.Errorf("after Replace: %q, %v", v, failed)
	}
	defer func() {
		if recover() == nil {
			t.Error("a second Settle does not panic")
		}
	}()
	p.Settle(&mu, nil, nil)
}

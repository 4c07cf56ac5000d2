package pb_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"perspective/pb"
)

// Metrics has a counter and the time taken for each method and outcome, as a metrics library does.
type Metrics struct {
	mu    sync.Mutex
	count map[string]int
	took  map[string]time.Duration
}

// Observe is for Node.Observe.
func (m *Metrics) Observe(ctx context.Context, call *pb.CallInfo) (
	context.Context, func(pb.Outcome, error),
) {
	began := time.Now()
	return ctx, func(outcome pb.Outcome, err error) {
		way, method, failed := "in", call.Method, ""
		if call.Outgoing {
			way = "out"
		}
		if method == "" {
			method = "(none)" // one label for all names that peers make up
		}
		if err != nil {
			failed = ", failed"
		}
		label := fmt.Sprintf("%s %s: %v%s", way, method, outcome, failed)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.count[label]++
		m.took[label] += time.Since(began)
	}
}

// Metrics of all calls of a node, those that are refused too.
func ExampleObserver() {
	m := &Metrics{count: make(map[string]int), took: make(map[string]time.Duration)}
	conn, done := attach(&pb.Node{Root: &Board{}, Observe: m.Observe})
	ctx := context.Background()
	for range 2 {
		_, _ = pb.Do[any](ctx, conn.Root(), "post", "ann", "hello")
	}
	_, _ = pb.Do[any](ctx, conn.Root(), "post", "ann")
	_, _ = pb.Do[any](ctx, conn.Root(), "pots", "ann", "hello")
	done()

	for _, label := range slices.Sorted(maps.Keys(m.count)) {
		fmt.Println(m.count[label], label, m.took[label] > 0)
	}
	// Output:
	// 1 in (none): not executed, failed true
	// 2 in Post: executed true
	// 1 in Post: not executed, failed true
}

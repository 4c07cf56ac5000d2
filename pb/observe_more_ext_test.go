package pb_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// waiting has a method that waits until it is let go on.
type waiting struct {
	pb.Referenceable
	goOn chan struct{}
}

func (w *waiting) RemoteWait(context.Context) (int, error) {
	<-w.goOn
	return 1, nil
}

// TestObservedByHand: a call whose Deferred the program fires itself has no answer, whatever the
// program says, and perhaps was executed if it was sent.
func TestObservedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &waiting{goOn: make(chan struct{})}
		var heard []pb.Outcome
		node := &pb.Node{Logger: silent()}
		node.Observe = func(ctx context.Context, _ *pb.CallInfo) (
			context.Context, func(pb.Outcome, error),
		) {
			return ctx, func(o pb.Outcome, _ error) { heard = append(heard, o) }
		}
		c, _ := pbtest.Join(t, node, &pb.Node{Root: w, Logger: silent()})
		_, other := pb.Do[any](t.Context(), c.Root(), "noSuch") // an error that says: not executed
		heard = nil
		for _, fire := range []func(d *pb.Deferred[int]){
			func(d *pb.Deferred[int]) { d.Callback(9) },
			func(d *pb.Deferred[int]) { d.Errback(other) },
			func(d *pb.Deferred[int]) { d.Errback(errOdd) },
		} {
			d := pb.Call[int](t.Context(), c.Root(), "wait")
			synctest.Wait()
			fire(d)
			_, _ = d.Wait(t.Context())
		}
		close(w.goOn)
		synctest.Wait()
		if len(heard) != 3 || heard[0] != pb.MaybeExecuted || heard[1] != heard[0] ||
			heard[2] != heard[0] {
			t.Errorf("the Observer heard %v, want maybe executed of each", heard)
		}
	})
}

// TestObserverEndsItsGoroutine: what was to go with the call is put away.
func TestObserverEndsItsGoroutine(t *testing.T) {
	node := &pb.Node{Logger: silent()}
	node.Observe = func(context.Context, *pb.CallInfo) (context.Context, func(pb.Outcome, error)) {
		runtime.Goexit()
		return nil, nil
	}
	c, _ := pbtest.Join(t, node, &pb.Node{Root: &echoes{}, Logger: silent()})
	for name, call := range map[string]func(arg any){
		"Call": func(arg any) { _ = pb.Call[any](t.Context(), c.Root(), "echo", arg) },
		"Do":   func(arg any) { _, _ = pb.Do[any](t.Context(), c.Root(), "echo", arg) },
		"Send": func(arg any) { _ = c.Root().Send(t.Context(), "echo", arg) },
	} {
		s := newSource(false)
		var wg sync.WaitGroup
		wg.Go(func() { call(pb.Reader(s)) }) // ends in Observe
		wg.Wait()
		<-s.gone
		if n := s.closed.Load(); n != 1 {
			t.Errorf("%s: the source was closed %d times", name, n)
		}
	}
}

// TestObserversContext: the context that an Observer is given may be read on another goroutine at
// once.
func TestObserversContext(t *testing.T) {
	var readers sync.WaitGroup
	server := &pb.Node{Root: &echoes{}, Logger: silent()}
	server.Observe = func(ctx context.Context, _ *pb.CallInfo) (
		context.Context, func(pb.Outcome, error),
	) {
		readers.Go(func() { _ = pb.TraceFrom(ctx) }) // ends at once
		return ctx, nil
	}
	c, _ := pbtest.Join(t, &pb.Node{Logger: silent()}, server)
	for range 100 {
		if _, err := pb.Do[string](t.Context(), c.Root(), "echo", "hi"); err != nil {
			t.Fatal(err)
		}
	}
	readers.Wait()
}

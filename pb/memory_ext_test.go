package pb_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// hoard keeps what it is given until open is closed.
type hoard struct {
	pb.Referenceable
	pb.Concurrent
	open chan struct{}
}

func (h *hoard) RemoteHold(ctx context.Context, x []any) (int, error) {
	select {
	case <-h.open:
	case <-ctx.Done():
	}
	return len(x), ctx.Err()
}

func (h *hoard) RemoteEcho(_ context.Context, s string) (string, error) { return s, nil }

// keptInOrder is a hoard whose calls wait for each other, with their arguments decoded.
type keptInOrder struct {
	pb.Referenceable
	pb.Concurrent
	pb.Serial
	open chan struct{}
}

func (k *keptInOrder) RemoteHold(_ context.Context, x []any) (int, error) {
	<-k.open
	return len(x), nil
}

// many is 60 KB as they cross, and 1.2 MB in memory.
func many() []any {
	x := make([]any, 50_000)
	for i := range x {
		x[i] = int64(7)
	}
	return x
}

// While much of the memory is held few methods run, and all again afterwards.
func TestFewHandlersWhileMemoryIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const handlers = 16
		big, small := &hoard{open: make(chan struct{})}, &hoard{open: make(chan struct{})}
		roots := []any{big, small}
		node := &pb.Node{Memory: 16 << 20, RootFor: func(*pb.Conn) any {
			root := roots[0]
			roots = roots[1:]
			return root
		}}
		node.Limits.Handlers = handlers
		holder, _ := pbtest.Join(t, &pb.Node{}, node)
		var held []*pb.Deferred[int]
		for pb.MemoryOf(node).Used() <= 6<<20 {
			held = append(held, pb.Call[int](t.Context(), holder.Root(), "hold", many()))
			synctest.Wait()
		}
		c, s := pbtest.Join(t, &pb.Node{}, node)
		calls := make([]*pb.Deferred[int], 3*handlers)
		for i := range calls {
			calls[i] = pb.Call[int](t.Context(), c.Root(), "hold", []any{1})
		}
		synctest.Wait()
		if n := s.Stats().Handlers; n != handlers/8 {
			t.Errorf("%d methods run, want %d", n, handlers/8)
		}
		close(big.open)
		if _, err := pb.Gather(held...).Wait(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if used := pb.MemoryOf(node).Used(); used > 6<<20 {
			t.Errorf("%d bytes are held", used)
		}
		small.open <- struct{}{} // a call that leaves lets all in
		synctest.Wait()
		if n := s.Stats().Handlers; n != handlers {
			t.Errorf("%d methods run, want %d", n, handlers)
		}
		close(small.open)
		if _, err := pb.Gather(calls...).Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// What the arguments of calls take counts while the calls run, or wait behind a Serial object:
// a call that finds no room waits, and others' calls are answered meanwhile.
func TestMemoryOfCalls(t *testing.T) {
	const calls, size = 12, 16 << 20
	for _, name := range []string{"running", "serial"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				open := make(chan struct{})
				node := &pb.Node{Root: &hoard{open: open}, Memory: size}
				if name == "serial" {
					node.Root = &keptInOrder{open: open}
				}
				node.Limits.MemoryWait = time.Hour
				c, _ := pbtest.Join(t, &pb.Node{}, node)
				held := make([]*pb.Deferred[int], calls)
				for i := range held {
					held[i] = pb.Call[int](t.Context(), c.Root(), "hold", many())
				}
				synctest.Wait()
				if used := pb.MemoryOf(node).Used(); used > size/2 || used < size/4 {
					t.Errorf("%d calls hold %d bytes of %d", calls, used, size)
				}
				if name == "running" {
					other, _ := pbtest.Join(t, &pb.Node{}, node)
					begin := time.Now()
					if s, err := pb.Do[string](t.Context(), other.Root(),
						"echo", "hi"); s != "hi" || err != nil || time.Since(begin) > time.Second {
						t.Errorf("another's call: %q, %v after %v", s, err, time.Since(begin))
					}
				}
				close(open)
				for i, d := range held {
					if n, err := d.Wait(t.Context()); n != 50_000 || err != nil {
						t.Errorf("call %d: %d, %v", i, n, err)
					}
				}
				synctest.Wait()
				if used := pb.MemoryOf(node).Used(); used != 0 {
					t.Errorf("in the end %d bytes are used", used)
				}
			})
		})
	}
}

// A call that waits for room longer than Limits.MemoryWait fails, and was not executed.
func TestMemoryWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		node := &pb.Node{Root: &hoard{open: open}, Memory: 16 << 20}
		node.Limits.MemoryWait = 3 * time.Second
		c, s := pbtest.Join(t, &pb.Node{}, node)
		begin := time.Now()
		held := make([]*pb.Deferred[int], 12)
		for i := range held {
			held[i] = pb.Call[int](t.Context(), c.Root(), "hold", many())
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		close(open)
		ok, refused := 0, 0
		for _, d := range held {
			_, err := d.Wait(t.Context())
			switch {
			case err == nil:
				ok++
			case errors.Is(err, pb.ErrOverloaded) && pb.OutcomeOf(err) == pb.NotExecuted:
				refused++
			default:
				t.Errorf("a call that found no room: %v", err)
			}
		}
		if ok < 2 || refused < 2 || time.Since(begin) != 4*time.Second {
			t.Errorf("%d held, %d refused, after %v", ok, refused, time.Since(begin))
		}
		synctest.Wait()
		if used, n := pb.MemoryOf(node).Used(), s.Stats().Memory; used != 0 || n != 0 {
			t.Errorf("in the end %d bytes are used, %d by the connection", used, n)
		}
	})
}

// A connection that ends gives back what its calls held, also those that were about to come.
func TestMemoryOfEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &pb.Node{Root: &hoard{open: make(chan struct{})}, Memory: 16 << 20}
		c, _ := pbtest.Join(t, &pb.Node{}, node)
		for range 12 {
			pb.Call[int](t.Context(), c.Root(), "hold", many())
		}
		synctest.Wait()
		if pb.MemoryOf(node).Used() == 0 {
			t.Error("nothing is held")
		}
		_ = c.Close()
		synctest.Wait()
		if used := pb.MemoryOf(node).Used(); used != 0 {
			t.Errorf("in the end %d bytes are used", used)
		}
	})
}

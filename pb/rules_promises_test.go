package pb_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/pbtest"
)

// shelf holds boxes, which can be had by name, soon or later.
type shelf struct {
	pb.Referenceable
	pb.Concurrent
	open chan struct{} // lets go of Slow; made in the bubble that uses it

	mu    sync.Mutex
	boxes map[string]*box
}

// box holds a number and shelves of its own.
type box struct {
	pb.Referenceable
	n     int
	marks []int
}

func (s *shelf) RemoteBox(_ context.Context, name string) (*box, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.boxes == nil {
		s.boxes = make(map[string]*box)
	}
	if s.boxes[name] == nil {
		s.boxes[name] = &box{}
	}
	return s.boxes[name], nil
}

func (s *shelf) RemoteSlow(ctx context.Context, name string) (*box, error) {
	select {
	case <-s.open:
		return s.RemoteBox(ctx, name)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *shelf) RemoteSlowNumber(ctx context.Context) (int, error) {
	b, err := s.RemoteSlow(ctx, "n")
	if err != nil {
		return 0, err
	}
	b.n = 7
	return b.n, nil
}

func (s *shelf) RemoteSlowList(ctx context.Context) ([]int, error) {
	_, err := s.RemoteSlow(ctx, "n")
	return []int{1, 2, 3}, err
}

func (s *shelf) RemoteFail(context.Context) (*box, error) {
	return nil, fmt.Errorf("it is %w", errOdd)
}

func (b *box) RemoteSame(context.Context) (*box, error) { return b, nil }

func (b *box) RemoteMark(_ context.Context, n int) error {
	b.marks = append(b.marks, n)
	return nil
}

func (b *box) RemoteMarks(context.Context) ([]int, error) { return slices.Clone(b.marks), nil }

// taker says at once that it has begun, and then what it got.
type taker struct {
	pb.Referenceable
	pb.Concurrent
	began chan string
}

func (k *taker) RemoteDeferred(ctx context.Context, d *pb.Deferred[int]) (int, error) {
	k.began <- "Deferred"
	return d.Wait(ctx)
}

func (k *taker) RemoteValue(_ context.Context, n int) (int, error) {
	k.began <- "value"
	return n, nil
}

func (k *taker) RemoteList(_ context.Context, a, b []int) (int, error) {
	a[0] = 100
	return b[0], nil
}

func (k *taker) RemoteOwn(_ context.Context, b *box) (int, error) {
	k.began <- "object"
	return b.n, nil
}

// CallTo takes an object or the promise of one.
func (k *taker) RemoteCallTo(ctx context.Context, to pb.Target) (string, error) {
	k.began <- "Target"
	return pb.Do[string](ctx, to, "echo", "called")
}

// Calls on calls leave at once: a chain of any length takes one round trip.
func TestPipelineTakesOneRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := pbtest.NewWire()
		c, _ := wire.Join(t, &pb.Node{}, &pb.Node{Root: &shelf{}})
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		wire.Delay(time.Second)
		defer wire.Delay(0)
		ctx := t.Context()
		begin := time.Now()
		b := pb.Call[*pb.RemoteReference](ctx, c.Root(), "box", "a")
		for range 10 {
			b = pb.Call[*pb.RemoteReference](ctx, b, "same")
		}
		if _, err := pb.Do[any](ctx, b, "mark", 1); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("twelve calls, each on the one before, took %v over a line of 1 s, want 2s",
				took)
		}
	})
}

// Calls on a promise, and later ones on what it became, keep their order.
func TestPipelinedCallsKeepTheirOrder(t *testing.T) {
	s := &shelf{}
	bubble(t, s, func(t *testing.T, c *pb.Conn) {
		s.open = make(chan struct{})
		ctx := t.Context()
		promise := pb.Call[*pb.RemoteReference](ctx, c.Root(), "slow", "a")
		var want []int
		var all []*pb.Deferred[any]
		mark := func(on pb.Target) {
			want = append(want, len(want))
			all = append(all, pb.Call[any](ctx, on, "mark", len(want)-1))
		}
		for range 50 {
			mark(promise)
		}
		synctest.Wait()
		close(s.open)
		for range 50 {
			mark(promise) // the answer arrives among these
		}
		settled, err := promise.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			mark(settled)
			mark(promise)
		}
		if _, err := pb.Gather(all...).Wait(ctx); err != nil {
			t.Fatal(err)
		}
		if got, err := pb.Do[[]int](ctx, settled, "marks"); !slices.Equal(got, want) || err != nil {
			t.Errorf("started in the order %v, %v", got, err)
		}
	})
}

// The type of the parameter decides whether a method waits for a promise that
// is passed to it.
func TestPromiseAsArgument(t *testing.T) {
	tests := []struct {
		method string
		arg    func(ctx context.Context, root *pb.RemoteReference) any
		begins string // before the promise is kept; empty: it waits
		want   any
	}{
		{"deferred", slowNumber, "Deferred", int64(7)},
		{"value", slowNumber, "", int64(7)},
		{"own", slowBox, "", int64(0)},
	}
	for _, test := range tests {
		t.Run(test.method, func(t *testing.T) {
			s := &withTaker{}
			bubble(t, s, func(t *testing.T, c *pb.Conn) {
				s.open, s.taker.began = make(chan struct{}), make(chan string, 1)
				ctx := t.Context()
				k, err := pb.Do[*pb.RemoteReference](ctx, c.Root(), "taker")
				if err != nil {
					t.Fatal(err)
				}
				d := k.CallRemote(ctx, test.method, test.arg(ctx, c.Root()))
				synctest.Wait()
				begun := ""
				select {
				case begun = <-s.taker.began:
				default:
				}
				if begun != test.begins {
					t.Errorf("before the promise was kept the method that began was %q, want %q",
						begun, test.begins)
				}
				close(s.open)
				if got, err := d.Wait(ctx); got != test.want || err != nil {
					t.Errorf("%s = %v, %v, want %v", test.method, got, err, test.want)
				}
			})
		})
	}
}

// withTaker is a shelf with a taker beside it.
type withTaker struct {
	shelf
	taker taker
}

func (w *withTaker) RemoteTaker(context.Context) (*taker, error) { return &w.taker, nil }

func slowNumber(ctx context.Context, root *pb.RemoteReference) any {
	return pb.Call[int](ctx, root, "slowNumber")
}

func slowBox(ctx context.Context, root *pb.RemoteReference) any {
	return pb.Call[*pb.RemoteReference](ctx, root, "slow", "b")
}

// A value that two parameters take from one promise is decoded for each.
func TestPromiseIsDecodedAfreshForEachUse(t *testing.T) {
	s := &withTaker{}
	bubble(t, s, func(t *testing.T, c *pb.Conn) {
		s.open = make(chan struct{})
		ctx := t.Context()
		list := pb.Call[[]int](ctx, c.Root(), "slowList")
		k := pb.Call[*pb.RemoteReference](ctx, c.Root(), "taker")
		d := pb.Call[int](ctx, k, "list", list, list)
		close(s.open)
		if n, err := d.Wait(ctx); n != 1 || err != nil {
			t.Errorf("the second list begins with %v, %v, want 1: the first was changed", n, err)
		}
	})
}

// A promise of another connection is waited for on this side.
func TestPromiseOfAnotherConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := &shelf{open: make(chan struct{})}, &taker{began: make(chan string, 2)}
		slow, other := pbtest.Connect(t, s), pbtest.Connect(t, k)
		ctx := t.Context()
		n := pb.Call[int](ctx, slow, "slowNumber")
		got := pb.Call[int](ctx, other, "value", n)
		synctest.Wait()
		if len(k.began) > 0 {
			t.Error("called before the value was there")
		}
		close(s.open)
		if v, err := got.Wait(ctx); v != 7 || err != nil {
			t.Errorf("value = %v, %v", v, err)
		}
	})
}

// A Target parameter takes a reference and a promise of one that the caller
// has already, too.
func TestTargetParameter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &taker{began: make(chan string, 2)}
		root := pbtest.Connect(t, k)
		for name, arg := range map[string]any{"object": &echoes{},
			"kept promise": pb.Succeed(&echoes{})} {
			if s, err := pb.Do[string](t.Context(), root, "callTo", arg); s != "called" ||
				err != nil {
				t.Errorf("%s: callTo = %q, %v", name, s, err)
			}
			<-k.began
		}
	})
}

type echoes struct{ pb.Referenceable }

func (*echoes) RemoteEcho(_ context.Context, s string) (string, error) { return s, nil }

// What was called on a broken promise, or with it, fails with its error.
func TestBrokenPromise(t *testing.T) {
	s := &withTaker{}
	bubble(t, s, func(t *testing.T, c *pb.Conn) {
		s.taker.began = make(chan string, 9)
		ctx := t.Context()
		broken := func() *pb.Deferred[*pb.RemoteReference] {
			return pb.Call[*pb.RemoteReference](ctx, c.Root(), "fail")
		}
		k := pb.Call[*pb.RemoteReference](ctx, c.Root(), "taker")
		settled := broken()
		if _, err := settled.Wait(ctx); err == nil {
			t.Fatal("fail did not fail")
		}
		calls := map[string]*pb.Deferred[any]{
			"on it": pb.Call[any](ctx, broken(), "same"),
			"on a call on it": pb.Call[any](ctx,
				pb.Call[*pb.RemoteReference](ctx, broken(), "same"), "same"),
			"on it, later":      pb.Call[any](ctx, settled, "same"),
			"with it as object": pb.Call[any](ctx, k, "own", broken()),
			"with it as Deferred": pb.Call[any](ctx, k, "deferred",
				pb.Call[int](ctx, c.Root(), "fail")),
			"with it, later": pb.Call[any](ctx, k, "own", settled),
		}
		for name, d := range calls {
			if _, err := d.Wait(ctx); !errors.Is(err, errOdd) {
				t.Errorf("called %s: %v, want the promise's error", name, err)
			}
		}
	})
}

// A promise can be passed by itself only: inside of another value nobody would
// know when it is complete.
func TestPromiseInsideAValue(t *testing.T) {
	s := &withTaker{}
	bubble(t, s, func(t *testing.T, c *pb.Conn) {
		s.open = make(chan struct{})
		ctx := t.Context()
		n := pb.Call[int](ctx, c.Root(), "slowNumber")
		_, err := pb.Do[any](ctx, c.Root(), "box", []any{n})
		var typeError *jelly.TypeError
		if !errors.As(err, &typeError) || pb.OutcomeOf(err) != pb.NotExecuted {
			t.Errorf("an unfired promise in a list: %v, %v", err, pb.OutcomeOf(err))
		}
		close(s.open)
		if _, err := n.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	})
}

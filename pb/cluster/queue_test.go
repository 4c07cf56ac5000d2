package cluster_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"perspective/pb"
	"perspective/pb/adapt"
	"perspective/pb/cluster"
)

// diary keeps what was written into it, in order.
type diary struct {
	pb.Referenceable
	mu    sync.Mutex
	lines []int
}

func (d *diary) RemoteWrite(_ context.Context, line int) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
	return line, nil
}

func (d *diary) RemoteSelf(context.Context) (*diary, error) { return d, nil }

func (d *diary) read() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

// lonely is a cluster in which nobody provides anything.
//
//nolint:thelper // as start
func lonely(ctx context.Context, t *testing.T, set func(*cluster.Cluster)) part {
	return start(ctx, t, "", set)
}

// TestCallWithoutProvider shows that Call gives its Deferred at once, and that the calls keep their
// order when there is a provider: also those that come while the first are made, of any kind, and
// those on what a waiting call will give.
func TestCallWithoutProvider(t *testing.T) {
	ctx := scene(t)
	c := lonely(ctx, t, nil)
	s := c.Service("diary")
	const calls = 200
	var answers []*pb.Deferred[int]
	for i := range calls {
		if i%2 == 0 {
			answers = append(answers, pb.Call[int](ctx, s, "write", i))
		} else {
			answers = append(answers, adapt.Call1[int](ctx, s, "write", i))
		}
	}
	self := pb.Call[*pb.RemoteReference](ctx, s, "self")
	piped := pb.Call[int](ctx, self, "write", calls)
	for i, d := range answers {
		if _, err, fired := d.Result(); fired {
			t.Fatalf("call %d has fired without a provider: %v", i, err)
		}
	}
	d := &diary{}
	if err := c.Register("diary", d); err != nil {
		t.Fatal(err)
	}
	if _, err := answers[0].Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if last, err := pb.Do[int](ctx, s, "write", -1); err != nil || last != -1 {
		t.Fatalf("Do behind those that waited = %d, %v", last, err)
	}
	got := slices.DeleteFunc(d.read(), func(line int) bool { return line == calls })
	want := make([]int, calls, calls+1)
	for i := range want {
		want[i] = i
	}
	if want = append(want, -1); !slices.Equal(got, want) {
		t.Errorf("the calls arrived as %v", got)
	}
	for i, answer := range answers {
		if v, err := answer.Wait(ctx); v != i || err != nil {
			t.Errorf("call %d = %d, %v", i, v, err)
		}
	}
	if v, err := piped.Wait(ctx); v != calls || err != nil {
		t.Errorf("call on what a waiting call gave = %d, %v", v, err)
	}
}

// TestWaitingCallEnds shows each way in which a call that waits for a provider ends.
func TestWaitingCallEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(t *testing.T, c part, d *pb.Deferred[int], cancel func())
		want []error
	}{
		{"Cancel", func(_ *testing.T, _ part, d *pb.Deferred[int], _ func()) { d.Cancel() },
			[]error{cluster.ErrNoProvider, pb.ErrCancelled}},
		{"its ctx", func(_ *testing.T, _ part, _ *pb.Deferred[int], cancel func()) { cancel() },
			[]error{cluster.ErrNoProvider, context.Canceled}},
		{"Close", func(_ *testing.T, c part, _ *pb.Deferred[int], _ func()) { _ = c.Close() },
			[]error{cluster.ErrClosed}},
		//nolint:thelper // it is the test
		{"Shutdown", func(t *testing.T, c part, _ *pb.Deferred[int], _ func()) {
			if err := c.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}, []error{cluster.ErrClosed}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx := scene(t)
			c := lonely(ctx, t, nil)
			s := c.Service("diary")
			calling, cancel := context.WithCancel(ctx)
			defer cancel()
			d := pb.Call[int](calling, s, "write", 1)
			piped := pb.Call[int](ctx, d, "write", 2)
			test.end(t, c, d, cancel)
			_, err := d.Wait(ctx)
			for _, want := range test.want {
				if !errors.Is(err, want) {
					t.Errorf("call = %v, want %v in it", err, want)
				}
			}
			if pb.OutcomeOf(err) != pb.NotExecuted {
				t.Errorf("outcome %v of %v", pb.OutcomeOf(err), err)
			}
			if _, broken := piped.Wait(ctx); broken == nil || broken.Error() != err.Error() {
				t.Errorf("call on the call that ended = %v, want %v", broken, err)
			}
			if slices.Contains(test.want, cluster.ErrClosed) {
				return
			}
			// What ended is not made later, and holds up nothing.
			next := pb.Call[int](ctx, s, "write", 3)
			kept := &diary{}
			if err := c.Register("diary", kept); err != nil {
				t.Fatal(err)
			}
			if v, err := next.Wait(ctx); v != 3 || err != nil {
				t.Errorf("the next call = %d, %v", v, err)
			}
			if got := kept.read(); !slices.Equal(got, []int{3}) {
				t.Errorf("made: %v", got)
			}
		})
	}
}

// TestWaitingBound fills the room for calls that wait.
func TestWaitingBound(t *testing.T) {
	ctx := scene(t)
	c := lonely(ctx, t, func(c *cluster.Cluster) { c.Waiting = 3 })
	s, other := c.Service("diary"), c.Service("other")
	waiting := []*pb.Deferred[int]{
		pb.Call[int](ctx, s, "write", 1), pb.Call[int](ctx, other, "write", 2),
		pb.Call[int](ctx, s, "write", 3),
	}
	for _, over := range []pb.Target{s, other} {
		_, err := pb.Call[int](ctx, over, "write", 4).Wait(ctx)
		if !errors.Is(err, pb.ErrOverloaded) || pb.OutcomeOf(err) != pb.NotExecuted {
			t.Errorf("call over the bound = %v, %v", err, pb.OutcomeOf(err))
		}
	}
	waiting[1].Cancel()
	waiting[1] = pb.Call[int](ctx, s, "write", 5) // in its place
	if _, err := pb.Do[int](ctx, s, "write", 6); !errors.Is(err, pb.ErrOverloaded) {
		t.Errorf("Do over the bound = %v", err)
	}
	d := &diary{}
	if err := c.Register("diary", d); err != nil {
		t.Fatal(err)
	}
	for _, answer := range waiting {
		if _, err := answer.Wait(ctx); err != nil {
			t.Error(err)
		}
	}
	for i := range 10 { // there is room for all now
		if _, err := pb.Do[int](ctx, s, "write", i); err != nil {
			t.Fatal(err)
		}
	}
	if got := d.read(); !slices.Equal(got[:3], []int{1, 3, 5}) {
		t.Errorf("made: %v", got)
	}
}

// TestCallBeforeStart shows what calls fail with at both ends of a life.
func TestCallBeforeStart(t *testing.T) {
	ctx := scene(t)
	c := &cluster.Cluster{}
	if _, err := pb.Call[int](ctx, c.Service("who"),
		"write", 1).Wait(ctx); !errors.Is(err, cluster.ErrNotStarted) {
		t.Errorf("call before Start = %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := pb.Call[int](ctx, c.Service("who"),
		"write", 1).Wait(ctx); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("call after Close = %v", err)
	}
}

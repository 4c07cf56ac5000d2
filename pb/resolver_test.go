package pb_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// A laterTarget is a Resolver that finds its object when it is told to.
type laterTarget struct {
	mu    sync.Mutex
	waits []func(*pb.RemoteReference, error)
	given int // calls of giveUp
}

func (*laterTarget) JellyReference()               {}
func (*laterTarget) Resolved() *pb.RemoteReference { return nil }

func (*laterTarget) Reference(ctx context.Context) (*pb.RemoteReference, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

var errSought = errors.New("sought in vain")

func (l *laterTarget) Resolve(found func(*pb.RemoteReference, error)) (func(error) error, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits = append(l.waits, found)
	return func(cause error) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.given++
		return errors.Join(errSought, cause)
	}, nil
}

// found has all that wait made.
func (l *laterTarget) found(r *pb.RemoteReference, err error) {
	l.mu.Lock()
	waits := l.waits
	l.waits = nil
	l.mu.Unlock()
	for _, f := range waits {
		f(r, err)
	}
}

type laterRoot struct {
	pb.Referenceable
	got []int
}

func (r *laterRoot) RemoteAdd(_ context.Context, n int) (int, error) {
	r.got = append(r.got, n)
	return n, nil
}
func (r *laterRoot) RemoteSelf(context.Context) (*laterRoot, error) { return r, nil }
func (r *laterRoot) RemoteGot(context.Context) ([]int, error)       { return r.got, nil }

// TestResolver has calls wait for their target without their caller, and be made in their order.
func TestResolver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		root := pbtest.Connect(t, &laterRoot{})
		l := &laterTarget{}
		var calls []*pb.Deferred[int]
		for i := range 10 {
			calls = append(calls, pb.Call[int](ctx, l, "add", i))
		}
		through := pb.Call[int](ctx, pb.Succeed[pb.Target](l), "add", 10)
		self := pb.Call[*pb.RemoteReference](ctx, l, "self")
		piped := pb.Call[int](ctx, self, "add", 11)

		calls[3].Cancel()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, late := pb.Do[int](short, l, "add", 99)
		for what, err := range map[string]error{"cancelled": errOf(calls[3]), "timed out": late} {
			if !errors.Is(err, errSought) || pb.OutcomeOf(err) != pb.NotExecuted {
				t.Errorf("%s: %v, %v", what, err, pb.OutcomeOf(err))
			}
		}
		if !errors.Is(late, context.DeadlineExceeded) ||
			!errors.Is(errOf(calls[3]), pb.ErrCancelled) || l.given != 2 {
			t.Errorf("%v; %v; %d given up", late, errOf(calls[3]), l.given)
		}
		l.found(root, nil)
		for _, d := range append(calls, through, piped) {
			if d == calls[3] {
				continue
			}
			if _, err := d.Wait(ctx); err != nil {
				t.Error(err)
			}
		}
		got, err := pb.Do[[]int](ctx, root, "got")
		if want := []int{0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11}; err != nil ||
			!slices.Equal(got, want) {
			t.Errorf("made: %v, %v, want %v", got, err, want)
		}

		failed := pb.Call[int](ctx, l, "add", 1)
		l.found(nil, errSought)
		none := pb.Call[int](ctx, l, "add", 1)
		l.found(nil, nil)
		synctest.Wait()
		if err := errOf(failed); !errors.Is(err, errSought) || pb.OutcomeOf(err) != pb.NotExecuted {
			t.Errorf("not found: %v", err)
		}
		if err := errOf(none); err == nil || pb.OutcomeOf(err) != pb.NotExecuted {
			t.Errorf("found nothing: %v", err)
		}
	})
}

// errOf is the error of a Deferred that has fired.
func errOf(d *pb.Deferred[int]) error {
	_, err, _ := d.Result()
	return err
}

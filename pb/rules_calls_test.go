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

// clockwork tells what it sees of its ctx.
type clockwork struct {
	pb.Referenceable
	pb.Concurrent
	ended   chan error // gets why a method's ctx ended
	pending *pb.Deferred[string]
	ctx     context.Context // looked at after the method returned
}

// RemoteLeft is the time until the deadline, -1 if there is none.
func (w *clockwork) RemoteLeft(ctx context.Context) (time.Duration, error) {
	at, ok := ctx.Deadline()
	if !ok {
		return -1, nil
	}
	return time.Until(at), nil
}

// RemoteLeftThere asks another object with the same ctx.
func (w *clockwork) RemoteLeftThere(
	ctx context.Context, other *pb.RemoteReference,
) (time.Duration, error) {
	return pb.Do[time.Duration](ctx, other, "left")
}

func (w *clockwork) RemoteLinger(ctx context.Context) error {
	<-ctx.Done()
	w.ended <- ctx.Err()
	return ctx.Err()
}

func (w *clockwork) RemotePending(ctx context.Context) (*pb.Deferred[string], error) {
	w.ctx = ctx
	return w.pending, nil
}

func newClockwork() *clockwork {
	return &clockwork{ended: make(chan error, 1), pending: pb.NewDeferred[string](nil)}
}

// Deadlines travel as the time that is left, so that clocks need not agree: a
// slow line makes them later, never earlier.
func TestDeadlineTravels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := pbtest.NewWire()
		c, _ := wire.Join(t, &pb.Node{}, &pb.Node{Root: newClockwork()})
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		wire.Delay(3 * time.Second)
		defer wire.Delay(0)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if left, err := pb.Do[time.Duration](ctx, c.Root(), "left"); left != 20*time.Second ||
			err != nil {
			t.Errorf("left at the method = %v, %v, want 20s", left, err)
		}
		left, err := pb.Do[time.Duration](ctx, c.Root(), "leftThere", newClockwork())
		if left != 14*time.Second || err != nil { // 6 s went by with the call before
			t.Errorf("left two calls deep = %v, %v, want 14s", left, err)
		}
		if left, err := pb.Do[time.Duration](t.Context(), c.Root(), "left"); left != -1 ||
			err != nil {
			t.Errorf("left without a deadline = %v, %v", left, err)
		}
	})
}

// The method's own clock ends it, also when no word of the caller's arrives.
func TestDeadlineEndsTheMethod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newClockwork()
		wire := pbtest.NewWire()
		c, _ := wire.Join(t, &pb.Node{}, &pb.Node{Root: w})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		d := pb.Call[any](ctx, c.Root(), "linger")
		synctest.Wait()
		wire.Stall()
		if err := <-w.ended; !errors.Is(err, context.DeadlineExceeded) ||
			time.Since(begin) != 5*time.Second {
			t.Errorf("the method's ctx ended with %v after %v", err, time.Since(begin))
		}
		_, err := d.Wait(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) || pb.OutcomeOf(err) != pb.MaybeExecuted {
			t.Errorf("call ended with %v, %v", err, pb.OutcomeOf(err))
		}
		wire.Resume()
	})
}

func TestCancellingReachesTheMethod(t *testing.T) {
	ways := map[string]func(cancel func(), d *pb.Deferred[any]){
		"by the call's ctx":  func(cancel func(), _ *pb.Deferred[any]) { cancel() },
		"by Deferred.Cancel": func(_ func(), d *pb.Deferred[any]) { d.Cancel() },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newClockwork()
				root := pbtest.Connect(t, w)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				d := pb.Call[any](ctx, root, "linger")
				synctest.Wait()
				way(cancel, d)
				_, err := d.Wait(t.Context())
				if !errors.Is(err, context.Canceled) || pb.OutcomeOf(err) != pb.MaybeExecuted {
					t.Errorf("call ended with %v, %v", err, pb.OutcomeOf(err))
				}
				if err := <-w.ended; !errors.Is(err, context.Canceled) {
					t.Errorf("the method's ctx ended with %v", err)
				}
			})
		})
	}
}

// The ctx of Wait is about the waiting alone.
func TestWaitCtxOnlyEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newClockwork()
		d := pb.Call[string](t.Context(), pbtest.Connect(t, w), "pending")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := d.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Wait = %v", err)
		}
		synctest.Wait()
		w.pending.Callback("late")
		if s, err := d.Wait(t.Context()); s != "late" || err != nil {
			t.Errorf("the call gave %q, %v", s, err)
		}
	})
}

// A method's ctx lives until the Deferred that it returned fires.
func TestMethodCtxLivesUntilTheAnswer(t *testing.T) {
	t.Run("fired", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newClockwork()
			d := pb.Call[string](t.Context(), pbtest.Connect(t, w), "pending")
			time.Sleep(time.Hour)
			synctest.Wait()
			if err := w.ctx.Err(); err != nil {
				t.Fatalf("after an hour the method's ctx is over: %v", err)
			}
			w.pending.Callback("x")
			if _, err := d.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-w.ctx.Done()
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newClockwork()
			d := pb.Call[string](t.Context(), pbtest.Connect(t, w), "pending")
			synctest.Wait()
			d.Cancel()
			<-w.ctx.Done()
		})
	})
}

// meter counts what happens to it.
type meter struct {
	pb.Referenceable
	calls int
}

func (m *meter) RemoteCount(context.Context) error {
	m.calls++
	return errOdd
}

func (m *meter) RemoteBoom(context.Context) error {
	m.calls++
	panic("boom")
}

func (m *meter) RemoteCalls(context.Context) (int, error) { return m.calls, nil }

// A oneway call has no answer, whatever happens to it, and costs nothing when
// it is over.
func TestOneway(t *testing.T) {
	bubble(t, &meter{}, func(t *testing.T, c *pb.Conn) {
		ctx := t.Context()
		sends := []struct {
			method string
			args   []any
		}{
			{"count", nil},
			{"boom", nil},
			{"count", []any{"one too many"}},
			{"noSuchMethod", nil},
			{"count", nil},
		}
		for _, s := range sends {
			if err := c.Root().Send(ctx, s.method, s.args...); err != nil {
				t.Errorf("Send of %s = %v", s.method, err)
			}
		}
		if n, err := pb.Do[int](ctx, c.Root(), "calls"); n != 3 || err != nil {
			t.Errorf("the object was called %d times, %v, want 3", n, err)
		}
		synctest.Wait()
		if err := c.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		if s := c.Stats(); s.Asked != 0 {
			t.Errorf("%d oneway calls still take room", s.Asked)
		}
		if err := c.Root().Send(ctx, "count",
			make(chan int)); pb.OutcomeOf(err) != pb.NotExecuted || err == nil {
			t.Errorf("Send of what can not cross = %v", err)
		}
	})
}

// Each call gets one answer, cancelled or not: no number of calls given up takes
// anything away from those that come later.
func TestCancelledCallsAreAnswered(t *testing.T) {
	w := newClockwork()
	synctest.Test(t, func(t *testing.T) {
		w.ended = make(chan error, 2000)
		root := pbtest.Connect(t, w)
		for range 10 {
			ctx, cancel := context.WithCancel(t.Context())
			for range 200 {
				pb.Call[any](ctx, root, "linger")
			}
			synctest.Wait()
			cancel()
			synctest.Wait()
			if s := root.Conn().Stats(); s.Asked != 0 {
				t.Fatalf("%d calls have no answer", s.Asked)
			}
		}
	})
}

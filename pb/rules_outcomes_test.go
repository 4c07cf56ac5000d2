package pb_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/pbtest"
)

// fate has a method for each outcome that a call can have.
type fate struct {
	pb.Referenceable
	pb.Concurrent
}

func (*fate) RemoteTake(_ context.Context, n int) (int, error) { return n, nil }

func (*fate) RemoteFail(context.Context) error { return errOdd }

func (*fate) RemotePanic(context.Context) error { panic("at the method's disco") }

func (*fate) RemoteUnsendable(context.Context) (any, error) { return make(chan int), nil }

func (*fate) RemoteHang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (*fate) RemoteSwallow(context.Context, []byte) error { return nil }

// Every failed call says what became of it.
func TestOutcomes(t *testing.T) {
	type scene struct {
		ctx  context.Context
		c, s *pb.Conn
		wire *pbtest.Wire
	}
	do := func(s *scene, method string, args ...any) error {
		_, err := pb.Do[int](s.ctx, s.c.Root(), method, args...)
		return err
	}
	var typeError *jelly.TypeError
	var noMethod *pb.NoSuchMethodError
	var badArgument *pb.ArgumentError
	var failure *pb.Failure
	is := func(target error) func(error) bool {
		return func(err error) bool { return errors.Is(err, target) }
	}
	as := func(target any) func(error) bool {
		return func(err error) bool { return errors.As(err, target) }
	}

	tests := []struct {
		name string
		call func(t *testing.T, s *scene) error
		want pb.Outcome
		is   func(error) bool
	}{
		{"the ctx is over", func(t *testing.T, s *scene) error {
			ctx, cancel := context.WithCancel(s.ctx)
			cancel()
			_, err := pb.Do[int](ctx, s.c.Root(), "take", 1)
			return err
		}, pb.NotExecuted, is(context.Canceled)},
		{"an argument can not cross", func(_ *testing.T, s *scene) error {
			return do(s, "take", make(chan int))
		}, pb.NotExecuted, as(&typeError)},
		{"a nil target", func(_ *testing.T, s *scene) error {
			_, err := pb.Do[int](s.ctx, nil, "take", 1)
			return err
		}, pb.NotExecuted, nil},
		{"released", func(_ *testing.T, s *scene) error {
			s.c.Root().Release()
			return do(s, "take", 1)
		}, pb.NotExecuted, is(pb.ErrReleased)},
		{"no such method", func(_ *testing.T, s *scene) error { return do(s, "tale", 1) },
			pb.NotExecuted, as(&noMethod)},
		{"too many arguments", func(_ *testing.T, s *scene) error { return do(s, "take", 1, 2) },
			pb.NotExecuted, as(&badArgument)},
		{"an argument of a wrong type", func(_ *testing.T, s *scene) error {
			return do(s, "take", "one")
		}, pb.NotExecuted, as(&typeError)},
		{"refused on the way", func(_ *testing.T, s *scene) error { return do(s, "take", -1) },
			pb.NotExecuted, is(errOdd)},
		{"the method's error", func(_ *testing.T, s *scene) error { return do(s, "fail") },
			pb.Executed, is(errOdd)},
		{"a panic", func(_ *testing.T, s *scene) error { return do(s, "panic") },
			pb.Executed, as(&failure)},
		{"a result that can not cross", func(_ *testing.T, s *scene) error {
			return do(s, "unsendable")
		}, pb.Executed, as(&typeError)},
		{"a result of another type", func(_ *testing.T, s *scene) error {
			_, err := pb.Do[string](s.ctx, s.c.Root(), "take", 1)
			return err
		}, pb.Executed, as(&typeError)},
		{"cut before anything was written", func(_ *testing.T, s *scene) error {
			s.wire.Stall()
			// fills the line
			first := pb.Call[any](s.ctx, s.c.Root(), "swallow", make([]byte, 200<<10))
			synctest.Wait()
			d := pb.Call[int](s.ctx, s.c.Root(), "take", 1)
			synctest.Wait()
			s.wire.Cut()
			_, err := first.Wait(s.ctx)
			if pb.OutcomeOf(err) != pb.MaybeExecuted {
				return err
			}
			_, err = d.Wait(s.ctx)
			return err
		}, pb.NotExecuted, is(pb.ErrPeerClosed)},
		{"cut while it runs", func(_ *testing.T, s *scene) error {
			d := pb.Call[any](s.ctx, s.c.Root(), "hang")
			synctest.Wait()
			s.wire.Cut()
			_, err := d.Wait(s.ctx)
			return err
		}, pb.MaybeExecuted, is(pb.ErrPeerClosed)},
		{"closed by this side while it runs", func(_ *testing.T, s *scene) error {
			d := pb.Call[any](s.ctx, s.c.Root(), "hang")
			synctest.Wait()
			_ = s.c.Close()
			_, err := d.Wait(s.ctx)
			return err
		}, pb.MaybeExecuted, is(pb.ErrClosed)},
		{"closed before", func(_ *testing.T, s *scene) error {
			_ = s.c.Close()
			return do(s, "take", 1)
		}, pb.NotExecuted, is(pb.ErrClosed)},
		{"the peer is leaving", func(_ *testing.T, s *scene) error {
			hang := pb.Call[any](s.ctx, s.c.Root(), "hang")
			synctest.Wait()
			go s.s.Shutdown(s.ctx) //nolint:errcheck // ends with hang
			synctest.Wait()
			err := do(s, "take", 1)
			hang.Cancel()
			return err
		}, pb.NotExecuted, is(pb.ErrGoingAway)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				guard := func(
					ctx context.Context, call *pb.CallInfo, next func(context.Context) (any, error),
				) (any, error) {
					if call.Method == "Take" && call.Args()[0] == -1 {
						return nil, errOdd
					}
					return next(ctx)
				}
				s := &scene{ctx: t.Context(), wire: pbtest.NewWire()}
				s.c, s.s = s.wire.Join(t, &pb.Node{Logger: silent()},
					&pb.Node{Root: &fate{}, Around: guard, Logger: silent()})
				if err := s.c.Sync(s.ctx); err != nil {
					t.Fatal(err)
				}
				err := test.call(t, s)
				if err == nil || pb.OutcomeOf(err) != test.want {
					t.Fatalf("error %v, outcome %v, want %v", err, pb.OutcomeOf(err), test.want)
				}
				if test.is != nil && !test.is(err) {
					t.Errorf("error %v (%T) is not what was meant", err, errors.Unwrap(err))
				}
			})
		})
	}
}

// relay passes calls on, and their answers back.
type relay struct {
	pb.Referenceable
	to *pb.RemoteReference
}

func (r *relay) RemoteTake(ctx context.Context, n int) (int, error) {
	return pb.Do[int](ctx, r.to, "take", n)
}

func (r *relay) RemoteHang(ctx context.Context) error {
	_, err := pb.Do[any](ctx, r.to, "hang")
	return err
}

func (r *relay) RemoteFail(ctx context.Context) error {
	_, err := pb.Do[any](ctx, r.to, "fail")
	return err
}

// The outcome is that of the call that was made, not of one that its method
// made in turn: the near method did run.
func TestOutcomeIsOfTheNearCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := pbtest.NewWire()
		far, _ := wire.Join(t, &pb.Node{}, &pb.Node{Root: &fate{}})
		near := pbtest.Connect(t, &relay{to: far.Root()})
		ctx := t.Context()
		_, err := pb.Do[any](ctx, near, "fail")
		if !errors.Is(err, errOdd) || pb.OutcomeOf(err) != pb.Executed {
			t.Errorf("two connections away = %v, %v", err, pb.OutcomeOf(err))
		}
		d := pb.Call[any](ctx, near, "hang")
		synctest.Wait()
		wire.Cut()
		_, err = d.Wait(ctx)
		if !errors.Is(err, pb.ErrPeerClosed) || pb.OutcomeOf(err) != pb.Executed {
			t.Errorf("cut between the two others = %v, %v", err, pb.OutcomeOf(err))
		}
		_, err = pb.Do[any](ctx, near, "take", 1)
		if err == nil || pb.OutcomeOf(err) != pb.Executed {
			t.Errorf("never sent on by the method = %v, %v", err, pb.OutcomeOf(err))
		}
	})
}

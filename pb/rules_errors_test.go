package pb_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/pbtest"
)

// soldOut is an error type with fields.
type soldOut struct{ Left int }

func (e *soldOut) Error() string { return fmt.Sprintf("sold out, %d left", e.Left) }

func init() {
	jelly.Register[soldOut]("test.soldOut")
	pb.RegisterError("test.soldOut", (*soldOut)(nil), "test.shop")
}

// faults fails in every way.
type faults struct {
	pb.Referenceable
	pb.Concurrent
}

func (*faults) RemoteRaise(_ context.Context, how string) error {
	switch how {
	case "sentinel":
		return errOdd
	case "wrapped":
		return fmt.Errorf("at the till: %w", errOdd)
	case "joined":
		return errors.Join(errors.New("first"), fmt.Errorf("second: %w", &soldOut{Left: 3}))
	case "type":
		return &soldOut{Left: 2}
	case "unknown":
		return &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}
	case "plain":
		return errors.New("just so")
	case "deadline":
		return context.DeadlineExceeded
	case "own failure":
		return &pb.Failure{
			Type:    "shop.Closed",
			Message: "come back tomorrow",
			Parents: []string{"shop.Error"},
		}
	}
	panic("the secret of " + how)
}

// middle calls the one behind it.
type middle struct {
	pb.Referenceable
	to *pb.RemoteReference
}

func (m *middle) RemoteRaise(ctx context.Context, how string) error {
	_, err := pb.Do[any](ctx, m.to, "raise", how)
	return err
}

// Errors come out as themselves, over one connection, over two by way of a
// method, and over two by way of a reference that was passed on.
func TestErrorsComeOutAsThemselves(t *testing.T) {
	isOdd := func(err error) bool { return errors.Is(err, errOdd) }
	left := func(n int) func(error) bool {
		return func(err error) bool {
			var s *soldOut
			return errors.As(err, &s) && s.Left == n
		}
	}
	failure := func(typ, message string) func(error) bool {
		return func(err error) bool {
			var f *pb.Failure
			return errors.As(err, &f) && f.Type == typ && f.Message == message && f.Traceback == ""
		}
	}
	tests := []struct {
		how  string
		is   func(error) bool
		text string
	}{
		{"sentinel", isOdd, "odd"},
		{"wrapped", isOdd, "at the till: odd"},
		{"joined", left(3), "first\nsecond: sold out, 3 left"},
		{"type", left(2), "sold out, 2 left"},
		{"type", func(err error) bool { return pb.IsType(err, "test.shop") }, "sold out, 2 left"},
		{"unknown", failure("", "open x: file does not exist"), "open x: file does not exist"},
		{"unknown", func(err error) bool { return errors.Is(err, fs.ErrNotExist) }, ""},
		{"plain", failure("", "just so"), "just so"},
		{"deadline", func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }, ""},
		{"own failure", failure("shop.Closed", "come back tomorrow"), "come back tomorrow"},
		{"own failure", func(err error) bool { return pb.IsType(err, "shop.Error") }, ""},
	}
	synctest.Test(t, func(t *testing.T) {
		one := pbtest.Connect(t, &faults{})
		two := pbtest.Connect(t, &middle{to: one})
		keeper := newStore()
		if _, err := pb.Do[any](t.Context(), pbtest.Connect(t, keeper), "keep", one); err != nil {
			t.Fatal(err)
		}
		roads := map[string]*pb.RemoteReference{
			"direct":                   one,
			"by a method":              two,
			"by a reference passed on": keeper.kept,
		}
		keeper.kept = nil
		for road, on := range roads {
			for _, test := range tests {
				_, err := pb.Do[any](t.Context(), on, "raise", test.how)
				if err == nil || !test.is(err) || !strings.Contains(err.Error(), test.text) {
					t.Errorf("%s, %s: %v (%T)", road, test.how, err, errors.Unwrap(err))
				}
				if pb.OutcomeOf(err) != pb.Executed {
					t.Errorf("%s, %s: outcome %v", road, test.how, pb.OutcomeOf(err))
				}
			}
		}
	})
}

// A panic is a failure with a number, under which the log has the rest.
func TestPanicAcross(t *testing.T) {
	for _, unsafe := range []bool{false, true} {
		t.Run(fmt.Sprintf("UnsafeTracebacks %v", unsafe), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log logged
				c, _ := pbtest.Join(t, &pb.Node{},
					&pb.Node{Root: &faults{}, Logger: log.logger(), UnsafeTracebacks: unsafe})
				_, err := pb.Do[any](t.Context(), c.Root(), "raise", "the vault")
				var f *pb.Failure
				if !errors.As(err, &f) || pb.OutcomeOf(err) != pb.Executed {
					t.Fatalf("panic = %v, %v", err, pb.OutcomeOf(err))
				}
				if strings.Contains(err.Error(), "secret") {
					t.Errorf("the peer is told the secret: %v", err)
				}
				if got := strings.Contains(f.Traceback, "RemoteRaise"); got != unsafe {
					t.Errorf("a stack crossed: %v, want %v", got, unsafe)
				}
				id := regexp.MustCompile(`[0-9a-f]{16}`).FindString(f.Message)
				line := log.line("panicked")
				if id == "" || !strings.Contains(line, id) || !strings.Contains(line,
					"the secret of the vault") || !strings.Contains(line, "RemoteRaise") {
					t.Errorf("message %q, log %q", f.Message, line)
				}
				if _, err := pb.Do[any](t.Context(), c.Root(), "raise", "plain"); err == nil ||
					pb.OutcomeOf(err) != pb.Executed {
					t.Errorf("the next call = %v", err)
				}
			})
		})
	}
}

// Which other peers a method calls does not concern its caller.
func TestErrorsDoNotNameTheFarPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := pbtest.NewWire()
		far, _ := wire.Join(t, &pb.Node{}, &pb.Node{Root: &faults{}})
		near := pbtest.Connect(t, &middle{to: far.Root()})
		wire.Cut()
		<-far.Done()
		_, err := pb.Do[any](t.Context(), near, "raise", "plain")
		if err == nil || strings.Count(err.Error(), " on wire") != 1 {
			t.Errorf("the error names more peers than the caller's own: %v", err)
		}
		if !pb.IsType(err, "pb.CallError") {
			t.Errorf("%v does not say that a call was not made", err)
		}
	})
}

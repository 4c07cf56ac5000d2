package pb_test

import (
	"context"
	"errors"
	"io"
	"runtime/debug"
	"strings"
	"testing"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// misfit lends an object that nobody wants, and takes what it does not read.
type misfit struct {
	pb.Referenceable
	lent []*misfit
}

func (m *misfit) RemoteLend(context.Context) (*misfit, error) {
	one := &misfit{}
	m.lent = append(m.lent, one) // each is another object
	return one, nil
}

func (*misfit) RemoteInt(_ context.Context, n int) (int, error)   { return n, nil }
func (*misfit) RemoteIgnore(_ context.Context, _ io.Reader) error { return nil }

// Objects in results and arguments that do not fit take no room from others, also while the
// collector sleeps.
func TestWhatDoesNotFitTakesNoRoom(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	limited := func() *pb.Node {
		return &pb.Node{Root: &misfit{}, Limits: pb.Limits{Imports: 10}}
	}
	c, _ := pbtest.Join(t, limited(), limited())
	for range 50 {
		if _, err := pb.Do[int](t.Context(), c.Root(), "lend"); err == nil ||
			errors.Is(err, pb.ErrOverloaded) {
			t.Fatalf("an object for an int: %v", err)
		}
		if _, err := pb.Do[int](t.Context(), c.Root(), "int", &misfit{}); err == nil ||
			errors.Is(err, pb.ErrOverloaded) {
			t.Fatalf("an object as an int: %v", err)
		}
	}
	r, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "lend")
	if err != nil {
		t.Fatalf("one that fits: %v", err)
	}
	if _, err := pb.Do[int](t.Context(), r, "int", 1); err != nil {
		t.Errorf("a call on it: %v", err)
	}
}

// Streams that are not wanted cost nobody the connection, however often.
func TestUnwantedStreamsAreNoFlood(t *testing.T) {
	few := func() *pb.Node {
		// Streams that are over have room twice over, and wait for a goroutine that a busy machine
		// lets wait.
		return &pb.Node{Root: &misfit{}, Limits: pb.Limits{Control: 10, Streams: 200}}
	}
	c, s := pbtest.Join(t, few(), few())
	for range 200 {
		if _, err := pb.Do[any](t.Context(), c.Root(), "ignore",
			pb.Reader(strings.NewReader("some"))); err != nil {
			t.Fatal(err)
		}
		if _, err := pb.Do[any](t.Context(), c.Root(), "noSuch",
			pb.Reader(strings.NewReader("some"))); !isNoSuchMethod(err) {
			t.Fatal(err)
		}
	}
	if c.Err() != nil || s.Err() != nil {
		t.Errorf("the connection ended: %v, %v", c.Err(), s.Err())
	}
}

func isNoSuchMethod(err error) bool {
	_, ok := errors.AsType[*pb.NoSuchMethodError](err)
	return ok
}

package pb_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// store hands out, takes in and keeps objects.
type store struct {
	pb.Referenceable
	item *box
	kept *pb.RemoteReference
}

func newStore() *store { return &store{item: &box{n: 5}} }

func (s *store) RemoteSelf(context.Context) (*store, error) { return s, nil }
func (s *store) RemoteItem(context.Context) (*box, error)   { return s.item, nil }
func (s *store) RemoteFresh(context.Context) (*box, error)  { return &box{}, nil }

func (s *store) RemoteIsItem(_ context.Context, o *box) (bool, error)   { return o == s.item, nil }
func (s *store) RemoteIsSelf(_ context.Context, o *store) (bool, error) { return o == s, nil }

func (s *store) RemoteKeep(_ context.Context, r *pb.RemoteReference) (bool, error) {
	same := r == s.kept
	s.kept = r
	return same, nil
}

func (s *store) RemoteKept(context.Context) (*pb.RemoteReference, error) { return s.kept, nil }

func (s *store) RemoteForget(context.Context) error {
	s.kept = nil
	return nil
}

func (s *store) RemoteFail(context.Context) error {
	return errors.Join(errOdd, &soldOut{Left: 2})
}

// One object is one reference on a connection, and comes home as itself.
func TestReferenceIdentity(t *testing.T) {
	bubble(t, newStore(), func(t *testing.T, c *pb.Conn) {
		ctx := t.Context()
		first, err := pb.Do[*pb.RemoteReference](ctx, c.Root(), "item")
		if err != nil {
			t.Fatal(err)
		}
		again, err := pb.Do[*pb.RemoteReference](ctx, c.Root(), "item")
		if first != again || err != nil {
			t.Errorf("two references to one object: %v and %v, %v", first, again, err)
		}
		if home, err := pb.Do[bool](ctx, c.Root(), "isItem", first); !home || err != nil {
			t.Errorf("an object came home as another: %v", err)
		}
		root, err := pb.Do[*pb.RemoteReference](ctx, c.Root(), "self")
		if root != c.Root() || err != nil {
			t.Errorf("the root, sent, is %v, want %v, %v", root, c.Root(), err)
		}
		if home, err := pb.Do[bool](ctx, c.Root(), "isSelf", c.Root()); !home || err != nil {
			t.Errorf("the root came home as another: %v", err)
		}
		mine := &box{}
		for i, want := range []bool{false, true} { // first there is nothing to be the same as
			if same, err := pb.Do[bool](ctx, c.Root(), "keep", mine); same != want || err != nil {
				t.Errorf("sending an object of the caller's, time %d: same %v, want %v, %v", i+1,
					same, want, err)
			}
		}
		back, err := pb.Do[*box](ctx, c.Root(), "kept")
		if back != mine || err != nil {
			t.Errorf("an object of the caller's came back as %p, want %p, %v", back, mine, err)
		}
		if _, err := pb.Do[any](ctx, c.Root(), "forget"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRootForIsOneObjectToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &pb.Node{RootFor: func(*pb.Conn) any { return newStore() }}
		c, _ := pbtest.Join(t, &pb.Node{}, server)
		root, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "self")
		if root != c.Root() || err != nil {
			t.Errorf("the root, sent, is %v, want %v, %v", root, c.Root(), err)
		}
		if home, err := pb.Do[bool](t.Context(), c.Root(), "isSelf", c.Root()); !home ||
			err != nil {
			t.Errorf("the root came home as another: %v", err)
		}
	})
}

// Nil is nil.
func TestNilReference(t *testing.T) {
	bubble(t, newStore(), func(t *testing.T, c *pb.Conn) {
		if r, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "kept"); r != nil ||
			err != nil {
			t.Errorf("a nil reference arrived as %v, %v", r, err)
		}
		if same, err := pb.Do[bool](t.Context(), c.Root(), "keep",
			(*pb.RemoteReference)(nil)); !same || err != nil {
			t.Errorf("a nil reference was passed as something: %v", err)
		}
	})
}

// A third party's object can be passed on: calls go through the peer that passed it.
func TestThirdParty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far, near := newStore(), newStore()
		ctx := t.Context()
		toFar, toNear := pbtest.Connect(t, far), pbtest.Connect(t, near)
		item, err := pb.Do[*pb.RemoteReference](ctx, toFar, "item")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pb.Do[any](ctx, toNear, "keep", item); err != nil {
			t.Fatal(err)
		}
		if err := near.kept.Send(ctx, "mark", 1); err != nil {
			t.Fatal(err)
		}
		for n := 2; n < 5; n++ {
			if _, err := pb.Do[any](ctx, near.kept, "mark", n); err != nil {
				t.Fatal(err)
			}
		}
		if got := far.item.marks; len(got) != 4 || got[0] != 1 || got[3] != 4 {
			t.Errorf("calls arrived through the middle as %v", got)
		}
		same, err := pb.Do[*pb.RemoteReference](ctx, near.kept, "same")
		if same != near.kept || err != nil {
			t.Errorf("the object's reference to itself = %v, want %v, %v", same, near.kept, err)
		}
		back, err := pb.Do[*pb.RemoteReference](ctx, toNear, "kept")
		if back != item || err != nil {
			t.Errorf("it came back to the middle as %v, want %v, %v", back, item, err)
		}
		if home, err := pb.Do[bool](ctx, toFar, "isItem", back); !home || err != nil {
			t.Errorf("it came home as another: %v", err)
		}
		if _, err := pb.Do[any](ctx, near.kept, "noSuch"); err == nil {
			t.Error("a method that is not there was called through the middle")
		}
		near.kept = nil
	})
}

// exportsOf waits until the peer has heard of what this side let go.
func exportsOf(t *testing.T, c, s *pb.Conn) int {
	t.Helper()
	if err := c.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s.Stats().Exports
}

func TestReferencesAreCollected(t *testing.T) {
	c, s := pbtest.Join(t, &pb.Node{}, &pb.Node{Root: newStore()})
	for range 100 {
		if _, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "fresh"); err != nil {
			t.Fatal(err)
		}
	}
	held, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "fresh")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); exportsOf(t, c, s) != 1; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatalf("%d objects are lent, want the one that is held", s.Stats().Exports)
		}
	}
	if _, err := pb.Do[any](t.Context(), held, "mark", 1); err != nil {
		t.Errorf("the one that is held: %v", err)
	}
	held.Release()
	if n := exportsOf(t, c, s); n != 0 {
		t.Errorf("%d objects are lent after Release", n)
	}
}

// Release is for all code that has the reference; the object can be sent anew.
func TestRelease(t *testing.T) {
	bubble(t, newStore(), func(t *testing.T, c *pb.Conn) {
		ctx := t.Context()
		item, err := pb.Do[*pb.RemoteReference](ctx, c.Root(), "item")
		if err != nil {
			t.Fatal(err)
		}
		item.Release()
		item.Release()
		if _, err := pb.Do[any](ctx, item, "mark", 1); !errors.Is(err, pb.ErrReleased) {
			t.Errorf("call on a released reference = %v", err)
		}
		if _, err := pb.Do[any](ctx, c.Root(), "isItem", item); !errors.Is(err, pb.ErrReleased) {
			t.Errorf("a released reference as argument = %v", err)
		}
		again, err := pb.Do[*pb.RemoteReference](ctx, c.Root(), "item")
		if again == item || err != nil {
			t.Fatalf("the object, sent again, is %v, %v", again, err)
		}
		if _, err := pb.Do[any](ctx, again, "mark", 1); err != nil {
			t.Errorf("the new reference: %v", err)
		}
	})
}

// References that are sent, dropped and sent again while calls cross never lose an object that a
// reference holds.
func TestReferencesUnderChurn(t *testing.T) {
	c, s := pbtest.Join(t, &pb.Node{}, &pb.Node{Root: newStore()})
	rounds := 300
	if testing.Short() {
		rounds = 90
	}
	for i := range rounds {
		item, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "item")
		if err != nil {
			t.Fatal(err)
		}
		if home, err := pb.Do[bool](t.Context(), c.Root(), "isItem", item); !home || err != nil {
			t.Fatalf("round %d: %v, %v", i, home, err)
		}
		switch i % 3 {
		case 0:
			item.Release()
		case 1:
			runtime.GC()
		}
	}
	if n := s.Stats().Exports; n > 1 {
		t.Errorf("%d objects are lent, there is one", n)
	}
}

func TestReferenceEndsWithItsConnection(t *testing.T) {
	bubble(t, newStore(), func(t *testing.T, c *pb.Conn) {
		item, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "item")
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-item.Done():
			t.Fatal("done while the connection lives")
		default:
		}
		_ = c.Close()
		<-item.Done()
		if item.Conn() != c {
			t.Errorf("Conn = %v", item.Conn())
		}
	})
}

// plain is an object that was not written for peers.
type plain struct{ n int }

func (p *plain) Next(context.Context) (int, error) { p.n++; return p.n, nil }
func (p *plain) Reset(context.Context) error       { p.n = 0; return nil }

type nexter interface {
	Next(ctx context.Context) (int, error)
}

// lending lends its plain object.
type lending struct {
	pb.Referenceable
	obj plain
}

func (l *lending) RemoteObj(context.Context) (any, error) {
	return pb.AsReferenceable[nexter](&l.obj), nil
}

func TestLentObject(t *testing.T) {
	bubble(t, &lending{}, func(t *testing.T, c *pb.Conn) {
		ctx := t.Context()
		obj, err := pb.Do[*pb.RemoteReference](ctx, c.Root(), "obj")
		if err != nil {
			t.Fatal(err)
		}
		again, err := pb.Do[*pb.RemoteReference](ctx, c.Root(), "obj")
		if again != obj || err != nil {
			t.Errorf("lent twice it is two objects: %v", err)
		}
		if n, err := pb.Do[int](ctx, obj, "next"); n != 1 || err != nil {
			t.Errorf("next = %v, %v", n, err)
		}
		var none *pb.NoSuchMethodError
		if _, err := pb.Do[any](ctx, obj, "reset"); !errors.As(err, &none) {
			t.Errorf("a method outside of the interface = %v", err)
		}
	})
}

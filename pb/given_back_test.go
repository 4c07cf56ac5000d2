package pb_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/pbtest"
)

type callback struct {
	pb.Referenceable
	n int
}

// picky refuses, or drops, what it is given.
type picky struct {
	pb.Referenceable
	started chan struct{}
	goOn    chan struct{}
}

func (*picky) RemoteNothing(context.Context) error { return nil }

func (*picky) RemoteNumber(context.Context, int) error { return nil }

func (*picky) RemoteMixed(_ context.Context, _ *pb.RemoteReference, _ int) error { return nil }

func (*picky) RemoteTake(_ context.Context, _ *pb.RemoteReference) error { return nil }

func (*picky) RemoteShort(context.Context, shortLoan) error { return nil }

func (*picky) RemoteBreak(context.Context) (*pb.RemoteReference, error) {
	return nil, errors.New("no object today")
}

func (p *picky) RemoteHold(ctx context.Context) error {
	p.started <- struct{}{}
	select {
	case <-p.goOn:
	case <-ctx.Done():
	}
	return nil
}

func (*picky) RemoteMake(context.Context) (*callback, error) { return &callback{n: 1}, nil }

func (*picky) RemoteLong(context.Context) ([]any, error) {
	return []any{&callback{n: 1}, make([]byte, 200<<10)}, nil
}

func (*picky) RemoteCarry(context.Context) error {
	return &carrierError{With: &callback{n: 1}}
}

// longLoan and shortLoan are one type on the wire, of which one side knows less.
type (
	longLoan struct {
		N     int
		Extra any
	}
	shortLoan struct{ N int }
)

type carrierError struct{ With any }

func (*carrierError) Error() string { return "an error with an object in it" }

func init() { pb.RegisterError("given.carrier", (*carrierError)(nil)) }

// TestReferencesOfWhatIsDroppedComeBack: an object that nobody keeps is lent to nobody, however its
// message was dropped.
func TestReferencesOfWhatIsDroppedComeBack(t *testing.T) {
	client, server := new(jelly.Registry), new(jelly.Registry)
	jelly.RegisterIn[longLoan](client, "given.loan")
	jelly.RegisterIn[shortLoan](server, "given.loan")
	do := func(method string, args func() []any, want string) func(*testing.T, *pb.Conn, *picky) {
		return func(t *testing.T, c *pb.Conn, _ *picky) {
			t.Helper()
			_, err := pb.Do[struct{}](t.Context(), c.Root(), method, args()...)
			if want == "" && err != nil ||
				want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Fatalf("%s = %v, want %q", method, err, want)
			}
		}
	}
	lend := func(more ...any) func() []any {
		return func() []any { return append([]any{&callback{n: 1}}, more...) }
	}
	for _, c := range []struct {
		name string
		once func(*testing.T, *pb.Conn, *picky)
	}{
		{"no such method", do("noSuch", lend(), "no method")},
		{"too many arguments", do("nothing", lend(), "argument")},
		{"more arguments than any method takes", do("take", lend(make([]any, 80)...), "arguments")},
		{"a wrong type", do("number", lend(), "argument")},
		{"a wrong type behind it", do("mixed", lend("x"), "argument 2")},
		{"a field that is not known here",
			do("short", func() []any { return []any{longLoan{1, &callback{n: 1}}} }, "")},
		{"too deep", do("take", lend(deep(30)), "deep")},
		{"a long message that is refused", do("noSuch", lend(make([]byte, 200<<10)), "no method")},
		{"a message that is too large", do("take", lend(make([]byte, 1200<<10)), "too large")},
		{"a broken promise", func(t *testing.T, c *pb.Conn, _ *picky) {
			broken := pb.Call[*pb.RemoteReference](t.Context(), c.Root(), "break")
			if _, err := pb.Do[any](t.Context(), broken, "take", &callback{n: 1}); err == nil {
				t.Fatal("a call on a broken promise succeeded")
			}
		}},
		{"a broken promise among the arguments", func(t *testing.T, c *pb.Conn, _ *picky) {
			broken := pb.Call[*pb.RemoteReference](t.Context(), c.Root(), "break")
			if _, err := pb.Do[any](t.Context(), c.Root(), "take", broken,
				&callback{n: 1}); err == nil {
				t.Fatal("a call with a broken promise succeeded")
			}
		}},
		{"cancelled while it waits for its turn", func(t *testing.T, c *pb.Conn, p *picky) {
			held := pb.Call[any](t.Context(), c.Root(), "hold")
			<-p.started
			ctx, cancel := context.WithCancel(t.Context())
			waits := pb.Call[any](ctx, c.Root(), "take", &callback{n: 1})
			cancel()
			if _, err := waits.Wait(t.Context()); err == nil {
				t.Fatal("a cancelled call succeeded")
			}
			p.goOn <- struct{}{}
			if _, err := held.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
		{"oneway to no method", func(t *testing.T, c *pb.Conn, _ *picky) {
			if err := c.Root().Send(t.Context(), "noSuch", &callback{n: 1}); err != nil {
				t.Fatal(err)
			}
		}},
		{"a result of a wrong type", func(t *testing.T, c *pb.Conn, _ *picky) {
			if _, err := pb.Do[int](t.Context(), c.Root(), "make"); err == nil {
				t.Fatal("an object is a number")
			}
		}},
		{"a result that nobody wants", do("make", func() []any { return nil }, "")},
		{"a result half of which fits", func(t *testing.T, c *pb.Conn, _ *picky) {
			if _, err := pb.Do[[]*pb.RemoteReference](t.Context(), c.Root(), "long"); err == nil {
				t.Fatal("bytes are an object")
			}
		}},
		{"a result whose caller is gone", func(t *testing.T, c *pb.Conn, p *picky) {
			held := pb.Call[any](t.Context(), c.Root(), "hold")
			<-p.started
			ctx, cancel := context.WithCancel(t.Context())
			made := pb.Call[*pb.RemoteReference](ctx, c.Root(), "make")
			p.goOn <- struct{}{}
			cancel()
			_, _ = made.Wait(t.Context()) // it may have been faster
			if _, err := held.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
		{"an error with an object in it", do("carry", func() []any { return nil }, "object in it")},
	} {
		t.Run(c.name, func(t *testing.T) {
			const exports = 8
			p := &picky{started: make(chan struct{}), goOn: make(chan struct{})}
			limits := pb.Limits{Exports: exports, Message: 1 << 20, Values: jelly.Limits{Depth: 20}}
			cc, sc := pbtest.Join(t, &pb.Node{Types: client, Limits: pb.Limits{Exports: exports}},
				&pb.Node{Types: server, Root: p, Limits: limits})
			for i := range 4 * exports {
				c.once(t, cc, p)
				if left := lentAfter(t, cc, sc); left != 0 {
					t.Fatalf("%d objects are lent still after call %d", left, i+1)
				}
			}
		})
	}
}

// lentAfter is how many objects are lent when all that was said has arrived.
func lentAfter(t *testing.T, conns ...*pb.Conn) (left int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		left = 0
		for _, c := range conns {
			if err := c.Sync(ctx); err != nil && ctx.Err() == nil {
				t.Fatal(err)
			}
		}
		for _, c := range conns {
			left += c.Stats().Exports
		}
		if left == 0 {
			break
		}
	}
	return left
}

// deep is a list in a list, n times.
func deep(n int) any {
	v := any(1)
	for range n {
		v = []any{v}
	}
	return v
}

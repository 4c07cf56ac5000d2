package pb_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"

	"perspective/pb"
)

// counter is an object that most tests call.
type counter struct {
	pb.Referenceable
	n     int
	child *counter
}

var errOdd = errors.New("odd")

func init() { pb.RegisterError("test.odd", errOdd) }

func (c *counter) RemoteAdd(_ context.Context, n int) (int, error) {
	c.n += n
	return c.n, nil
}

func (c *counter) RemoteFail(context.Context) error { return fmt.Errorf("it is %w", errOdd) }

func (c *counter) RemoteChild(context.Context) (*counter, error) {
	if c.child == nil {
		c.child = &counter{}
	}
	return c.child, nil
}

func (c *counter) RemoteSame(_ context.Context, o *counter) (bool, error) {
	return o == c.child, nil
}

func (c *counter) RemoteWait(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (c *counter) RemoteCallBack(ctx context.Context, to *pb.RemoteReference, n int) (int, error) {
	return pb.Do[int](ctx, to, "add", n)
}

func (c *counter) RemoteAddOf(ctx context.Context, d *pb.Deferred[int]) (int, error) {
	n, err := d.Wait(ctx)
	c.n += n
	return c.n, err
}

// join makes two nodes with one connection between them.
func join(t testing.TB, client, server *pb.Node) (c, s *pb.Conn) {
	t.Helper()
	a, b := net.Pipe()
	s, err := server.Attach(t.Context(), b, pb.Acceptor)
	if err != nil {
		t.Fatal(err)
	}
	c, err = client.Attach(t.Context(), a, pb.Dialer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return c, s
}

// calls runs f with a connection to root, in a bubble of its own.
func calls(t *testing.T, root any, f func(t *testing.T, c *pb.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c, _ := join(t, &pb.Node{}, &pb.Node{Root: root})
		f(t, c)
	})
}

func TestCallKinds(t *testing.T) {
	calls(t, &counter{}, func(t *testing.T, c *pb.Conn) {
		ctx := t.Context()
		if n, err := pb.Do[int](ctx, c.Root(), "Add", 2); n != 2 || err != nil {
			t.Fatalf("Do = %v, %v", n, err)
		}
		if n, err := pb.Call[int](ctx, c.Root(), "add", 2).Wait(ctx); n != 4 || err != nil {
			t.Fatalf("Call = %v, %v", n, err)
		}
		if n, err := c.Root().CallRemote(ctx, "add", 2).Wait(ctx); n != any(int64(6)) ||
			err != nil {
			t.Fatalf("CallRemote = %v, %v", n, err)
		}
		if err := c.Root().Send(ctx, "add", 2); err != nil {
			t.Fatal(err)
		}
		bound := pb.Bind[struct {
			Add      func(ctx context.Context, n int) (int, error)
			AddLater func(ctx context.Context, n int) *pb.Deferred[int] `pb:"add"`
			Fail     func(ctx context.Context) error
		}](c.Root())
		if n, err := bound.Add(ctx, 2); n != 10 || err != nil {
			t.Fatalf("bound = %v, %v", n, err)
		}
		if n, err := bound.AddLater(ctx, 2).Wait(ctx); n != 12 || err != nil {
			t.Fatalf("bound Deferred = %v, %v", n, err)
		}
		err := bound.Fail(ctx)
		if !errors.Is(err, errOdd) || pb.OutcomeOf(err) != pb.Executed {
			t.Fatalf("fail = %v, %v", err, pb.OutcomeOf(err))
		}
	})
}

func TestReferences(t *testing.T) {
	calls(t, &counter{}, func(t *testing.T, c *pb.Conn) {
		ctx := t.Context()
		a, err := pb.Do[*pb.RemoteReference](ctx, c.Root(), "child")
		if err != nil {
			t.Fatal(err)
		}
		b, err := pb.Do[*pb.RemoteReference](ctx, c.Root(), "child")
		if err != nil || a != b {
			t.Fatalf("two references to one object: %p %p, %v", a, b, err)
		}
		same, err := pb.Do[bool](ctx, c.Root(), "same", a)
		if !same || err != nil {
			t.Fatalf("came home as itself: %v, %v", same, err)
		}
		mine := &counter{}
		if n, err := pb.Do[int](ctx, c.Root(), "callBack", mine, 5); n != 5 ||
			mine.n != 5 || err != nil {
			t.Fatalf("call back = %v, %v", n, err)
		}
	})
}

func TestPipeline(t *testing.T) {
	calls(t, &counter{}, func(t *testing.T, c *pb.Conn) {
		ctx := t.Context()
		child := pb.Call[*pb.RemoteReference](ctx, c.Root(), "child")
		first := pb.Call[int](ctx, child, "add", 3)
		second := pb.Call[int](ctx, child, "addOf", first)
		if n, err := second.Wait(ctx); n != 6 || err != nil {
			t.Fatalf("pipelined = %v, %v", n, err)
		}
		broken := pb.Call[*pb.RemoteReference](ctx, c.Root(), "fail")
		_, err := pb.Call[int](ctx, broken, "add", 3).Wait(ctx)
		if !errors.Is(err, errOdd) {
			t.Fatalf("broken promise = %v", err)
		}
	})
}

func TestCancel(t *testing.T) {
	calls(t, &counter{}, func(t *testing.T, c *pb.Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		d := pb.Call[any](ctx, c.Root(), "wait")
		synctest.Wait()
		cancel()
		_, err := d.Wait(t.Context())
		if !errors.Is(err, context.Canceled) || pb.OutcomeOf(err) != pb.MaybeExecuted {
			t.Fatalf("cancelled call = %v, %v", err, pb.OutcomeOf(err))
		}
		synctest.Wait()
		if s := c.Stats(); s.Asked != 0 {
			t.Fatalf("%+v", s)
		}
	})
}

package pb_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// desk is an object whose methods occupy it in every way there is.
type desk struct {
	pb.Referenceable
	deskWork
}

// openDesk is a desk without a queue.
type openDesk struct {
	pb.Referenceable
	pb.Concurrent
	deskWork
}

// soleDesk is a desk for one at a time over all connections.
type soleDesk struct {
	pb.Referenceable
	pb.Serial
	deskWork
}

type deskWork struct {
	// lets go of methods that wait for a channel; made in the bubble that uses it
	open chan struct{}

	mu    sync.Mutex
	began []string
}

func (d *deskWork) note(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.began = append(d.began, s)
}

func (d *deskWork) notes() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.began)
}

func (d *deskWork) RemoteMark(_ context.Context, s string) error {
	d.note(s)
	return nil
}

func (d *deskWork) RemoteOnChannel(context.Context) error {
	<-d.open
	d.note("on")
	return nil
}

func (d *deskWork) RemoteAfterYield(ctx context.Context) error {
	pb.Yield(ctx)
	return d.RemoteOnChannel(ctx)
}

func (d *deskWork) RemoteInCall(ctx context.Context, on *pb.RemoteReference) error {
	_, err := pb.Do[any](ctx, on, "hold")
	d.note("on")
	return err
}

func (d *deskWork) RemoteInWaitOfDerived(ctx context.Context, on *pb.RemoteReference) error {
	derived, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	_, err := pb.Call[any](derived, on, "hold").Wait(derived)
	d.note("on")
	return err
}

func (d *deskWork) RemoteInWaitOfOther(ctx context.Context, on *pb.RemoteReference) error {
	_, err := pb.Call[any](ctx, on, "hold").Wait(context.Background())
	d.note("on")
	return err
}

func (d *deskWork) RemoteLater(context.Context) (*pb.Deferred[int], error) {
	later := pb.NewDeferred[int](nil)
	go func() { // ends with the test
		<-d.open
		later.Callback(1)
	}()
	return later, nil
}

func (d *deskWork) RemoteInGo(ctx context.Context, on *pb.RemoteReference) error {
	work := pb.Go(ctx,
		func(ctx context.Context) (any, error) { return pb.Do[any](ctx, on, "hold") })
	<-work.Done()
	d.note("on")
	_, err, _ := work.Result()
	return err
}

// When the first call does this, may a later one to the same object start?
func TestTurnEnds(t *testing.T) {
	tests := []struct {
		method string
		passes bool
	}{
		{"onChannel", false},
		{"afterYield", true},
		{"inCall", true},
		{"inWaitOfDerived", true},
		{"inWaitOfOther", false},
		{"inGo", false},
		{"later", true},
	}
	for _, test := range tests {
		t.Run(test.method, func(t *testing.T) {
			d := &desk{}
			bubble(t, d, func(t *testing.T, c *pb.Conn) {
				d.open = make(chan struct{}) // of this bubble
				ctx := t.Context()
				h := newHand()
				var args []any
				if strings.HasPrefix(test.method, "in") {
					args = []any{h}
				}
				first := pb.Call[any](ctx, c.Root(), test.method, args...)
				second := pb.Call[any](ctx, c.Root(), "mark", "second")
				synctest.Wait()
				if got := len(d.notes()) > 0; got != test.passes {
					t.Errorf("the second call started: %v, want %v", got, test.passes)
				}
				close(h.open)
				close(d.open)
				if _, err := pb.Gather(first, second).Wait(ctx); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestTurnIsOfOneObjectAndConnection(t *testing.T) {
	held := func(t *testing.T, d *deskWork, first, second *pb.RemoteReference, want bool) {
		t.Helper()
		d.open = make(chan struct{})
		a := pb.Call[any](t.Context(), first, "onChannel")
		synctest.Wait()
		b := pb.Call[any](t.Context(), second, "mark", "second")
		synctest.Wait()
		if got := len(d.notes()) > 0; got != want {
			t.Errorf("the second call started: %v, want %v", got, want)
		}
		close(d.open)
		if _, err := pb.Gather(a, b).Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
	t.Run("Concurrent", func(t *testing.T) {
		d := &openDesk{}
		bubble(t, d,
			func(t *testing.T, c *pb.Conn) { held(t, &d.deskWork, c.Root(), c.Root(), true) })
	})
	t.Run("two connections", func(t *testing.T) {
		d := &desk{}
		synctest.Test(t, func(t *testing.T) {
			held(t, &d.deskWork, pbtest.Connect(t, d), pbtest.Connect(t, d), true)
		})
	})
	t.Run("two connections to a Serial", func(t *testing.T) {
		d := &soleDesk{}
		synctest.Test(t, func(t *testing.T) {
			held(t, &d.deskWork, pbtest.Connect(t, d), pbtest.Connect(t, d), false)
		})
	})
}

// A Serial's method that waits lets others in, and comes back before those that
// have not begun.
func TestSerialAcrossConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &soleDesk{}
		d.open = make(chan struct{})
		one, two := pbtest.Connect(t, d), pbtest.Connect(t, d)
		ctx := t.Context()
		h := newHand()
		waits := pb.Call[any](ctx, one, "inCall", h)
		synctest.Wait()
		blocks := pb.Call[any](ctx, two, "onChannel")
		synctest.Wait()
		last := pb.Call[any](ctx, one, "mark", "new")
		close(h.open) // the first wants to go on, but the second has the lock
		synctest.Wait()
		if got := d.notes(); len(got) != 0 {
			t.Fatalf("ran beside the one that has the lock: %q", got)
		}
		close(d.open)
		if _, err := pb.Gather(waits, blocks, last).Wait(ctx); err != nil {
			t.Fatal(err)
		}
		if got := d.notes(); !slices.Equal(got, []string{"on", "on", "new"}) {
			t.Errorf("order %q, want the new call last", got)
		}
	})
}

func TestCallsStartInOrder(t *testing.T) {
	d := &desk{}
	bubble(t, d, func(t *testing.T, c *pb.Conn) {
		d.open = make(chan struct{}) // of this bubble
		ctx := t.Context()
		var want []string
		var all []*pb.Deferred[any]
		for i := range 200 {
			name := string(rune('a'+i%26)) + string(rune('a'+i/26))
			want = append(want, name)
			if i%3 == 0 {
				if err := c.Root().Send(ctx, "mark", name); err != nil {
					t.Fatal(err)
				}
				continue
			}
			all = append(all, pb.Call[any](ctx, c.Root(), "mark", name))
		}
		if _, err := pb.Gather(all...).Wait(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := d.notes(); !slices.Equal(got, want) {
			t.Errorf("calls started in the order %q, want %q", got, want)
		}
	})
}

// bell rings in its turn after its method has returned.
type bell struct {
	pb.Referenceable
	deskWork
}

func (b *bell) RemoteRing(ctx context.Context, after time.Duration) error {
	turn := pb.Turn(ctx)
	pb.NewDeferred[int](nil).AddTimeout(after).On(turn).AddErrback(func(error) (int, error) {
		b.note("rang")
		return 0, nil
	})
	return nil
}

func (b *bell) RemoteTurn(ctx context.Context) error {
	turn := pb.Turn(ctx)
	turn.Execute(func() { b.note("in turn") })
	<-b.open
	b.note("method")
	return nil
}

func TestTurn(t *testing.T) {
	t.Run("behind the method and before later calls", func(t *testing.T) {
		b := &bell{}
		bubble(t, b, func(t *testing.T, c *pb.Conn) {
			b.open = make(chan struct{}) // of this bubble
			first := pb.Call[any](t.Context(), c.Root(), "turn")
			synctest.Wait()
			second := pb.Call[any](t.Context(), c.Root(), "mark", "call")
			synctest.Wait()
			close(b.open)
			if _, err := pb.Gather(first, second).Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := b.notes(); !slices.Equal(got, []string{"method", "in turn", "call"}) {
				t.Errorf("order %q", got)
			}
		})
	})
	t.Run("after the method returned, one at a time with the calls", func(t *testing.T) {
		b := &bell{}
		bubble(t, b, func(t *testing.T, c *pb.Conn) {
			b.open = make(chan struct{}) // of this bubble
			ctx := t.Context()
			if _, err := pb.Do[any](ctx, c.Root(), "ring", time.Minute); err != nil {
				t.Fatal(err)
			}
			busy := pb.Call[any](ctx, c.Root(), "onChannel")
			time.Sleep(2 * time.Minute)
			if got := b.notes(); len(got) != 0 {
				t.Fatalf("%q beside a method that has the turn", got)
			}
			close(b.open)
			if _, err := busy.Wait(ctx); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := b.notes(); !slices.Equal(got, []string{"on", "rang"}) {
				t.Errorf("order %q", got)
			}
		})
	})
	t.Run("dropped when the connection ends", func(t *testing.T) {
		b := &bell{}
		bubble(t, b, func(t *testing.T, c *pb.Conn) {
			b.open = make(chan struct{}) // of this bubble
			if _, err := pb.Do[any](t.Context(), c.Root(), "ring", time.Minute); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
			if got := b.notes(); len(got) != 0 {
				t.Errorf("%q ran for a connection that is gone", got)
			}
		})
	})
	t.Run("outside of a method", func(t *testing.T) {
		defer func() {
			if recover() == nil {
				t.Error("Turn of a plain ctx did not panic")
			}
		}()
		pb.Turn(t.Context())
	})
}

// A method that keeps others waiting for 5 s is told of, with the place where it
// stands; one that nobody waits for is not.
func TestHeldTurnIsLogged(t *testing.T) {
	for _, behind := range []bool{true, false} {
		name := "nobody waits"
		if behind {
			name = "a call waits"
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log logged
				d := &desk{}
				d.open = make(chan struct{})
				c, _ := pbtest.Join(t, &pb.Node{}, &pb.Node{Root: d, Logger: log.logger()})
				all := []*pb.Deferred[any]{pb.Call[any](t.Context(), c.Root(), "onChannel")}
				if behind {
					all = append(all, pb.Call[any](t.Context(), c.Root(), "mark", "x"))
				}
				time.Sleep(4 * time.Second)
				if log.String() != "" {
					t.Errorf("too early: %s", log.String())
				}
				time.Sleep(8 * time.Second)
				close(d.open)
				if _, err := pb.Gather(all...).Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				line := log.line("WARN")
				if got := strings.Contains(line, "RemoteOnChannel"); got != behind {
					t.Errorf("after 12 s the log is %q, stack in it: %v, want %v",
						log.String(), got, behind)
				}
			})
		})
	}
}

package pb_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// kitchen is an object without a queue beside one with a queue.
type kitchen struct {
	pb.Referenceable
	pb.Concurrent
	stove stove
}

type stove struct{ pb.Referenceable }

func (k *kitchen) RemoteStove(context.Context) (*stove, error) { return &k.stove, nil }

func (k *kitchen) RemoteEat(_ context.Context, dish int) (int, error) { return dish, nil }

func (*stove) RemoteCook(_ context.Context, dish int) (int, error) {
	time.Sleep(time.Second)
	return dish, nil
}

// Calls that wait for a promise take no room among the handlers from the call
// that will keep it, however many they are.
func TestPromisedArgumentsTakeNoRoom(t *testing.T) {
	bubble(t, &kitchen{}, func(t *testing.T, c *pb.Conn) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		stove, err := pb.Do[*pb.RemoteReference](ctx, c.Root(), "stove")
		if err != nil {
			t.Fatal(err)
		}
		first := pb.Call[int](ctx, stove, "cook", 1)
		second := pb.Call[int](ctx, stove, "cook", 2)
		var all []*pb.Deferred[int]
		for range 600 { // over Limits.Handlers, and over what those can have beside
			all = append(all, pb.Call[int](ctx, c.Root(), "eat", second))
		}
		synctest.Wait()
		if _, err := first.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		for i, d := range all {
			if n, err := d.Wait(ctx); n != 2 || err != nil {
				t.Fatalf("call %d with the promise = %d, %v", i, n, err)
			}
		}
	})
}

// station is where passengers wait for trains that other calls bring.
type station struct {
	pb.Referenceable
	pb.Concurrent
	trains  [2]*pb.Deferred[string]
	conn    atomic.Pointer[pb.Conn]
	staying atomic.Int64
}

func newStation() *station {
	return &station{
		trains: [2]*pb.Deferred[string]{pb.NewDeferred[string](nil), pb.NewDeferred[string](nil)},
	}
}

// RemoteTravel waits for one train after the other.
func (s *station) RemoteTravel(ctx context.Context) (string, error) {
	s.conn.Store(pb.ConnFrom(ctx))
	first, err := s.trains[0].Wait(ctx)
	if err != nil {
		return "", err
	}
	second, err := s.trains[1].Wait(ctx)
	return first + second, err
}

func (s *station) RemoteArrive(_ context.Context, i int, name string) error {
	s.trains[i].Callback(name)
	return nil
}

func (s *station) travellers(ctx context.Context, t *testing.T, c *pb.Conn, n int) {
	t.Helper()
	var all []*pb.Deferred[string]
	for range n {
		all = append(all, pb.Call[string](ctx, c.Root(), "travel"))
	}
	for i, name := range []string{"north", "west"} {
		if _, err := pb.Do[any](ctx, c.Root(), "arrive", i, name); err != nil {
			t.Fatal(err)
		}
	}
	for i, d := range all {
		if name, err := d.Wait(ctx); name != "northwest" || err != nil {
			t.Fatalf("traveller %d: %q, %v", i, name, err)
		}
	}
}

// Methods that wait for what other calls bring take no room from those, and when
// all are back nothing is counted that is not there.
func TestWaitsTakeNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation()
		pbtest.NoLeaks(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s.travellers(ctx, t, pbtest.Connect(t, s).Conn(), 600)
		synctest.Wait()
		if n := s.conn.Load().Stats().Handlers; n != 0 {
			t.Errorf("%d handlers are left", n)
		}
	})
}

// The same over sockets, where quick methods run on the reader until they wait.
func TestWaitsTakeNoRoomOverSockets(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			pbtest.NoLeaks(t)
			limits := pb.Limits{}
			limits.Handlers = 2
			s := newStation()
			server := &pb.Node{Root: s, Limits: limits, Logger: silent()}
			client := &pb.Node{Logger: silent()}
			defer server.Close() //nolint:errcheck // it never fails
			defer client.Close() //nolint:errcheck // it never fails
			c, _ := overSocket(t, client, server, network, filepath.Join(t.TempDir(), "s"))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for range 50 { // travelling is quick once the trains are there
				s.travellers(ctx, t, c, 8)
			}
			s.trains = newStation().trains // nobody travels now
			s.travellers(ctx, t, c, 8)
		})
	}
}

// RemoteStay answers and then waits for good.
func (s *station) RemoteStay(ctx context.Context) (string, error) {
	s.conn.Store(pb.ConnFrom(ctx))
	s.staying.Add(1)
	if err := pb.Reply(ctx, "here"); err != nil {
		return "", err
	}
	return s.trains[0].Wait(context.WithoutCancel(ctx))
}

// A method that waits counts among the handlers again once its call is answered: nothing else would
// bound how many there are.
func TestAnsweredCallsTakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pbtest.NoLeaks(t)
		s := newStation()
		limits := pb.Limits{}
		limits.Handlers = 4
		c, _ := pbtest.Join(t, &pb.Node{Logger: silent()},
			&pb.Node{Root: s, Limits: limits, Logger: silent()})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all []*pb.Deferred[string]
		for range 40 {
			all = append(all, pb.Call[string](ctx, c.Root(), "stay"))
		}
		synctest.Wait()
		if n := s.staying.Load(); n != 4 {
			t.Errorf("%d methods run, want 4", n)
		}
		s.trains[0].Callback("")
		for _, d := range all {
			if v, err := d.Wait(ctx); v != "here" || err != nil {
				t.Errorf("%q, %v", v, err)
			}
		}
		synctest.Wait()
		if n := s.conn.Load().Stats().Handlers; n != 0 {
			t.Errorf("%d handlers are left", n)
		}
	})
}

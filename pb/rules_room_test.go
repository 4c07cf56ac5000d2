package pb_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb"
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

package pb_test

import (
	"context"
	"testing"
	"testing/synctest"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// homeOwner gives an object, waits, and says whether it has got its object back.
type homeOwner struct {
	pb.Referenceable
	own    *callback
	goOn   chan struct{}
	begins chan struct{}
}

func (k *homeOwner) RemoteGive(context.Context) (*callback, error) { return k.own, nil }

func (k *homeOwner) RemoteWait(context.Context) error {
	close(k.begins)
	<-k.goOn
	return nil
}

func (k *homeOwner) RemoteTake(_ context.Context, v *callback) (bool, error) {
	return v == k.own, nil
}

// TestReleasedAfterItWentHome: an object that goes home among the arguments of a call, and is
// released right behind that, is there when the call's turn comes, though the RELEASE has come long
// before.
func TestReleasedAfterItWentHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &homeOwner{
			own:    &callback{n: 1},
			goOn:   make(chan struct{}),
			begins: make(chan struct{}),
		}
		c, s := pbtest.Join(t, &pb.Node{Logger: silent()}, &pb.Node{Root: k, Logger: silent()})
		own, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "give")
		if err != nil {
			t.Fatal(err)
		}
		wait := pb.Call[any](t.Context(), c.Root(), "wait")
		<-k.begins
		take := pb.Call[bool](t.Context(), c.Root(), "take", own)
		own.Release()
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := s.Stats().Exports; n != 0 {
			t.Errorf("%d objects are lent, want none: it was released", n)
		}
		close(k.goOn)
		if _, err := wait.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if same, err := take.Wait(t.Context()); !same || err != nil {
			t.Errorf("the object that came home: %v, %v", same, err)
		}
	})
}

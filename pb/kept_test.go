package pb_test

import (
	"context"
	"sync"
	"testing"

	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/adapt"
)

// keptCopy keeps the address that CheckCopy is called on.
type keptCopy struct{ N int }

var keptCopies struct {
	sync.Mutex
	all []*keptCopy
}

func (k *keptCopy) CheckCopy() error {
	keptCopies.Lock()
	defer keptCopies.Unlock()
	keptCopies.all = append(keptCopies.all, k)
	return nil
}

func init() { jelly.Register[keptCopy]("test.keptCopy") }

type keptReflected struct{ pb.Referenceable }

func (*keptReflected) RemoteEcho(_ context.Context, k keptCopy) (keptCopy, error) { return k, nil }

type keptAdapted struct {
	pb.Referenceable
	_ int
}

func (*keptAdapted) RemoteEcho(_ context.Context, k keptCopy) (keptCopy, error) { return k, nil }

func init() { adapt.Methods(adapt.Func1("RemoteEcho", (*keptAdapted).RemoteEcho)) }

// TestKeptAddresses: what a value's method has seen the address of, on either side, is
// not the memory of another call afterwards.
func TestKeptAddresses(t *testing.T) {
	for name, root := range map[string]any{"reflected": &keptReflected{},
		"adapted": &keptAdapted{}} {
		t.Run(name, func(t *testing.T) {
			keptCopies.all = nil
			server, client := &pb.Node{Root: root}, &pb.Node{}
			defer server.Close() //nolint:errcheck // it never fails
			defer client.Close() //nolint:errcheck // it never fails
			c, _ := overSocket(t, client, server, "tcp", "")
			const calls = 50
			for i := range calls {
				v, err := adapt.Do1[keptCopy](t.Context(), c.Root(), "Echo", keptCopy{i + 1})
				if err != nil || v.N != i+1 {
					t.Fatal(v, err)
				}
			}
			keptCopies.Lock()
			defer keptCopies.Unlock()
			count := map[int]int{}
			for _, k := range keptCopies.all {
				count[k.N]++
			}
			for i := range calls {
				if count[i+1] != 2 {
					t.Fatalf("%d of call %d are what they were, want 2", count[i+1], i+1)
				}
			}
		})
	}
}

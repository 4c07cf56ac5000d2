package pb_test

import (
	"context"
	"testing"

	"perspective/pb"
)

// Objects with nothing in them, and with something.
type (
	hollow struct{ pb.Referenceable }
	solid  struct {
		pb.Referenceable
		_ byte
	}
)

// pairs lends two objects of a type.
type pairs struct {
	pb.Referenceable
	hollows [2]*hollow
	solids  [2]*solid
}

func (p *pairs) RemoteHollow(_ context.Context, i int) (*hollow, error) { return p.hollows[i], nil }
func (p *pairs) RemoteSolid(_ context.Context, i int) (*solid, error)   { return p.solids[i], nil }

// An object is its address to peers. Objects without any field may have one
// address, and are one object then; a field keeps them apart.
func TestObjectsAreTheirAddresses(t *testing.T) {
	p := &pairs{hollows: [2]*hollow{{}, {}}, solids: [2]*solid{{}, {}}}
	bubble(t, p, func(t *testing.T, c *pb.Conn) {
		same := func(method string) bool {
			t.Helper()
			var refs [2]*pb.RemoteReference
			for i := range refs {
				r, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), method, i)
				if err != nil {
					t.Fatal(err)
				}
				refs[i] = r
			}
			return refs[0] == refs[1]
		}
		if got, want := same("hollow"), p.hollows[0] == p.hollows[1]; got != want {
			t.Errorf("two objects without a field are one: %v, want %v as their addresses", got, want)
		}
		if same("solid") {
			t.Error("two objects with a field are one")
		}
	})
}

package pb_test

import (
	"context"
	"testing"

	"perspective/pb"
)

// Objects with no fields of their own.
type (
	hollow       struct{ pb.Referenceable }
	hollowView   struct{ pb.Viewable }
	hollowAvatar struct{ pb.Avatar }
	hollowNested struct {
		hollow
		pb.Concurrent
		_ [0]int
	}
	hollowLent interface {
		RemoteNothing(context.Context) error
	}
	hollowBare struct{}
)

func (hollowBare) RemoteNothing(context.Context) error { return nil }

// pairs lends two objects of a type.
type pairs struct {
	pb.Referenceable
	of map[string][2]any
}

func (p *pairs) RemoteGet(_ context.Context, name string, i int) (any, error) {
	return p.of[name][i], nil
}

// An object is its address to peers, and what embeds a flavour has one of its own, whatever else is
// in it. What is lent and has no fields may share one, and is one object then.
func TestObjectsAreTheirAddresses(t *testing.T) {
	bare := [2]*hollowBare{{}, {}}
	row, p0 := make([]hollow, 2), &hollow{}
	p := &pairs{of: map[string][2]any{
		"referenceable": {&hollow{}, &hollow{}},
		"viewable":      {&hollowView{}, &hollowView{}},
		"avatar":        {&hollowAvatar{}, &hollowAvatar{}},
		"nested":        {&hollowNested{}, &hollowNested{}},
		"in a slice":    {&row[0], &row[1]},
		"bare": {pb.AsReferenceable[hollowLent](bare[0]),
			pb.AsReferenceable[hollowLent](bare[1])},
		"one": {p0, p0},
	}}
	bubble(t, p, func(t *testing.T, c *pb.Conn) {
		same := func(name string) bool {
			t.Helper()
			var refs [2]*pb.RemoteReference
			for i := range refs {
				r, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "get", name, i)
				if err != nil {
					t.Fatal(err)
				}
				refs[i] = r
			}
			return refs[0] == refs[1]
		}
		for name := range p.of {
			want := name == "one" || name == "bare" && bare[0] == bare[1]
			if got := same(name); got != want {
				t.Errorf("%s: two of them are one object: %t, want %t", name, got, want)
			}
		}
	})
}

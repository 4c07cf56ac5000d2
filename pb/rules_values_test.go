package pb_test

import (
	"context"
	"errors"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/pbtest"
)

// point is a value that crosses by copy.
type point struct {
	X, Y int
	Next *point
}

// secret is a value that nobody registered.
type secret struct{ Word string }

// oldForm and newForm are one type in two versions of a program.
type (
	oldForm struct{ Name string }
	newForm struct {
		Name string
		Tags []string
	}
)

func init() { jelly.Register[point]("test.point") }

// mirror gives back what it gets, in a type of its own choice.
type mirror struct {
	pb.Referenceable
	item box
}

func (m *mirror) RemoteAny(_ context.Context, v any) (any, error) { return v, nil }

func (m *mirror) RemotePoint(_ context.Context, p point) (*point, error) { return &p, nil }

func (m *mirror) RemoteItem(context.Context) (*box, error) { return &m.item, nil }

func (m *mirror) RemoteSecret(context.Context) (any, error) { return secret{"x"}, nil }

func (m *mirror) RemoteVast(context.Context) (any, error) {
	return new(big.Int).Lsh(big.NewInt(1), 8<<10), nil
}

func (m *mirror) RemoteLoop(context.Context) (*point, error) {
	p := &point{}
	p.Next = p
	return p, nil
}

func (m *mirror) RemoteFaces(
	_ context.Context, faces map[int8]time.Duration, n *big.Int,
) (map[int8]time.Duration, error) {
	faces[int8(n.Int64())] = time.Second
	return faces, nil
}

// Values of plain and registered types cross as equal copies.
func TestValuesCrossByCopy(t *testing.T) {
	when := time.Date(2024, 2, 29, 12, 0, 0, 7, time.UTC)
	tests := []struct{ in, want any }{
		{nil, nil},
		{true, true},
		{int8(-3), int64(-3)},
		{uint64(math.MaxUint64), uint64(math.MaxUint64)},
		{1.5, 1.5},
		{"héllo", "héllo"},
		{[]byte{0, 255}, []byte{0, 255}},
		{[]string{"a", "b"}, []any{"a", "b"}},
		{map[string]int{"a": 1}, map[string]any{"a": int64(1)}},
		{when, when},
		{3 * time.Hour, 3 * time.Hour},
		{point{1, 2, &point{X: 3}}, point{1, 2, &point{X: 3}}},
		{&point{X: 9}, point{X: 9}},
	}
	bubble(t, &mirror{}, func(t *testing.T, c *pb.Conn) {
		for _, test := range tests {
			got, err := pb.Do[any](t.Context(), c.Root(), "any", test.in)
			if p, ok := got.(*point); ok {
				got = *p
			}
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("%#v came back as %#v, %v, want %#v", test.in, got, err, test.want)
			}
		}
		mine := &point{X: 1}
		got, err := pb.Do[*point](t.Context(), c.Root(), "point", mine)
		if err != nil || got == mine || *got != *mine {
			t.Errorf("a copy = %v, %v", got, err)
		}
		faces, err := pb.Do[map[int8]time.Duration](t.Context(), c.Root(), "faces",
			map[int8]time.Duration{1: 2}, big.NewInt(5))
		if err != nil || faces[1] != 2 || faces[5] != time.Second {
			t.Errorf("exact types = %v, %v", faces, err)
		}
	})
}

// What is neither plain nor registered nor an object does not cross at all.
func TestValuesThatDoNotCross(t *testing.T) {
	loop := &point{}
	loop.Next = loop
	sent := map[string]any{
		"unregistered":          secret{"x"},
		"unregistered, pointer": &secret{"x"},
		"inside of a list":      []any{1, secret{"x"}},
		"a channel":             make(chan int),
		"a function":            func() {},
		"a cycle":               loop,
		"a vast number":         new(big.Int).Lsh(big.NewInt(1), 8<<10),
	}
	bubble(t, &mirror{}, func(t *testing.T, c *pb.Conn) {
		check := func(name string, err error, want pb.Outcome) {
			t.Helper()
			var typeError *jelly.TypeError
			if !errors.As(err, &typeError) || pb.OutcomeOf(err) != want {
				t.Errorf("%s: %v, outcome %v, want a TypeError, %v", name, err,
					pb.OutcomeOf(err), want)
			}
		}
		for name, v := range sent {
			_, err := pb.Do[any](t.Context(), c.Root(), "any", v)
			check("sent: "+name, err, pb.NotExecuted)
		}
		for _, method := range []string{"secret", "loop", "vast"} {
			_, err := pb.Do[any](t.Context(), c.Root(), method)
			check("returned: "+method, err, pb.Executed)
		}
		for name, v := range map[string]any{
			"too few bits": map[string]any{"X": 1},
			"a string":     "x",
			"a number":     3,
		} {
			_, err := pb.Do[any](t.Context(), c.Root(), "point", v)
			check("received: "+name, err, pb.NotExecuted)
		}
		if _, err := pb.Do[any](t.Context(), c.Root(), "any", 1); err != nil {
			t.Errorf("the connection afterwards: %v", err)
		}
	})
}

// A receiver that does not know a type builds nothing in its place.
func TestUnknownTypeIsNotBuilt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		strict := &pb.Node{Root: &mirror{}, Types: &jelly.Registry{Closed: true}}
		c, _ := pbtest.Join(t, &pb.Node{}, strict)
		_, err := pb.Do[any](t.Context(), c.Root(), "any", point{X: 1})
		if err == nil || pb.OutcomeOf(err) != pb.NotExecuted ||
			!strings.Contains(err.Error(), "test.point") {
			t.Errorf("a type that the receiver does not know: %v, %v", err, pb.OutcomeOf(err))
		}
	})
}

// former answers with what it read of a form.
type former struct{ pb.Referenceable }

func (*former) RemoteOld(_ context.Context, f oldForm) (oldForm, error) { return f, nil }
func (*former) RemoteNew(_ context.Context, f newForm) (newForm, error) { return f, nil }

// Fields may be added at the end of a struct: programs of before and after
// understand each other.
func TestStructsGrowAtTheEnd(t *testing.T) {
	before, after := &jelly.Registry{Closed: true}, &jelly.Registry{Closed: true}
	jelly.RegisterIn[oldForm](before, "test.form")
	jelly.RegisterIn[newForm](after, "test.form")
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		toNew, _ := pbtest.Join(t, &pb.Node{Types: before}, &pb.Node{Root: &former{}, Types: after})
		old, err := pb.Do[oldForm](ctx, toNew.Root(), "new", oldForm{"ann"})
		if old.Name != "ann" || err != nil {
			t.Errorf("old to new = %+v, %v", old, err)
		}
		toOld, _ := pbtest.Join(t, &pb.Node{Types: after}, &pb.Node{Root: &former{}, Types: before})
		grown, err := pb.Do[newForm](ctx, toOld.Root(), "old", newForm{"bob", []string{"x"}})
		if grown.Name != "bob" || grown.Tags != nil || err != nil {
			t.Errorf("new to old = %+v, %v", grown, err)
		}
	})
}

// An object inside of a value crosses by reference, as everywhere.
func TestObjectsInsideValues(t *testing.T) {
	m := &mirror{}
	bubble(t, m, func(t *testing.T, c *pb.Conn) {
		ctx := t.Context()
		item, err := pb.Do[*pb.RemoteReference](ctx, c.Root(), "item")
		if err != nil {
			t.Fatal(err)
		}
		mine := &box{}
		got, err := pb.Do[map[string]any](ctx, c.Root(), "any",
			map[string]any{"yours": item, "mine": mine})
		if err != nil || got["yours"] != item || got["mine"] != mine {
			t.Errorf("objects in a map came back as %v, %v", got, err)
		}
	})
}

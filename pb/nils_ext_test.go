package pb_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"perspective/pb"
	"perspective/pb/adapt"
)

// pointed says what it got where its caller has a Deferred that may be nil.
type pointed struct {
	pb.Referenceable
	_ byte
}

func (*pointed) RemoteAny(_ context.Context, v any) (string, error) { return fmt.Sprint(v), nil }
func (*pointed) RemoteLater(_ context.Context, d *pb.Deferred[int]) (bool, error) {
	return d == nil, nil
}
func (*pointed) RemoteTarget(_ context.Context, t pb.Target) (bool, error) { return t == nil, nil }
func (*pointed) RemoteTwo(_ context.Context, a, b any) (string, error) {
	return fmt.Sprint(a, " ", b), nil
}

// aimed is a Target of the program's own that cannot be used when it is nil.
type aimed struct{ to *pb.RemoteReference }

func (*aimed) JellyReference() {}
func (a *aimed) Reference(context.Context) (*pb.RemoteReference, error) {
	return a.to, nil
}

func TestNilDeferredCrossesAsNil(t *testing.T) {
	bubble(t, &pointed{}, func(t *testing.T, c *pb.Conn) {
		ctx, root := t.Context(), c.Root()
		var none *pb.Deferred[int]
		var noRef *pb.RemoteReference
		for _, nothing := range []any{none, noRef, (*aimed)(nil),
			(*pb.Deferred[*pb.RemoteReference])(nil)} {
			if got, err := pb.Do[string](ctx, root, "any", nothing); got != "<nil>" || err != nil {
				t.Errorf("a nil %T as an any: %q, %v", nothing, got, err)
			}
			if got, err := pb.Do[bool](ctx, root, "later", nothing); !got || err != nil {
				t.Errorf("a nil %T as a Deferred: %v, %v", nothing, got, err)
			}
			if got, err := pb.Do[bool](ctx, root, "target", nothing); !got || err != nil {
				t.Errorf("a nil %T as a Target: %v, %v", nothing, got, err)
			}
			if _, err := pb.Call[any](ctx, root, "any", []any{nothing}).Wait(ctx); err != nil {
				t.Errorf("a nil %T in a list: %v", nothing, err)
			}
			if err := root.Send(ctx, "any", nothing); err != nil {
				t.Errorf("a nil %T in a Send: %v", nothing, err)
			}
		}
		// the call waits for one argument, and has a nil one beside it
		pending := new(pb.Deferred[int])
		two := pb.Call[string](ctx, root, "two", pending, none)
		pending.Callback(3)
		if got, err := two.Wait(ctx); got != "3 <nil>" || err != nil {
			t.Errorf("one that fires and a nil one: %q, %v", got, err)
		}
		if got, err := adapt.Do2[string](ctx, root, "two", none, noRef); got != "<nil> <nil>" ||
			err != nil {
			t.Errorf("typed: %q, %v", got, err)
		}
		bound := pb.Bind[struct {
			Later func(context.Context, *pb.Deferred[int]) (bool, error)
		}](root)
		if got, err := bound.Later(ctx, nil); !got || err != nil {
			t.Errorf("bound: %v, %v", got, err)
		}
	})
}

func TestNilTargetFailsTheCall(t *testing.T) {
	bubble(t, &pointed{}, func(t *testing.T, c *pb.Conn) {
		ctx := t.Context()
		var none *pb.Deferred[*pb.RemoteReference]
		targets := []pb.Target{
			nil, none, (*pb.Deferred[any])(nil), (*pb.RemoteReference)(nil), (*aimed)(nil),
			pb.Succeed(none), pb.Succeed[*pb.RemoteReference](nil),
			pb.Succeed[pb.Target](none), &aimed{},
		}
		for _, on := range targets {
			want := "nil"
			check := func(how string, err error) {
				t.Helper()
				if err == nil || !strings.Contains(err.Error(), want) ||
					strings.Contains(err.Error(), "panic") ||
					pb.OutcomeOf(err) != pb.NotExecuted {
					t.Errorf("%s on a %T: %v, %v", how, on, pb.OutcomeOf(err), err)
				}
			}
			_, err := pb.Do[any](ctx, on, "any", 1)
			check("Do", err)
			_, err = pb.Call[any](ctx, on, "any", 1).Wait(ctx)
			check("Call", err)
			_, err = adapt.Do1[any](ctx, on, "any", 1)
			check("Do1", err)
			relayed := pb.Call[string](ctx, c.Root(), "any", 1)
			_, err = pb.Call[any](ctx, on, "two", relayed, none).Wait(ctx)
			if v := reflect.ValueOf(on); v.IsValid() && v.IsNil() {
				check("Call with a promise", err)
				_, err = pb.Bind[struct {
					Any func(context.Context, any) (any, error)
				}](on).Any(ctx, 1)
				check("Bind", err)
			}
			if r, ok := on.(*pb.RemoteReference); ok {
				_, err = r.CallRemote(ctx, "any", 1).Wait(ctx)
				check("CallRemote", err)
				check("Send", r.Send(ctx, "any", 1))
			}
		}
		if _, err := pb.Succeed(none).Reference(ctx); err == nil ||
			!strings.Contains(err.Error(), "nil") {
			t.Errorf("the Reference of a Deferred with a nil one: %v", err)
		}
		if _, err := none.Reference(ctx); err == nil || !strings.Contains(err.Error(), "nil") {
			t.Errorf("the Reference of a nil Deferred: %v", err)
		}
	})
}

func TestNilInputs(t *testing.T) {
	ctx := t.Context()
	var none *pb.Deferred[int]
	if _, err := pb.Gather(pb.Succeed(1), none).Wait(ctx); err == nil ||
		err.Error() != "pb: input 2 is a nil *Deferred" {
		t.Errorf("Gather: %v", err)
	}
	later := new(pb.Deferred[int])
	first := pb.First(none, later)
	later.Callback(7)
	if got, err := first.Wait(ctx); got != 7 || err != nil {
		t.Errorf("First: %v, %v", got, err)
	}
	if _, err := pb.First(none).Wait(ctx); err == nil ||
		!strings.Contains(err.Error(), "input 1 is a nil") {
		t.Errorf("First of nothing but nil: %v", err)
	}
	list, err := pb.List(none, pb.Succeed(2)).Wait(ctx)
	if err != nil || list[0].Err == nil || list[1].Value != 2 {
		t.Errorf("List: %v, %v", list, err)
	}
}

package pb_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"perspective/cred"
	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/adapt"
	"perspective/pb/pbtest"
)

// arities is an object with methods of every number of arguments.
type arities struct {
	pb.Referenceable
	done []string
}

func (*arities) RemoteF0(context.Context) (string, error) { return "", nil }
func (*arities) RemoteF1(_ context.Context, a int) (string, error) {
	return fmt.Sprint(a), nil
}
func (*arities) RemoteF2(_ context.Context, a int, b string) (string, error) {
	return fmt.Sprint(a, b), nil
}
func (*arities) RemoteF3(_ context.Context, a int, b string, c []byte) (string, error) {
	return fmt.Sprint(a, b, c), nil
}
func (*arities) RemoteF4(_ context.Context, a int, b string, c []byte, d any) (string, error) {
	return fmt.Sprint(a, b, c, d), nil
}
func (r *arities) RemoteP0(context.Context) error {
	r.done = append(r.done, "P0")
	return nil
}
func (r *arities) RemoteP1(_ context.Context, a int) error { return r.note("P1", a) }
func (r *arities) RemoteP2(_ context.Context, a, b int) error {
	return r.note("P2", a, b)
}
func (r *arities) RemoteP3(_ context.Context, a, b, c int) error {
	return r.note("P3", a, b, c)
}
func (r *arities) RemoteP4(_ context.Context, a, b, c, d int) error {
	return r.note("P4", a, b, c, d)
}
func (r *arities) RemoteDone(context.Context) ([]string, error) { return r.done, nil }

func (r *arities) note(args ...any) error {
	r.done = append(r.done, strings.TrimSpace(fmt.Sprintln(args...)))
	return nil
}

func init() {
	adapt.Methods(
		adapt.Func0("RemoteF0", (*arities).RemoteF0),
		adapt.Func1("RemoteF1", (*arities).RemoteF1),
		adapt.Func2("RemoteF2", (*arities).RemoteF2),
		adapt.Func3("RemoteF3", (*arities).RemoteF3),
		adapt.Func4("RemoteF4", (*arities).RemoteF4),
		adapt.Proc0("RemoteP0", (*arities).RemoteP0),
		adapt.Proc1("RemoteP1", (*arities).RemoteP1),
		adapt.Proc2("RemoteP2", (*arities).RemoteP2),
		adapt.Proc3("RemoteP3", (*arities).RemoteP3),
		adapt.Proc4("RemoteP4", (*arities).RemoteP4),
	)
}

func TestArities(t *testing.T) {
	bubble(t, &arities{}, func(t *testing.T, c *pb.Conn) {
		ctx, root := t.Context(), c.Root()
		do := func(s string, err error) func(string) {
			return func(want string) {
				t.Helper()
				if s != want || err != nil {
					t.Errorf("got %q, %v, want %q", s, err, want)
				}
			}
		}
		do(pb.Do[string](ctx, root, "F0"))("")
		do(adapt.Do1[string](ctx, root, "F1", 7))("7")
		do(adapt.Do2[string](ctx, root, "F2", 7, "b"))("7b")
		do(adapt.Do3[string](ctx, root, "F3", 7, "b", []byte{1}))("7b[1]")
		do(adapt.Do4[string](ctx, root, "F4", 7, "b", []byte{1}, any(true)))("7b[1] true")
		do(adapt.Call1[string](ctx, root, "F1", 8).Wait(ctx))("8")
		do(adapt.Call2[string](ctx, root, "F2", 8, "b").Wait(ctx))("8b")
		do(adapt.Call3[string](ctx, root, "F3", 8, "b", []byte{1}).Wait(ctx))("8b[1]")
		do(adapt.Call4[string](ctx, root, "F4", 8, "b", []byte{1}, any(nil)).Wait(ctx))(
			"8b[1] <nil>")
		if err := root.Send(ctx, "P0"); err != nil {
			t.Error(err)
		}
		if err := root.Send(ctx, "P1", 1); err != nil {
			t.Error(err)
		}
		for _, d := range []*pb.Deferred[struct{}]{
			adapt.Call2[struct{}](ctx, root, "P2", 1, 2),
			adapt.Call3[struct{}](ctx, root, "P3", 1, 2, 3),
			adapt.Call4[struct{}](ctx, root, "P4", 1, 2, 3, 4),
		} {
			if _, err := d.Wait(ctx); err != nil {
				t.Error(err)
			}
		}
		done, err := pb.Do[[]string](ctx, root, "Done")
		if want := "P0 P1 1 P2 1 2 P3 1 2 3 P4 1 2 3 4"; strings.Join(done, " ") != want ||
			err != nil {
			t.Errorf("done = %q, %v, want %q", done, err, want)
		}
	})
}

// TestTypedCallsAsBoxed makes the same calls with Do and with Do1, with Call and with Call1.
func TestTypedCallsAsBoxed(t *testing.T) {
	type holder struct{ N int } // not registered
	ids := regexp.MustCompile(`id [0-9a-z]+`)
	for name, c := range map[string]func(
		ctx context.Context, root *pb.RemoteReference,
	) (boxed, typed error){
		"not UTF-8":      askBoth("Any", "\xff"),
		"not registered": askBoth("Any", holder{}),
		"a channel":      askBoth("Any", any(make(chan int))),
		"nil":            askBoth("Any", any(nil)),
		"wrong type":     askBoth("Add", "x"),
		"too many":       askBoth("Fail", 1),
		"no such":        askBoth("Adx", 1),
		"failed promise": askBoth("Add", pb.Fail[int](errOdd)),
		"promise":        askBoth("Add", pb.Succeed(2)),
		"nil target": func(ctx context.Context, _ *pb.RemoteReference) (boxed, typed error) {
			return askBoth("Add", 1)(ctx, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, &anyCounter{}, func(t *testing.T, conn *pb.Conn) {
				boxed, typed := c(t.Context(), conn.Root())
				text := func(err error) string {
					return ids.ReplaceAllString(
						fmt.Sprint(err, pb.OutcomeOf(err), errors.Is(err, errOdd)), "id")
				}
				if text(boxed) != text(typed) {
					t.Errorf("boxed: %s\ntyped: %s", text(boxed), text(typed))
				}
			})
		})
	}
}

// anyCounter is a counter that also takes anything.
type anyCounter struct{ counter }

func (*anyCounter) RemoteAny(_ context.Context, v any) (any, error) { return v, nil }

// askBoth makes one call in all ways.
func askBoth[A any](
	method string, a A,
) func(context.Context, *pb.RemoteReference) (boxed, typed error) {
	return func(ctx context.Context, root *pb.RemoteReference) (boxed, typed error) {
		_, err1 := pb.Do[any](ctx, root, method, a)
		_, err2 := pb.Call[any](ctx, root, method, a).Wait(ctx)
		_, err3 := adapt.Do1[any](ctx, root, method, a)
		_, err4 := adapt.Call1[any](ctx, root, method, a).Wait(ctx)
		return errors.Join(err1, err2), errors.Join(err3, err4)
	}
}

// TestTypedPromises has typed calls go to promises and take them as arguments before they are
// there.
func TestTypedPromises(t *testing.T) {
	bubble(t, &counter{}, func(t *testing.T, c *pb.Conn) {
		ctx := t.Context()
		child := pb.Call[*pb.RemoteReference](ctx, c.Root(), "Child")
		if same, err := adapt.Do1[bool](ctx, c.Root(), "Same", child); !same || err != nil {
			t.Errorf("an argument not answered yet = %v, %v", same, err)
		}
		child = pb.Call[*pb.RemoteReference](ctx, c.Root(), "Child")
		two := adapt.Call1[int](ctx, child, "Add", 2)
		if n, err := adapt.Do1[int](ctx, child, "AddOf", two); n != 4 || err != nil {
			t.Errorf("a target not answered yet = %v, %v", n, err)
		}
		var mine pb.Deferred[int]
		later := adapt.Call1[int](ctx, child, "Add", &mine)
		mine.Callback(3)
		if n, err := later.Wait(ctx); n != 7 || err != nil {
			t.Errorf("an argument of one's own = %v, %v", n, err)
		}
	})
}

// TestTypedCallGivenUp has calls end with their ctx, when the channel they wait on is not used
// again, and go on after it.
func TestTypedCallGivenUp(t *testing.T) {
	bubble(t, &counter{}, func(t *testing.T, c *pb.Conn) {
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 1)
			_, err := pb.Do[struct{}](ctx, c.Root(), "Wait")
			// nobody has one
			if !errors.Is(err, context.DeadlineExceeded) ||
				strings.Contains(err.Error(), "Deferred") {
				t.Errorf("a call that is given up: %v", err)
			}
			cancel()
			if _, err := adapt.Do1[int](t.Context(), c.Root(), "Add", 1); err != nil {
				t.Error(err)
			}
		}
	})
}

// adaptedRoom is a room called by an adaptor.
type adaptedRoom struct{ pb.Viewable }

func (*adaptedRoom) ViewWho(_ context.Context, m *member) (string, error) {
	return string(m.name), nil
}
func (*adaptedRoom) ViewAsk(_ context.Context, m *member, n int) error {
	return fmt.Errorf("%s %d: %w", m.name, n, errOdd)
}
func (*adaptedRoom) ViewTwo(_ context.Context, m *member, a, b int) (string, error) {
	return fmt.Sprint(m.name, a, b), nil
}
func (*adaptedRoom) ViewThree(_ context.Context, m *member, a, b, c int) (string, error) {
	return fmt.Sprint(m.name, a, b, c), nil
}
func (*adaptedRoom) ViewFour(_ context.Context, m *member, a, b, c, d int) (string, error) {
	return fmt.Sprint(m.name, a, b, c, d), nil
}

func init() {
	adapt.Methods(
		adapt.View2("ViewTwo", (*adaptedRoom).ViewTwo),
		adapt.View3("ViewThree", (*adaptedRoom).ViewThree),
		adapt.View4("ViewFour", (*adaptedRoom).ViewFour),
		adapt.View0("ViewWho", (*adaptedRoom).ViewWho),
		adapt.View1("ViewAsk", func(
			r *adaptedRoom, ctx context.Context, m *member, n int,
		) (struct{}, error) {
			return struct{}{}, r.ViewAsk(ctx, m, n)
		}),
	)
}

func TestAdaptedView(t *testing.T) {
	node, _ := door()
	node.Root = &adaptedRoom{}
	c, _ := pbtest.Join(t, &pb.Node{}, node)
	ctx := t.Context()
	if _, err := c.Login(ctx, ann(), nil); err != nil {
		t.Fatal(err)
	}
	if who, err := pb.Do[string](ctx, c.Root(), "who"); who != "ann" || err != nil {
		t.Errorf("who = %q, %v", who, err)
	}
	if _, err := adapt.Do1[struct{}](ctx, c.Root(), "ask", 3); !errors.Is(err, errOdd) ||
		!strings.Contains(err.Error(), "ann 3") {
		t.Errorf("ask = %v", err)
	}
	for _, row := range []struct {
		method, want string
		args         []any
	}{{"two", "ann1 2", []any{1, 2}}, {"three", "ann1 2 3", []any{1, 2, 3}},
		{"four", "ann1 2 3 4", []any{1, 2, 3, 4}}} {
		if s, err := pb.Do[string](ctx, c.Root(), row.method, row.args...); s != row.want ||
			err != nil {
			t.Errorf("%s = %q, %v, want %q", row.method, s, err, row.want)
		}
	}
	node, _ = door()
	node.Root = &adaptedRoom{}
	c, _ = pbtest.Join(t, &pb.Node{}, node)
	if _, err := c.Login(ctx, cred.Anonymous{}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := pb.Do[string](ctx, c.Root(), "who"); !errors.Is(err, pb.ErrNoAvatar) ||
		pb.OutcomeOf(err) != pb.NotExecuted {
		t.Errorf("a View method for members, called by a guest: %v", err)
	}
}

// TestAdaptedTypes has an adapted object take and give a type that only its node's registry knows.
func TestAdaptedTypes(t *testing.T) {
	types := &jelly.Registry{}
	jelly.RegisterIn[privateValue](types, "test.private")
	client, server := &pb.Node{Types: types}, &pb.Node{Types: types, Root: &privateKeeper{}}
	c, _ := pbtest.Join(t, client, server)
	v, err := adapt.Do1[privateValue](t.Context(), c.Root(), "Keep", privateValue{3})
	if v.N != 4 || err != nil {
		t.Errorf("Keep = %v, %v", v, err)
	}
}

type privateValue struct{ N int }

type privateKeeper struct{ pb.Referenceable }

func (*privateKeeper) RemoteKeep(_ context.Context, v privateValue) (privateValue, error) {
	return privateValue{v.N + 1}, nil
}

func init() { adapt.Methods(adapt.Func1("RemoteKeep", (*privateKeeper).RemoteKeep)) }

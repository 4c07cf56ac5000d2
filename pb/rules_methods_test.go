package pb_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// office has methods for peers and others.
type office struct {
	pb.Referenceable
	cellar
}

// cellar is a part of an office.
type cellar struct{ bottles int }

func (o *office) RemoteGetUsers(context.Context) (int, error) { return 3, nil }
func (o *office) RemoteGetUser(_ context.Context, n int, rest ...string) (int, error) {
	return n + len(rest), nil
}
func (o *office) Fire(context.Context) error         { return nil }
func (o *office) PerspectiveX(context.Context) error { return nil }
func (o *office) String() string                     { return "office" }
func (c *cellar) Drink(context.Context) error        { c.bottles--; return nil }

func TestNamesAreFolded(t *testing.T) {
	bubble(t, &office{}, func(t *testing.T, c *pb.Conn) {
		for _, name := range []string{"GetUsers", "getUsers", "get_users",
			"GET_USERS", "getusers"} {
			if n, err := pb.Do[int](t.Context(), c.Root(), name); n != 3 || err != nil {
				t.Errorf("%s = %v, %v", name, n, err)
			}
		}
	})
}

// Nothing can be called but what has the prefix.
func TestOtherMethodsAreNotReached(t *testing.T) {
	bubble(t, &office{}, func(t *testing.T, c *pb.Conn) {
		names := []string{"Fire", "String", "Drink", "X", "PerspectiveX", "RemoteGetUsers",
			"JellyReference", "", "GetUsers.x", "\x00", strings.Repeat("x", 255)}
		for _, name := range names {
			_, err := pb.Do[any](t.Context(), c.Root(), name)
			var none *pb.NoSuchMethodError
			if !errors.As(err, &none) || pb.OutcomeOf(err) != pb.NotExecuted {
				t.Errorf("calling %.20q = %v, want a NoSuchMethodError", name, err)
			}
		}
		_, err := pb.Do[any](t.Context(), c.Root(), strings.Repeat("x", 5000))
		if err == nil || pb.OutcomeOf(err) != pb.NotExecuted || len(err.Error()) > 500 {
			t.Errorf("a name of 5,000 bytes: %v", err)
		}
		if err := c.Err(); err != nil {
			t.Errorf("the connection ended: %v", err)
		}
	})
}

func TestNearNamesAreTold(t *testing.T) {
	bubble(t, &office{}, func(t *testing.T, c *pb.Conn) {
		_, err := pb.Do[any](t.Context(), c.Root(), "getUsrs")
		var none *pb.NoSuchMethodError
		if !errors.As(err, &none) || none.Method != "getUsrs" ||
			!slices.Contains(none.Near, "GetUsers") {
			t.Errorf("near names of getUsrs: %+v, %v", none, err)
		}
		if _, err := pb.Do[any](t.Context(), c.Root(), "useGerts"); !errors.As(err, &none) ||
			len(none.Near) > 0 {
			t.Errorf("near names of useGerts: %+v, %v, want none", none, err)
		}
	})
}

// Wrong arguments are refused before the method begins, in words that help.
func TestWrongArguments(t *testing.T) {
	tests := []struct {
		args []any
		want string // part of the error; empty: it works
	}{
		{[]any{1}, ""},
		{[]any{1, "a", "b"}, ""},
		{nil, "takes 1 argument, got 0"},
		{[]any{"one"}, "argument 1 of GetUser"},
		{[]any{1, "a", 2}, "argument 3 of GetUser"},
		{[]any{1 << 40, 2.5}, "argument 2 of GetUser"},
		{[]any{nil}, "argument 1 of GetUser"},
		{slices.Repeat([]any{1}, 65), "65 arguments"},
	}
	bubble(t, &office{}, func(t *testing.T, c *pb.Conn) {
		for _, test := range tests {
			_, err := pb.Do[int](t.Context(), c.Root(), "getUser", test.args...)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("%d arguments: %v", len(test.args), err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) ||
				pb.OutcomeOf(err) != pb.NotExecuted):
				t.Errorf("%d arguments: %v, %v, want %q", len(test.args), err,
					pb.OutcomeOf(err), test.want)
			}
		}
	})
}

// twice has two methods that fold to one name.
type twice struct{ pb.Referenceable }

func (*twice) RemoteGetIt(context.Context) error  { return nil }
func (*twice) RemoteGet_it(context.Context) error { return nil } // that is the point

// crooked has a method that no peer could call.
type crooked struct{ pb.Referenceable }

func (*crooked) RemoteBend(n int) int { return n }

// Objects that can not be exported are found when a program first shows them.
func TestObjectsThatCanNotBeExported(t *testing.T) {
	for name, obj := range map[string]any{
		"one name twice": &twice{},
		"a wrong shape":  &crooked{},
		"by value":       office{},
		"no object":      3,
	} {
		t.Run("root: "+name, func(t *testing.T) {
			node := &pb.Node{Root: obj}
			a, _ := pbtest.Pipe()
			if _, err := node.Attach(t.Context(), a, pb.Acceptor); err == nil ||
				!strings.Contains(err.Error(), "root") {
				t.Errorf("Attach = %v", err)
			}
			if err := node.ListenAndServe("pb+tcp://127.0.0.1:0"); err == nil ||
				!strings.Contains(err.Error(), "root") {
				t.Errorf("Serve = %v", err)
			}
		})
	}
	t.Run("argument", func(t *testing.T) {
		bubble(t, &office{}, func(t *testing.T, c *pb.Conn) {
			defer func() {
				if r := recover(); r == nil {
					t.Error("no panic")
				}
			}()
			_, err := pb.Do[any](t.Context(), c.Root(), "getUser", &crooked{})
			t.Errorf("sent, with %v", err)
		})
	})
	t.Run("chosen by RootFor", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var log logged
			server := &pb.Node{RootFor: func(*pb.Conn) any { return &crooked{} },
				Logger: log.logger()}
			c, _ := pbtest.Join(t, &pb.Node{}, server)
			if _, err := pb.Do[any](t.Context(), c.Root(), "x"); err == nil ||
				pb.OutcomeOf(err) != pb.NotExecuted {
				t.Errorf("a call = %v", err)
			}
			if !strings.Contains(log.String(), "RemoteBend") {
				t.Errorf("log %q", log.String())
			}
		})
	})
}

// What peers may call is a list that a file holds.
func TestSurfaceOfAnObject(t *testing.T) {
	pbtest.Surface(t, &office{}, "testdata/office.surface")
}

// An object without a root answers all the same.
func TestNoRoot(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *pb.Conn) {
		if _, err := pb.Do[any](t.Context(), c.Root(), "x"); !errors.Is(err, pb.ErrNoRoot) ||
			pb.OutcomeOf(err) != pb.NotExecuted {
			t.Errorf("a call on no root = %v", err)
		}
	})
}

// saysSizes has the error of what was too large name sizes and knob.
func saysSizes(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range append(parts, "broker: message too large", "(pb.Reader)") {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v: want %q in it", err, part)
		}
	}
}

// A larger Limits.Message is enough for larger messages, both ways, and a smaller one leaves the
// pieces alone.
func TestMessageLimitAlone(t *testing.T) {
	sizes := []int{70 << 10, 5 << 20, 20 << 20}
	if testing.Short() {
		sizes = sizes[:2]
	}
	for _, size := range sizes {
		limits := pb.Limits{}
		limits.Message = size + 100
		c, _ := pbtest.Join(t, &pb.Node{Limits: limits}, &pb.Node{Root: &mirror{}, Limits: limits})
		<-c.Greeted()
		for _, over := range []int{0, 200} {
			big := strings.Repeat("x", size+over)
			got, err := pb.Do[string](t.Context(), c.Root(), "any", big)
			if (over == 0) != (got == big && err == nil) ||
				(over > 0) != errors.Is(err, pb.ErrTooLarge) {
				t.Errorf("%d bytes and %d over: %d came back, %v", size, over, len(got), err)
			}
		}
	}
}

// The arguments of one call, and the answers, have limits; what is over them
// fails, and the connection lives.
func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		small := pb.Limits{}
		small.Message = 100 << 10
		c, _ := pbtest.Join(t, &pb.Node{}, &pb.Node{Root: &mirror{}, Limits: small})
		big := strings.Repeat("x", 200<<10)
		_, err := pb.Do[any](t.Context(), c.Root(), "any", big)
		if !errors.Is(err, pb.ErrTooLarge) || pb.OutcomeOf(err) != pb.NotExecuted {
			t.Errorf("large argument = %v, %v", err, pb.OutcomeOf(err))
		}
		saysSizes(t, err, "a call of 2048", "the peer takes 102400 (its Limits.Message)")
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		back, _ := pbtest.Join(t, &pb.Node{Limits: small}, &pb.Node{Root: &mirror{}})
		_, err = pb.Do[any](t.Context(), back.Root(), "any", big)
		if !errors.Is(err, pb.ErrTooLarge) || pb.OutcomeOf(err) != pb.Executed {
			t.Errorf("large result = %v, %v", err, pb.OutcomeOf(err))
		}
		saysSizes(t, err, "an answer of at least 2048",
			"the caller takes 102400 (its Limits.Message)")
		first := pbtest.Connect(t, &mirror{})
		if got, err := pb.Do[string](t.Context(), first, "any", big); got != big || err != nil {
			t.Errorf("a large call before the peer has said anything: %d bytes, %v", len(got), err)
		}
		for _, c := range []*pb.Conn{c, back} {
			if s, err := pb.Do[string](t.Context(), c.Root(), "any", "ok"); s != "ok" ||
				err != nil {
				t.Errorf("afterwards = %q, %v", s, err)
			}
		}
	})
}

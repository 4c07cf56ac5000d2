package pb_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/adapt"
	"perspective/pb/pbtest"
)

// wordError is a sentinel that is plain as a value, oddCode a type that is.
type (
	wordError string
	oddCode   int
	told      struct {
		What string
		Err  error
	}
)

const errWord = wordError("test: a word")

func (w wordError) Error() string { return string(w) }
func (c oddCode) Error() string   { return fmt.Sprintf("code %d", int(c)) }

func init() {
	pb.RegisterError("test.word", errWord)
	pb.RegisterError("test.oddCode", oddCode(0))
	jelly.Register[told]("test.told")
}

// ears gives back the errors that it is told, and asks others to.
type ears struct {
	pb.Referenceable
	_ byte
}

func (*ears) RemoteError(_ context.Context, err error) (error, error) { return err, nil }
func (*ears) RemoteAny(_ context.Context, v any) (any, error)         { return v, nil }
func (*ears) RemoteTold(_ context.Context, v told) (told, error)      { return v, nil }
func (*ears) RemoteAll(_ context.Context, v ...error) ([]error, error) {
	return v, nil
}
func (*ears) RemoteNote(ctx context.Context, err error) error { return pb.Note(ctx, err) }
func (*ears) RemotePass(ctx context.Context, to *pb.RemoteReference, err error) (error, error) {
	return pb.Do[error](ctx, to, "error", err)
}
func (*ears) RemoteIs(_ context.Context, err error) (bool, error) {
	return errors.Is(err, errOdd), nil
}

func TestErrorsCrossAsValues(t *testing.T) {
	is := func(target error) func(error) bool {
		return func(err error) bool { return errors.Is(err, target) }
	}
	left := func(err error) bool {
		var s *soldOut
		return errors.As(err, &s) && s.Left == 2
	}
	tests := map[string]struct {
		err   error
		as    func(error) bool
		plain bool // what arrives where anything is taken is the plain value
	}{
		"sentinel":       {errOdd, is(errOdd), false},
		"of the library": {io.EOF, is(io.EOF), false},
		"of this module": {pb.ErrOverloaded, is(pb.ErrOverloaded), false},
		"wrapped":        {fmt.Errorf("at the till: %w", errOdd), is(errOdd), false},
		"joined":         {errors.Join(errors.New("first"), &soldOut{Left: 2}), left, false},
		"type":           {&soldOut{Left: 2}, left, true},
		"plain sentinel": {errWord, is(errWord), false},
		"plain type":     {oddCode(3), is(oddCode(3)), true},
		"type of this module": {&pb.NoSuchMethodError{Method: "x"},
			func(err error) bool { return errors.As(err, new(*pb.NoSuchMethodError)) }, false},
		"a peer's": {&pb.Failure{Type: "shop.Closed", Message: "come back"}, func(err error) bool {
			return pb.IsType(err, "shop.Closed") && err.Error() == "come back"
		}, false},
	}
	bubble(t, &ears{}, func(t *testing.T, c *pb.Conn) {
		ctx, root := t.Context(), c.Root()
		for name, test := range tests {
			check := func(how string, got error, err error) {
				t.Helper()
				if err != nil || got == nil || !test.as(got) || got.Error() != test.err.Error() {
					t.Errorf("%s, %s: got %v (%T), %v", name, how, got, got, err)
				}
			}
			if _, number := test.err.(oddCode); !number { //nolint:errorlint // this one, as it is
				got, err := pb.Do[error](ctx, root, "error", test.err)
				check("an argument", got, err)
			}
			got, err := adapt.Do1[error](ctx, root, "error", test.err)
			check("a typed argument", got, err)
			all, err := adapt.Do1[[]error](ctx, root, "all", test.err)
			if err == nil && len(all) == 1 {
				check("in a list", all[0], err)
			} else {
				t.Errorf("%s, in a list: %v, %v", name, all, err)
			}
			field, err := pb.Do[told](ctx, root, "told", told{"x", test.err})
			check("in a field", field.Err, err)
			v, err := pb.Do[any](ctx, root, "any", test.err)
			if !test.plain {
				got, _ = v.(error)
				check("in an any", got, err)
			} else if err != nil {
				t.Errorf("%s, in an any: %v", name, err)
			}
		}
		if got, err := adapt.Do1[error](ctx, root, "error", error(nil)); got != nil || err != nil {
			t.Errorf("nil: %v, %v", got, err)
		}
		if ok, err := pb.Do[bool](ctx, root, "is", errOdd); !ok || err != nil {
			t.Errorf("the method was given another error: %v, %v", ok, err)
		}
		var noted any
		//nolint:errorlint // itself
		if _, err := pb.Do[any](pb.WithNotes(ctx, func(v any) { noted = v }), root,
			"note", errOdd); err != nil || noted != errOdd {
			t.Errorf("a note: %v, %v", noted, err)
		}
		if got, err := pb.Do[error](ctx, root, "pass", &ears{},
			fmt.Errorf("at home: %w", errOdd)); err != nil ||
			!errors.Is(got, errOdd) || got.Error() != "at home: "+errOdd.Error() {
			t.Errorf("there and back and there: %v, %v", got, err)
		}
		var mismatch *jelly.TypeError
		if _, err := pb.Do[any](ctx, root, "any",
			errors.New("nobody knows me")); !errors.As(err, &mismatch) ||
			pb.OutcomeOf(err) != pb.NotExecuted {
			t.Errorf("an error that nobody registered: %v", err)
		}
	})
}

// An object over the limit is told in the right words, and as what is over a
// budget.
func TestTooManyObjectsIsOverload(t *testing.T) {
	one := func(l pb.Limits) *pb.Node { return &pb.Node{Root: &ears{}, Limits: l} }
	two := []any{&ears{}, &ears{}}
	tests := []struct {
		name           string
		client, server pb.Limits
		want           error
	}{
		{"exports", pb.Limits{Exports: 1}, pb.Limits{}, pb.ErrTooManyExports},
		{"imports", pb.Limits{}, pb.Limits{Imports: 1}, pb.ErrTooManyImports},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, _ := pbtest.Join(t, one(test.client), one(test.server))
			if _, err := pb.Do[any](t.Context(), c.Root(), "any", two[:1]); err != nil {
				t.Fatalf("one: %v", err)
			}
			_, err := pb.Do[any](t.Context(), c.Root(), "any", two)
			if !errors.Is(err, test.want) || !errors.Is(err, pb.ErrOverloaded) ||
				!pb.IsType(err, "broker.ErrOverloaded") ||
				pb.OutcomeOf(err) != pb.NotExecuted {
				t.Errorf("two: %v, %v", pb.OutcomeOf(err), err)
			}
		})
	}
}

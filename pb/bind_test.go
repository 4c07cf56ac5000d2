package pb

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// surfaceTarget stands for a reference; the calls go to surfaceCall.
type surfaceTarget struct{ Target }

// surfaceStarted is what a call that does not wait gives.
type surfaceStarted struct{ text string }

func (*surfaceStarted) newCall(_ context.Context, _ Target, method string, args []any) any {
	return &surfaceStarted{fmt.Sprint(method, args)}
}

func surfaceCall(
	_ context.Context, _ Target, method string, args []reflect.Value, result reflect.Type,
) (reflect.Value, error) {
	plain := make([]any, len(args))
	for i, a := range args {
		plain[i] = a.Interface()
	}
	switch {
	case method == "Fail":
		return reflect.Value{}, errors.New("no")
	case result == nil:
		return reflect.Value{}, nil
	case result.Kind() == reflect.String:
		return reflect.ValueOf(fmt.Sprint(method, plain)), nil
	}
	return reflect.Value{}, nil
}

type surfaceBound struct {
	GetUsers func(ctx context.Context, group string, n int) (string, error) `pb:"getUsers"`
	Ping     func(context.Context) error
	Fail     func(context.Context) (int, error)
	Many     func(ctx context.Context, first int, more ...string) (string, error)
	Nothing  func(context.Context) (*int, error)
	Start    func(ctx context.Context, n int) *surfaceStarted
}

func TestBind(t *testing.T) {
	ctx := t.Context()
	var b surfaceBound
	v := reflect.ValueOf(&b).Elem()
	for range 2 {
		for i, f := range boundFields(v.Type()) {
			v.Field(i).Set(f.bind(surfaceTarget{}, surfaceCall))
		}
	}
	if got, err := b.GetUsers(ctx, "g", 3); got != "getUsers[g 3]" || err != nil {
		t.Errorf("GetUsers = %q, %v", got, err)
	}
	if err := b.Ping(ctx); err != nil {
		t.Errorf("Ping = %v", err)
	}
	if n, err := b.Fail(ctx); n != 0 || err == nil || err.Error() != "no" {
		t.Errorf("Fail = %v, %v", n, err)
	}
	for want, more := range map[string][]string{"Many[1]": nil, "Many[1 a b]": {"a", "b"}} {
		if got, err := b.Many(ctx, 1, more...); got != want || err != nil {
			t.Errorf("Many = %q, %v, want %q", got, err, want)
		}
	}
	if p, err := b.Nothing(ctx); p != nil || err != nil {
		t.Errorf("Nothing = %v, %v", p, err)
	}
	if d := b.Start(ctx, 5); d.text != "Start[5]" {
		t.Errorf("Start = %q", d.text)
	}
}

func TestBindPanics(t *testing.T) {
	on := surfaceTarget{}
	for name, c := range map[string]struct {
		bind func()
		want string
	}{
		"nil target": {func() { Bind[surfaceBound](nil) }, "the target is nil"},
		"no struct":  {func() { Bind[int](on) }, "not a struct of functions"},
		"empty":      {func() { Bind[struct{}](on) }, "not a struct of functions"},
		"field":      {func() { Bind[struct{ N int }](on) }, "field N is not a function"},
		"hidden": {func() { Bind[struct{ f func(context.Context) error }](on) },
			"field f is not an exported field"},
		"embedded": {func() { Bind[struct{ surfaceStarted }](on) },
			"field surfaceStarted is not an exported field"},
		"no ctx": {func() { Bind[struct{ F func() error }](on) },
			"does not take a context.Context first"},
		"variadic": {func() {
			Bind[struct {
				F func(...context.Context) error
			}](on)
		}, "does not take a context.Context first"},
		"no error": {func() { Bind[struct{ F func(context.Context) int }](on) }, "must return"},
		"nothing":  {func() { Bind[struct{ F func(context.Context) }](on) }, "must return"},
		"three": {func() {
			Bind[struct {
				F func(context.Context) (int, int, error)
			}](on)
		}, "must return"},
		"tag": {func() {
			Bind[struct {
				F func(context.Context) error `pb:""`
			}](on)
		}, "tag that is no method's name"},
		"channel": {func() {
			Bind[struct {
				F func(context.Context, chan int) error
			}](on)
		}, "takes a chan int, which cannot cross"},
		"copy": {func() {
			Bind[struct {
				F func(context.Context, ...surfaceBoard) error
			}](on)
		}, "is passed by value"},
		"result": {func() {
			Bind[struct {
				F func(context.Context) (func(), error)
			}](on)
		}, "returns a func(), which cannot cross"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := surfacePanic(c.bind); !strings.HasPrefix(got, "pb: Bind") ||
				!strings.Contains(got, c.want) {
				t.Errorf("panicked with %q, want %q in it", got, c.want)
			}
		})
	}
}

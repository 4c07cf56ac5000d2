package pb

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"perspective/pb/internal/typed"
)

// adaptedRude and adaptedBoard are surfaceRude and surfaceBoard by other names, and called by
// adaptors.
type (
	adaptedRude  struct{ surfaceRude }
	adaptedBoard struct{ surfaceBoard }
)

func init() {
	adaptAll(
		typed.Func1("RemoteEcho", (*adaptedRude).RemoteEcho),
		typed.Proc0("RemoteExit", (*adaptedRude).RemoteExit),
		typed.Func0("RemoteNil", func(o *adaptedRude, ctx context.Context) (*Deferred[int], error) {
			return o.RemoteNil(ctx), nil
		}),
		typed.Func1("RemoteAfter", (*adaptedRude).RemoteAfter),
		typed.Func0("RemoteObject", (*adaptedRude).RemoteObject),
	)
	adaptAll(
		typed.Proc2("RemotePost", (*adaptedBoard).RemotePost),
		typed.Func0("RemoteGet_All", (*adaptedBoard).RemoteGet_All),
		typed.Func0("RemoteLater", func(
			o *adaptedBoard, ctx context.Context,
		) (*Deferred[string], error) {
			return o.RemoteLater(ctx), nil
		}),
		typed.Func1("RemoteMaybe", (*adaptedBoard).RemoteMaybe),
		typed.Func1("RemoteAny", (*adaptedBoard).RemoteAny),
		typed.Func0("RemoteBroken", (*adaptedBoard).RemoteBroken),
		typed.Proc0("RemotePanic", (*adaptedBoard).RemotePanic),
	)
	adaptAll(typed.Func1("RemoteAny", (*adaptTwice).RemoteAny)) // for TestAdaptPanics
	adaptAll(typed.Func1("Get", adaptFace.Get))                 // for TestAdaptLent
}

// adaptAll is adapt.Methods, which this package's own tests can't import.
func adaptAll[O any](methods ...typed.Method[O]) {
	t := reflect.TypeFor[O]()
	var plans []*typed.Plan
	for i := range methods {
		plans = append(plans, &methods[i].Plan)
	}
	_, file, line, _ := runtime.Caller(1)
	adaptMethods(t, fmt.Sprintf("adapt: Methods[%s]", t), fmt.Sprintf("%s:%d", file, line), plans)
}

var panicID = regexp.MustCompile(`id [0-9a-z]+`)

// TestAdaptedAsReflected makes the same calls to objects called by reflection and by adaptors: no
// peer sees a difference.
func TestAdaptedAsReflected(t *testing.T) {
	passing := func(
		ctx context.Context, _ *CallInfo, next func(context.Context) (any, error),
	) (any, error) {
		return next(ctx)
	}
	telling := func(
		_ context.Context, c *CallInfo, _ func(context.Context) (any, error),
	) (any, error) {
		return c.Args(), nil
	}
	rude := [2]func() any{func() any { return &surfaceRude{} },
		func() any { return &adaptedRude{} }}
	board := [2]func() any{
		func() any { return &surfaceBoard{later: Succeed("now"), posts: []string{"a"}} },
		func() any {
			return &adaptedBoard{surfaceBoard{later: Succeed("now"), posts: []string{"a"}}}
		},
	}
	for _, c := range []struct {
		objects [2]func() any
		method  string
		args    []any
		want    string // how the answer begins
	}{
		{rude, "Echo", []any{"fine"}, "fine"},
		{rude, "Echo", []any{"decode"},
			"refused: pb: argument 1 of Echo: jelly: pb.surfaceRudeValue: ReadJelly panicked: " +
				"internal error, id "},
		{rude, "Echo", []any{"encode"},
			"failed: pb: result of Echo: jelly: pb.surfaceRudeValue: AppendJelly panicked: " +
				"internal error, id "},
		{rude, "Echo", nil, "refused: pb: Echo"},
		{rude, "Echo", []any{"a", "b"}, "refused: pb: Echo"},
		{rude, "After", []any{"fine"}, "fine"},
		{rude, "After", []any{"encode"},
			"failed: pb: result of After: jelly: pb.surfaceRudeValue: AppendJelly panicked: " +
				"internal error, id "},
		{rude, "Object", nil, "failed: internal error, id "},
		{rude, "Nil", nil, "failed: pb: Nil returned a nil *pb.Deferred[int]"},
		{rude, "Exit", nil, "failed: internal error, id "},
		{board, "post", []any{"ann", "hello"}, "<nil>"},
		{board, "post", []any{"ann", ""}, "failed: board: empty text"},
		{board, "post", []any{"ann", 3}, "refused: pb: argument 2 of Post: "},
		{board, "getall", nil, "[a]"},
		{board, "Later", nil, "now"},
		{board, "Maybe", []any{true}, ""},
		{board, "Maybe", []any{false}, ""},
		{board, "Any", []any{map[string]any{"k": 1}}, "map[k:1]"},
		{board, "Any", []any{nil}, "<nil>"},
		{board, "Broken", nil, "failed: pb: result of Broken: "},
		{board, "Panic", nil, "failed: internal error, id "},
		{board, "Sum", []any{1, 2}, "3"}, // by reflection either way
	} {
		for name, around := range map[string]Interceptor{
			"":                           nil,
			", by way of an interceptor": passing,
			", answered by one":          telling,
		} {
			var got [2]string
			for i, object := range c.objects {
				in := surfaceIn(t, c.args...)
				m, err := export(object(), &surroundings{around: around}).method([]byte(c.method))
				if err != nil {
					t.Fatal(err)
				}
				var done sync.WaitGroup
				done.Go(func() { m.invoke(in) }) // Exit ends the goroutine
				done.Wait()
				got[i] = panicID.ReplaceAllString(in.String(), "id ")
				if len(in.answers) != 1 {
					t.Errorf("%s(%v)%s: %d answers", c.method, c.args, name, len(in.answers))
				}
			}
			if got[0] != got[1] || around == nil && !strings.HasPrefix(got[1], c.want) {
				t.Errorf("%s(%v)%s: by reflection %q, adapted %q, want %q", c.method, c.args, name,
					got[0], got[1], c.want)
			}
		}
	}
}

// TestAdaptorIsUsed looks into the surface: which methods have an adaptor, and that nothing of a
// call stays in its frame.
func TestAdaptorIsUsed(t *testing.T) {
	s, err := surfaceOf(&adaptedBoard{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range s.methods {
		_, reflected := m.frames.New().(*reflectFrame)
		if want := slices.Contains([]string{"RemoteSum", "RemoteÜber"},
			m.goName); reflected != want {
			t.Errorf("%s is called by reflection: %v, want %v", m.goName, reflected, want)
		}
	}
	m := s.lookup([]byte("any"))
	f := m.frames.New().(*typedFrame)
	on := export(&adaptedBoard{}, &surroundings{})
	if err := f.prepare(t.Context(), on, surfaceArgs(t, "secret")); err != nil {
		t.Fatal(err)
	}
	if err := f.call(t.Context()); err != nil || f.result() != "secret" {
		t.Fatalf("the frame holds %v, %v", f.result(), err)
	}
	f.drop()
	if f.on != nil || f.result() != nil || f.arguments()[0] != nil {
		t.Errorf("a dropped frame still holds %v, %v", f.result(), f.arguments())
	}
}

func TestAdaptorsChangeNoSurface(t *testing.T) {
	if want, got := Methods(&surfaceBoard{}), Methods(&adaptedBoard{}); !reflect.DeepEqual(got,
		want) {
		t.Errorf("Methods of an adapted type = %v, want %v", got, want)
	}
}

type (
	adaptWrong    struct{ surfaceBoard }
	adaptExported struct{ surfaceBoard }
	adaptTwice    struct{ surfaceBoard }
	adaptViewed   struct{ Viewable }
	adaptMixed    struct{ surfaceBoard }
	adaptAround   struct{ Referenceable }
	adaptFace     interface {
		Get(ctx context.Context, n int) (string, error)
		Any(ctx context.Context, n ...int) error
	}
	adaptMixedFace interface {
		Get(ctx context.Context, n int) (string, error)
		Peek(ctx context.Context, n int) (string, error)
	}
	adaptBadFace interface{ Get(n int) string }
	adaptLent    struct{}
)

func (adaptLent) Get(_ context.Context, n int) (string, error) {
	return strings.Repeat("x", n), nil
}
func (adaptLent) Any(context.Context, ...int) error { return errors.New("any") }

func (*adaptViewed) ViewWho(_ context.Context, a *surfaceAll, n int) (int, error) { return n, nil }

func (*adaptMixed) RemoteClear(context.Context) error { return nil }

func (o *adaptAround) RemoteLen(context.Context) (int, error)       { return 7, nil }
func (o *adaptAround) RemoteCount(ctx context.Context) (int, error) { return o.RemoteLen(ctx) }
func (o *adaptAround) RemoteLater(context.Context) *Deferred[int]   { return nil }
func (o *adaptAround) laterOrError(ctx context.Context) (*Deferred[int], error) {
	return o.RemoteLater(ctx), nil
}

func TestAdaptPanics(t *testing.T) {
	any1 := func(*adaptWrong, context.Context, any) (any, error) { return nil, nil }
	export(&adaptExported{}, &surroundings{})
	for want, f := range map[string]func(){
		"peers can call no method RemoteNone": func() { adaptAll(typed.Func1("RemoteNone", any1)) },
		"peers can call no method Close":      func() { adaptAll(typed.Func1("Close", any1)) },
		"peers can call no method Any":        func() { adaptAll(typed.Func1("Any", any1)) },
		"RemoteAny is given twice": func() {
			adaptAll(typed.Func1("RemoteAny", any1), typed.Func1("RemoteAny", any1))
		},
		"RemoteAny returns interface {}, the adaptor int": func() {
			adaptAll(typed.Func1("RemoteAny",
				func(*adaptWrong, context.Context, any) (int, error) { return 0, nil }))
		},
		"RemoteAny returns interface {}, the adaptor no value": func() {
			adaptAll(typed.Proc1("RemoteAny",
				func(*adaptWrong, context.Context, any) error { return nil }))
		},
		"RemotePost returns no value, the adaptor int": func() {
			adaptAll(typed.Func2("RemotePost",
				func(*adaptWrong, context.Context, string, string) (int, error) { return 0, nil }))
		},
		"RemoteAny takes (context.Context, interface {}), the adaptor (context.Context)": func() {
			adaptAll(typed.Func0("RemoteAny",
				func(*adaptWrong, context.Context) (any, error) { return nil, nil }))
		},
		"ViewWho takes (context.Context, avatar *pb.surfaceAll, int), the adaptor " +
			"(context.Context, avatar *pb.adaptWrong, int)": func() {
			adaptAll(typed.View1("ViewWho", func(
				*adaptViewed, context.Context, *adaptWrong, int,
			) (int, error) {
				return 0, nil
			}))
		},
		"RemoteSum takes any number of arguments": func() {
			adaptAll(typed.Func2("RemoteSum",
				func(*adaptWrong, context.Context, int8, []int64) (int64, error) { return 0, nil }))
		},
		"have been exported already": func() {
			adaptAll(typed.Func1("RemoteAny", (*adaptExported).RemoteAny))
		},
		"the function given for method RemoteAny is method RemoteMaybe": func() {
			adaptAll(typed.Func1("RemoteAny", (*adaptMixed).RemoteMaybe))
		},
		"the function given for method RemotePanic is method RemoteClear": func() {
			adaptAll(typed.Proc0("RemotePanic", (*adaptMixed).RemoteClear))
		},
		"the function given for method Get is method Peek": func() {
			adaptAll(typed.Func1("Get", adaptMixedFace.Peek))
		},
		"called a second time, first at ": func() {
			adaptAll(typed.Func0("RemoteBroken", (*adaptTwice).RemoteBroken))
		},
		"embed pb.Referenceable": func() {
			adaptAll(typed.Func0("Get",
				func(*surfaceNone, context.Context) (int, error) { return 0, nil }))
		},
		"Get of pb.adaptBadFace cannot be called by peers: its first parameter must be a " +
			"context.Context": func() {
			adaptAll(typed.Func0("Get",
				func(adaptBadFace, context.Context) (int, error) { return 0, nil }))
		},
	} {
		if text := surfacePanic(f); !strings.HasPrefix(text, "adapt: Methods[") ||
			!strings.Contains(text, want) {
			t.Errorf("panic = %q, want %q", text, want)
		}
	}
	if _, kept := adapted.Load(reflect.TypeFor[*adaptWrong]()); kept {
		t.Error("adaptors that do not fit were kept")
	}
}

// TestAdaptSaysWhere has the panic name the file and line of the first call.
func TestAdaptSaysWhere(t *testing.T) {
	text := surfacePanic(func() {
		adaptAll(typed.Func0("RemoteBroken", (*adaptTwice).RemoteBroken))
	})
	if !regexp.MustCompile(`first at \S*adapt_test\.go:\d+; `).MatchString(text) {
		t.Errorf("panic = %q, want the place of the first call", text)
	}
}

// TestAdaptMayStandAround has methods given for others that are not mistaken for them: one that
// peers cannot call, and those that the compiler makes of the code of another.
func TestAdaptMayStandAround(*testing.T) { standAround() }

// standAround is done once, however often the tests are run: a type is adapted once.
var standAround = sync.OnceFunc(func() {
	adaptAll(
		typed.Func0("RemoteLen", (*adaptAround).RemoteLen),
		typed.Func0("RemoteCount", (*adaptAround).RemoteCount),
		typed.Func0("RemoteLater", (*adaptAround).laterOrError),
	)
})

// TestAdaptLent has an object that knows nothing of peers called by the adaptors of an interface.
func TestAdaptLent(t *testing.T) {
	x := export(AsReferenceable[adaptFace](adaptLent{}), &surroundings{})
	for method, want := range map[string]string{"get": "xxx", "any": "failed: any"} {
		in := surfaceIn(t, 3)
		surfaceInvoke(t, x, in, method)
		if got := in.String(); got != want {
			t.Errorf("%s = %q, want %q", method, got, want)
		}
	}
	if _, ok := x.surface.lookup([]byte("get")).frames.New().(*typedFrame); !ok {
		t.Error("the adaptor of the interface is not used")
	}
}

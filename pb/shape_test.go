package pb

import (
	"context"
	"io"
	"strings"
	"testing"

	"perspective/broker"
)

type (
	surfaceNone    struct{}
	surfaceNoCtx   struct{ Referenceable }
	surfaceNoErr   struct{ Referenceable }
	surfaceTwo     struct{ Referenceable }
	surfaceTwins   struct{ Referenceable }
	surfaceChan    struct{ Referenceable }
	surfaceCopy    struct{ Referenceable }
	surfaceResult  struct{ Referenceable }
	surfaceLater   struct{ Referenceable }
	surfaceNoView  struct{ Viewable }
	surfaceCrossed struct {
		Referenceable
		Avatar
	}
	surfaceByValue struct{ *Referenceable }
)

func (*surfaceNoCtx) RemoteGet() error                                       { return nil }
func (*surfaceNoErr) RemoteGet(context.Context) int                          { return 0 }
func (*surfaceTwo) RemoteGet(context.Context) (int, int, error)              { return 0, 0, nil }
func (*surfaceTwins) RemoteGetAll(context.Context) error                     { return nil }
func (*surfaceTwins) RemoteGet_all(context.Context) error                    { return nil }
func (*surfaceChan) RemoteGet(context.Context, chan int) error               { return nil }
func (*surfaceCopy) RemoteGet(context.Context, string, surfaceCopy) error    { return nil }
func (*surfaceResult) RemoteGet(context.Context) (func(), error)             { return nil, nil }
func (*surfaceLater) RemoteGet(context.Context) (*Deferred[chan int], error) { return nil, nil }
func (*surfaceNoView) ViewGet(context.Context) error                         { return nil }
func (*surfaceCrossed) RemoteGet(context.Context) error                      { return nil }
func (*surfaceCrossed) PerspectiveGet(context.Context) error                 { return nil }
func (surfaceByValue) RemoteGet(context.Context) error                       { return nil }

func surfacePanic(f func()) (text string) {
	defer func() { text, _ = recover().(string) }()
	f()
	return ""
}

func TestExportPanics(t *testing.T) {
	for name, c := range map[string]struct {
		obj  any
		want string
	}{
		"nil":         {nil, "pb: nil cannot be exported"},
		"nil pointer": {(*surfaceBoard)(nil), "a nil *pb.surfaceBoard"},
		"no flavour":  {&surfaceNone{}, "embed pb.Referenceable"},
		"plain":       {42, "embed pb.Referenceable"},
		"value":       {surfaceBoard{}, "passed by value; pass a pointer"},
		"value of embedded pointer": {surfaceByValue{&Referenceable{}},
			"passed by value; pass a pointer"},
		"no context": {&surfaceNoCtx{},
			"RemoteGet of *pb.surfaceNoCtx cannot be called by peers: its first parameter must be"},
		"no error":    {&surfaceNoErr{}, "its results must be"},
		"two results": {&surfaceTwo{}, "its results must be"},
		"twins": {&surfaceTwins{},
			"RemoteGetAll and RemoteGet_all have one name"},
		"crossed": {&surfaceCrossed{}, "have one name"},
		"channel": {&surfaceChan{}, "parameter 1, chan int, cannot cross"},
		"copy": {&surfaceCopy{},
			"parameter 2, pb.surfaceCopy, is passed by value"},
		"func result": {&surfaceResult{}, "its result, func(), cannot cross"},
		"later chan":  {&surfaceLater{}, "its result, chan int, cannot cross"},
		"no viewer":   {&surfaceNoView{}, "its second parameter must be the avatar"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time from the cache
				if got := surfacePanic(func() {
					export(c.obj, &surroundings{})
				}); !strings.Contains(got, c.want) {
					t.Errorf("export(%T) panicked with %q, want %q in it", c.obj, got, c.want)
				}
			}
			if got := surfacePanic(func() { Methods(c.obj) }); !strings.Contains(got, c.want) {
				t.Errorf("Methods(%T) panicked with %q, want %q in it", c.obj, got, c.want)
			}
		})
	}
}

type surfaceBase struct{ Referenceable }

func (*surfaceBase) RemoteBase(context.Context) error { return nil }

type surfaceAll struct {
	surfaceBase
	Viewable
	Avatar
	Concurrent
	Serial
}

func (*surfaceAll) ViewSelf(_ context.Context, a *surfaceAll) (bool, error) { return a != nil, nil }
func (*surfaceAll) ViewAny(_ context.Context, _ any, s ...string) (int, error) {
	return len(s), nil
}
func (*surfaceAll) PerspectivePay(context.Context) error { return nil }

func TestFlavoursTogether(t *testing.T) {
	all := &surfaceAll{}
	// Go must not find two marks at one depth.
	for _, o := range []any{
		all, &struct {
			Referenceable
			Viewable
			Avatar
		}{}, &struct {
			Viewable
			Avatar
		}{},
	} {
		if _, ok := o.(interface{ JellyReference() }); !ok {
			t.Errorf("%T has lost its mark", o)
		}
	}
	var got []string
	for _, m := range Methods(all) {
		got = append(got, m.Prefix+m.String())
	}
	want := "ViewAny(...string) int RemoteBase() PerspectivePay() ViewSelf() bool"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("Methods = %s, want %s", s, want)
	}
	if d := export(all, &surroundings{}).Discipline(); d != broker.Concurrent {
		t.Errorf("Discipline = %v, want Concurrent", d)
	}
	if d := export(&surfaceBoard{}, &surroundings{}).Discipline(); d != broker.Queued {
		t.Errorf("Discipline = %v, want Queued", d)
	}
}

func TestViewMethods(t *testing.T) {
	s, err := surfaceOf(&surfaceAll{})
	if err != nil {
		t.Fatal(err)
	}
	avatar := &surfaceAll{}
	for _, c := range []struct {
		method string
		avatar any
		want   string
	}{
		{"Self", avatar, ""},
		{"Any", avatar, ""},
		{"Any", 3, ""},
		{"Self", nil, "pb: Self is for those who have logged in"},
		{"Any", nil, "pb: Any is for those"},
		{"Self", &surfaceBoard{}, "pb: Self is not for this kind of avatar"},
	} {
		got := ""
		if err := newFrame(s.lookup([]byte(c.method))).see(c.avatar); err != nil {
			got = err.Error()
		}
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s for avatar %T: %q, want %q", c.method, c.avatar, got, c.want)
		}
	}
	in := surfaceIn(t)
	surfaceInvoke(t, export(&surfaceAll{}, &surroundings{}), in, "Self")
	if in.refused == nil || in.begun {
		t.Errorf("View method without an avatar: %v, want refused", in)
	}
}

type surfaceClock interface {
	Now(ctx context.Context) (int64, error)
	hidden()
}

type surfaceTicker struct{ n int64 }

func (t *surfaceTicker) Now(context.Context) (int64, error) { return t.n, nil }
func (t *surfaceTicker) hidden()                            {}
func (t *surfaceTicker) Reset(context.Context) error        { t.n = 0; return nil }

type surfaceResetter interface {
	Reset(ctx context.Context) error
}

type surfaceTickers []surfaceTicker

func (t surfaceTickers) Reset(context.Context) error { clear(t); return nil }

func TestAsReferenceable(t *testing.T) {
	clock := &surfaceTicker{n: 7}
	lent := AsReferenceable[surfaceClock](clock)
	if ms := Methods(lent); len(ms) != 1 || ms[0].String() != "Now() int64" || ms[0].Prefix != "" {
		t.Errorf("Methods(lent) = %v, want Now() int64", ms)
	}
	in := surfaceIn(t)
	surfaceInvoke(t, export(lent, &surroundings{}), in, "now")
	if in.String() != "7" {
		t.Errorf("now() = %v, want 7", in)
	}
	if _, err := export(lent, &surroundings{}).Method([]byte("Reset")); err == nil {
		t.Error("Reset is outside the interface and could be called")
	}
	again, other := AsReferenceable[surfaceClock](clock), AsReferenceable[surfaceResetter](clock)
	if identityOf(lent) != identityOf(again) {
		t.Error("lent twice by one interface: two identities, want one")
	}
	if identityOf(lent) == identityOf(other) ||
		identityOf(lent) == identityOf(AsReferenceable[surfaceClock](&surfaceTicker{n: 7})) {
		t.Error("another interface, or another object: same identity")
	}
	list := AsReferenceable[surfaceResetter](surfaceTickers{{1}})
	if seen := map[any]bool{identityOf(list): true}; !seen[identityOf(list)] {
		t.Error("what is no pointer has no identity")
	}
	if b := (&surfaceBoard{}); identityOf(b) != any(b) {
		t.Error("identityOf(pointer) is not the pointer")
	}
}

func TestAsReferenceablePanics(t *testing.T) {
	for name, c := range map[string]struct {
		lend func()
		want string
	}{
		"struct": {func() { AsReferenceable(&surfaceTicker{}) }, "not an interface"},
		"any":    {func() { AsReferenceable[any](3) }, "no exported methods"},
		"hidden": {func() { AsReferenceable[interface{ hidden() }](&surfaceTicker{}) },
			"no exported methods"},
		"nil": {func() { AsReferenceable[surfaceClock](nil) }, "nil cannot be lent"},
		"nil inside": {func() { AsReferenceable[surfaceClock]((*surfaceTicker)(nil)) },
			"nil cannot be lent"},
		"shape": {func() { AsReferenceable[io.Reader](strings.NewReader("")) },
			"Read of *strings.Reader cannot be called by peers: its first parameter"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := surfacePanic(c.lend); !strings.Contains(got, c.want) {
				t.Errorf("panicked with %q, want %q in it", got, c.want)
			}
		})
	}
}

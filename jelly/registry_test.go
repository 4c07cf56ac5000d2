package jelly_test

import (
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"perspective/jelly"
)

type (
	Late        struct{ X int }
	Unknown     struct{ X int }
	Generic     struct{ B Box2[string] }
	Box2[T any] struct{ V T }
	Channels    struct{ C chan int }
	Keyed       struct{ M map[time.Duration]int }
	Nested      struct{ L []map[string]Unknown }
)

func TestRegisterPanics(t *testing.T) {
	r := types()
	for name, f := range map[string]func(){
		"name taken":          func() { jelly.RegisterIn[Late](r, "geom.Point") },
		"type taken":          func() { jelly.RegisterIn[Point](r, "other") },
		"empty name":          func() { jelly.RegisterIn[Late](r, "") },
		"long name":           func() { jelly.RegisterIn[Late](r, strings.Repeat("n", 256)) },
		"not UTF-8":           func() { jelly.RegisterIn[Late](r, "\xff") },
		"control character":   func() { jelly.RegisterIn[Late](r, "a\nb") },
		"pointer":             func() { jelly.RegisterIn[*Late](r, "p") },
		"interface":           func() { jelly.RegisterIn[error](r, "error") },
		"predeclared":         func() { jelly.RegisterIn[int](r, "int") },
		"without a name":      func() { jelly.RegisterIn[struct{ X int }](r, "s") },
		"crosses as itself":   func() { jelly.RegisterIn[time.Duration](r, "d") },
		"crosses by ref":      func() { jelly.RegisterIn[Object](r, "o") },
		"cannot cross at all": func() { jelly.RegisterIn[func()](r, "f") },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func init() { jelly.Register[Late]("registry_test.Late") }

func TestRegistryFallsBackToTheDefault(t *testing.T) {
	for _, c := range []struct {
		name  string
		r     *jelly.Registry
		known bool
	}{{"default", nil, true}, {"own", new(jelly.Registry), true},
		{"closed", &jelly.Registry{Closed: true}, false}} {
		t.Run(c.name, func(t *testing.T) {
			var e jelly.Encoder
			e.Reset(c.r, nil)
			if err := e.Encode(Late{1}); (err == nil) != c.known {
				t.Errorf("Encode = %v, known %v", err, c.known)
			}
			got, err := decoder(t, c.r, encode(t, nil, Late{1})).DecodeAny()
			if (err == nil) != c.known || c.known && got != (Late{1}) {
				t.Errorf("DecodeAny = %v, %v, known %v", got, err, c.known)
			}
		})
	}
}

func TestWhatCannotCross(t *testing.T) {
	r := new(jelly.Registry)
	jelly.RegisterIn[Generic](r, "Generic")
	jelly.RegisterIn[Channels](r, "Channels")
	jelly.RegisterIn[Keyed](r, "Keyed")
	jelly.RegisterIn[Nested](r, "Nested")
	for _, c := range []struct {
		value any
		want  string
	}{
		{Unknown{}, "jelly: jelly_test.Unknown: not registered"},
		{&Unknown{}, "jelly_test.Unknown: not registered"},
		{struct{ X int }{1}, "struct without a name"},
		{Generic{}, "field B: jelly_test.Box2[string]: not registered"},
		{Nested{}, "field L: element: value: jelly_test.Unknown: not registered"},
		{Channels{},
			"field C: chan int: a chan cannot cross; give the peer an object to call for each " +
				"value, or send notes with pb.Note"},
		{func() {}, "a func cannot cross"},
		{complex(1, 1), "a complex128 cannot cross"},
		{uintptr(1), "a uintptr cannot cross"},
		{Keyed{}, "field M: map[time.Duration]int: map keys are"},
		{map[time.Time]int{}, "map keys are"},
		{map[[2]byte]int{}, "map keys are"},
		{map[any]any{nil: 1}, "nil is no map key"},
		{map[any]any{time.Second: 1}, "map keys are"},
		{map[any]any{int8(1): 1, uint16(1): 1}, "two keys are both 1"},
		{map[float64]int{nan(): 1}, "NaN is no map key"},
		{"\xff", "not UTF-8"},
		{[]string{"ok", "\xff"}, "element 1: string is not UTF-8"},
		{map[string]int{"\xff": 1}, "key: string is not UTF-8"},
		{map[string]any{"k": []any{1, make(chan int)}},
			`key "k": element 1: chan int: a chan cannot cross`},
	} {
		t.Run(reflect.TypeOf(c.value).String(), func(t *testing.T) {
			var e jelly.Encoder
			e.Reset(r, nil)
			err := e.Encode(c.value)
			var te *jelly.TypeError
			if !errors.As(err, &te) || !strings.Contains(err.Error(), c.want) || e.Len() != 0 {
				t.Errorf("Encode = %v with %d bytes, want %q", err, e.Len(), c.want)
			}
		})
	}
}

func nan() float64 { var zero float64; return zero / zero }

func TestAtPutsPlacesInFront(t *testing.T) {
	var e jelly.Encoder
	err := jelly.At("argument 2", e.Encode([]any{1, make(chan int)}))
	if err == nil ||
		err.Error() != "jelly: argument 2: element 1: chan int: a chan cannot cross; give the "+
			"peer an object to call for each value, or send notes with pb.Note" {
		t.Errorf("At = %v", err)
	}
	//nolint:errorlint // itself, bare
	if other := errors.New("other"); jelly.At("argument", other) != other {
		t.Error("At changed an error that is none of its own")
	}
	r := types()
	b := append([]byte{0x92},
		append(encode(t, r, Line{}), append([]byte{0x81, 0xc7, 9, 6},
			"geom.Line\x91\x81\xc7\x0a\x06geom.Point\x91\xa1x"...)...)...)
	err = jelly.At("argument", decoder(t, r, b).Decode(new([]Line)))
	if want := "jelly: argument: element 1: field From: field X: want int32, got string"; err ==
		nil || err.Error() != want {
		t.Errorf("Decode = %v, want %q", err, want)
	}
}

func TestPure(t *testing.T) {
	type Cyclic struct {
		Next  *Cyclic
		Money Money
	}
	type Plain struct {
		Next *Plain
		List []map[string]Point
	}
	r := hooked()
	jelly.RegisterIn[Point](r, "Point")
	jelly.RegisterIn[Cyclic](r, "Cyclic")
	jelly.RegisterIn[Plain](r, "Plain")
	for typ, want := range map[reflect.Type]bool{
		reflect.TypeFor[int]():             true,
		reflect.TypeFor[[]string]():        true,
		reflect.TypeFor[*Point]():          true,
		reflect.TypeFor[Plain]():           true,
		reflect.TypeFor[any]():             false,
		reflect.TypeFor[[]any]():           false,
		reflect.TypeFor[map[string]any]():  false,
		reflect.TypeFor[Money]():           false,
		reflect.TypeFor[Purse]():           false,
		reflect.TypeFor[[]Secret]():        false,
		reflect.TypeFor[*Cyclic]():         false,
		reflect.TypeFor[map[int]*Object](): false,
	} {
		if p, err := r.Plan(typ); err != nil || p.Pure() != want || p.Type() != typ {
			t.Errorf("Plan(%v).Pure() = %v, %v, want %v", typ, p.Pure(), err, want)
		}
	}
	if !jelly.For[[]int](r).Pure() || jelly.For[Secret](r).Pure() || jelly.For[chan int](r).Pure() {
		t.Error("Codec.Pure is not that of the plan")
	}
}

func TestCodec(t *testing.T) {
	r := new(jelly.Registry)
	points := jelly.For[Point](r)
	var e jelly.Encoder
	in, out := Point{1, 2}, Point{}
	if err := points.Encode(&e, &in); err == nil {
		t.Fatal("Encode before the type is registered went through")
	}
	jelly.RegisterIn[Point](r, "Point")
	if err := points.Encode(&e, &in); err != nil {
		t.Fatal(err)
	}
	d := decoder(t, r, e.Buffer())
	if err := points.Decode(d, &out); err != nil || out != in {
		t.Errorf("round trip = %v, %v", out, err)
	}
	codecRoundTrip(t, int64(-5))
	codecRoundTrip(t, 5)
	codecRoundTrip(t, uint64(5))
	codecRoundTrip(t, int8(5))
	codecRoundTrip(t, "text")
	codecRoundTrip(t, []byte("bytes"))
	codecRoundTrip(t, true)
	codecRoundTrip(t, 2.5)
	codecRoundTrip(t, any("text"))
	codecRoundTrip(t, time.Second)
	codecRoundTrip(t, []Word{"a"})
	codecRoundTrip(t, new(5))
}

func codecRoundTrip[T any](t *testing.T, in T) {
	t.Helper()
	var e jelly.Encoder
	var out T
	if err := jelly.For[T](nil).Encode(&e, &in); err != nil {
		t.Fatal(err)
	}
	if err := jelly.For[T](nil).Decode(decoder(t, nil, e.Buffer()), &out); err != nil ||
		!reflect.DeepEqual(out, in) {
		t.Errorf("Codec[%T] = %v, %v, want %v", in, out, err, in)
	}
}

func TestPlansAreMadeByManyAtOnce(t *testing.T) {
	r := types()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { // ends when it has sent a tree round
			in := Tree{"a", []*Tree{{"b", nil}, nil}}
			var e jelly.Encoder
			e.Reset(r, nil)
			var d jelly.Decoder
			var out Tree
			if err := e.Encode(in); err != nil {
				t.Error(err)
			}
			d.Reset(r, nil, e.Buffer(), nil)
			if err := d.Decode(&out); err != nil || !reflect.DeepEqual(out, in) {
				t.Errorf("round trip = %v, %v", out, err)
			}
		})
	}
	jelly.RegisterIn[Unknown](r, "Known")
	all.Wait()
}

// A plan works on memory as that of its own type, so it must see no other.
func TestPlansRefuseOtherTypes(t *testing.T) {
	p, err := types().Plan(reflect.TypeFor[Point]())
	if err != nil {
		t.Fatal(err)
	}
	var e jelly.Encoder
	e.Reset(types(), nil)
	hidden := reflect.ValueOf(struct{ p Point }{}).Field(0)
	for _, v := range []reflect.Value{{}, reflect.ValueOf(Line{}), reflect.ValueOf(&Point{}),
		reflect.ValueOf(int8(1)), hidden} {
		if err := p.Encode(&e, v); err == nil || e.Len() != 0 {
			t.Errorf("Encode of a %v = %v", v, err)
		}
	}
	m := encode(t, types(), Point{1, 2})
	for _, v := range []reflect.Value{{}, reflect.ValueOf(new(int8)).Elem(),
		reflect.ValueOf(new(Line)).Elem(), reflect.ValueOf(Point{})} {
		if err := p.Decode(decoder(t, types(), m), v); err == nil {
			t.Errorf("Decode into a %v went through", v)
		}
	}
	if err := p.Encode(&e, reflect.ValueOf(Point{1, 2})); err != nil ||
		string(e.Buffer()) != string(m) {
		t.Errorf("Encode = %x, %v, want %x", e.Buffer(), err, m)
	}
}

// An Encoder and a Decoder remember a plan; they must not remember it too long.
func TestOneEncoderSeesWhatIsRegistered(t *testing.T) {
	r, other := new(jelly.Registry), new(jelly.Registry)
	var e jelly.Encoder
	var d jelly.Decoder
	sent := func(r *jelly.Registry) string {
		t.Helper()
		e.Reset(r, nil)
		if err := e.Encode(Money{5}); err != nil {
			t.Fatal(err)
		}
		d.Reset(r, nil, e.Buffer(), nil)
		var out Money
		if err := d.Decode(&out); err != nil || out != (Money{5}) {
			t.Errorf("Decode(%x) = %v, %v", e.Buffer(), out, err)
		}
		return string(e.Buffer())
	}
	bare := "\x91\x05"
	for range 2 {
		if got := sent(r); got != bare {
			t.Errorf("before it is registered: %x", got)
		}
	}
	jelly.RegisterIn[Money](r, "Money")
	for range 2 {
		if got := sent(r); !strings.Contains(got, "Money") {
			t.Errorf("after it was registered: %x", got)
		}
		if got := sent(other); got != bare {
			t.Errorf("in another registry: %x", got)
		}
	}
}

package jelly_test

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"perspective/jelly"
)

var update = flag.Bool("update", false, "write docs/values.md from the table of values")

// Types of the tests, one of each sort that a program may define.
type (
	Celsius  float64
	Word     string
	Blob     []byte
	ID       [4]byte
	Flags    map[Word]bool
	Point    struct{ X, Y int32 }
	Line     struct{ From, To Point }
	Everyman struct {
		B   bool
		I8  int8
		I16 int16
		I32 int32
		I64 int64
		I   int
		U8  uint8
		U16 uint16
		U32 uint32
		U64 uint64
		U   uint
		F32 float32
		F64 float64
		S   string
		By  []byte
		Id  ID
		T   time.Time
		D   time.Duration
		N   *big.Int
		P   *Point
		Sl  []Point
		Ar  [2]int16
		M   map[string]int64
		MI  map[int16]string
		A   any
		W   Word

		hidden int
		Out    chan int `jelly:"-"`
	}
	Tree struct {
		Name string
		Kids []*Tree
	}
)

func types() *jelly.Registry {
	r := new(jelly.Registry)
	jelly.RegisterIn[Point](r, "geom.Point")
	jelly.RegisterIn[Line](r, "geom.Line")
	jelly.RegisterIn[Celsius](r, "unit.Celsius")
	jelly.RegisterIn[Everyman](r, "test.Everyman")
	jelly.RegisterIn[Tree](r, "test.Tree")
	return r
}

func encode(t testing.TB, r *jelly.Registry, v any) []byte {
	t.Helper()
	var e jelly.Encoder
	e.Reset(r, nil)
	if err := e.Encode(v); err != nil {
		t.Fatalf("Encode(%#v) = %v", v, err)
	}
	return bytes.Clone(e.Buffer())
}

func decoder(t testing.TB, r *jelly.Registry, b []byte) *jelly.Decoder {
	t.Helper()
	if _, err := jelly.Scan(b, nil); err != nil {
		t.Fatalf("Scan(%x) = %v", b[:min(len(b), 100)], err)
	}
	d := new(jelly.Decoder)
	d.Reset(r, nil, b, nil)
	return d
}

// A value of the table, what it arrives as in an interface, and a remark for readers.
type value struct {
	value any
	any   any
	note  string
}

func values() []value {
	moment := time.Date(2026, 3, 14, 15, 9, 26, 535897932, time.UTC)
	large, _ := new(big.Int).SetString("-123456789012345678901234567890", 10)
	return []value{
		{nil, nil, ""},
		{true, true, ""},
		{false, false, ""},
		{int8(-128), int64(-128), "every int arrives as int64"},
		{int16(-32768), int64(-32768), ""},
		{int32(math.MinInt32), int64(math.MinInt32), ""},
		{int64(math.MinInt64), int64(math.MinInt64), ""},
		{int(127), int64(127), ""},
		{uint8(255), int64(255), ""},
		{uint16(65535), int64(65535), ""},
		{uint32(math.MaxUint32), int64(math.MaxUint32), ""},
		{uint64(math.MaxInt64), int64(math.MaxInt64), ""},
		{uint64(math.MaxUint64), uint64(math.MaxUint64), "uint64 only above the largest int64"},
		{uint(1), int64(1), ""},
		{float32(1.5), float32(1.5), ""},
		{float64(-0.1), float64(-0.1), ""},
		{math.Inf(1), math.Inf(1), ""},
		{"", "", ""},
		{"grüß dich", "grüß dich", "UTF-8; anything else is an error, send it as []byte"},
		{strings.Repeat("x", 40), strings.Repeat("x", 40), ""},
		{[]byte{1, 2, 255}, []byte{1, 2, 255}, ""},
		{[]byte{}, []byte{}, "empty and nil stay apart"},
		{[]byte(nil), nil, ""},
		{[4]byte{1, 2, 3, 4}, []byte{1, 2, 3, 4}, "an array must arrive with its exact length"},
		{Blob("blob"), []byte("blob"), "a type of bytes, by whatever name"},
		{Word("word"), "word", "a type that is not registered crosses as what it is made of"},
		{[]int64{1, -1}, []any{int64(1), int64(-1)}, ""},
		{[]string{"a", ""}, []any{"a", ""}, ""},
		{[]float32{0.5}, []any{float32(0.5)}, ""},
		{[]int(nil), nil, ""},
		{[]int{}, []any{}, ""},
		{[][]byte{{1}, nil}, []any{[]byte{1}, nil}, ""},
		{[2]bool{true, false}, []any{true, false}, ""},
		{[]any{int64(1), "a", nil, []any{}}, []any{int64(1), "a", nil, []any{}}, ""},
		{map[string]int64{"a": 1}, map[string]any{"a": int64(1)}, ""},
		{map[string]any{"k": []any{true}}, map[string]any{"k": []any{true}}, ""},
		{map[string]string(nil), nil, ""},
		{map[string]string{}, map[string]any{}, ""},
		{map[int16]string{-2: "b"}, map[any]any{int64(-2): "b"},
			"keys: strings, ints, bools, floats but not NaN"},
		{map[bool]uint8{true: 1}, map[any]any{true: int64(1)}, ""},
		{map[float64]bool{0.5: true}, map[any]any{0.5: true}, ""},
		{map[any]any{"a": int64(1)}, map[string]any{"a": int64(1)},
			"map[string]any if every key is a string"},
		{map[any]any{int64(7): "a"}, map[any]any{int64(7): "a"}, ""},
		{Flags{"on": true}, map[string]any{"on": true}, ""},
		{time.Time{}, time.Time{}, "the zero time stays the zero time"},
		{time.Unix(1, 0).UTC(), time.Unix(1, 0).UTC(),
			"in UTC, to the nanosecond, without the monotonic reading"},
		{moment, moment, ""},
		{1500 * time.Millisecond, 1500 * time.Millisecond, "keeps its type in an interface"},
		{big.NewInt(0), big.NewInt(0), "at most 1 KiB"},
		{large, large, ""},
		{new(int64(5)), int64(5), "what it points to; two pointers to one value arrive as two"},
		{(*int64)(nil), nil, ""},
		{Point{1, -2}, Point{1, -2}, "registered as geom.Point: its exported fields in order"},
		{&Point{1, -2}, Point{1, -2}, ""},
		{(*Point)(nil), nil, ""},
		{Line{Point{1, 2}, Point{3, 4}}, Line{Point{1, 2}, Point{3, 4}}, ""},
		{[]Point{{1, 2}}, []any{Point{1, 2}}, ""},
		{map[string]Point{"p": {1, 2}}, map[string]any{"p": Point{1, 2}}, ""},
		{Celsius(36.6), Celsius(36.6),
			"registered as unit.Celsius: keeps its type in an interface"},
	}
}

func TestValuesArriveWithTheirExactTypes(t *testing.T) {
	r := types()
	for _, row := range values() {
		t.Run(fmt.Sprintf("%T(%v)", row.value, row.value), func(t *testing.T) {
			b := encode(t, r, row.value)
			got, err := decoder(t, r, b).DecodeAny()
			if err != nil || !reflect.DeepEqual(got, row.any) {
				t.Errorf("DecodeAny(%x) = %#v, %v, want %#v", b, got, err, row.any)
			}
			if row.value == nil {
				return
			}
			into := reflect.New(reflect.TypeOf(row.value))
			d := decoder(t, r, b)
			if err := d.Decode(into.Interface()); err != nil ||
				!reflect.DeepEqual(into.Elem().Interface(), row.value) {
				t.Errorf("Decode(%x) = %#v, %v, want %#v", b,
					into.Elem().Interface(), err, row.value)
			}
			if d.More() {
				t.Errorf("Decode(%x) left %x", b, d.Remaining())
			}
			raw, err := decoder(t, r, b).Raw()
			if err != nil || !bytes.Equal(raw, b) {
				t.Errorf("Raw(%x) = %x, %v", b, raw, err)
			}
		})
	}
}

func TestValuesDocument(t *testing.T) {
	var doc strings.Builder
	doc.WriteString("# Plain values\n\n" +
		"What crosses by copy, the bytes it becomes, and what it arrives as where an empty " +
		"interface stands. Where a type is\n" +
		"wanted it arrives as that type. The table is made by `go test ./jelly -run " +
		"TestValuesDocument -update` from the table\n" +
		"that the tests send round; `Point` is registered as `geom.Point`, `Celsius` as " +
		"`unit.Celsius`.\n\n" +
		"| Go type | value | bytes | in an `any` | remark |\n|---|---|---|---|---|\n")
	r := types()
	code := func(s string) string { return "`" + s + "`" }
	typeOf := func(v any) string {
		if v == nil {
			return "nil"
		}
		return strings.NewReplacer("jelly_test.", "", "interface {}", "any",
			"uint8", "byte").Replace(reflect.TypeOf(v).String())
	}
	for _, row := range values() {
		b := fmt.Sprintf("% x", encode(t, r, row.value))
		if len(b) > 24*3 {
			b = b[:24*3] + "…"
		}
		fmt.Fprintf(&doc, "| %s | %s | %s | %s | %s |\n", code(typeOf(row.value)),
			code(show(row.value)), code(b), code(typeOf(row.any)), row.note)
	}
	doc.WriteString("\nNot plain: structs that are not registered, funcs, channels, complex " +
		"numbers, uintptr and unsafe.Pointer; NaN, nil,\n" +
		"times, durations, structs, arrays and registered types as map keys; values nested " +
		"deeper than 60 levels and cycles.\n" +
		"A pointer to a pointer arrives without the one in between: a pointer to nil is nil.\n")
	file := filepath.Join("..", "docs", "values.md")
	if *update {
		if err := os.WriteFile(file, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil || string(have) != doc.String() {
		t.Errorf("docs/values.md is not what the table says (%v); run this test with -update", err)
	}
}

func show(v any) string {
	switch x := v.(type) {
	case nil:
		return "nil"
	case string:
		if len(x) > 20 {
			return fmt.Sprintf("%q…", x[:10])
		}
		return fmt.Sprintf("%q", x)
	case *int64:
		if x != nil {
			return fmt.Sprintf("&%d", *x)
		}
	case []byte, Blob, [4]byte:
		if !reflect.ValueOf(x).IsZero() {
			return fmt.Sprintf("%v", x)
		}
	case time.Time, time.Duration, *big.Int, Celsius:
		return fmt.Sprint(x)
	}
	switch x := reflect.ValueOf(v); x.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer:
		if x.IsNil() {
			return "nil"
		}
	}
	return fmt.Sprintf("%+v", v)
}

func TestEveryFieldKindRoundTrips(t *testing.T) {
	r := types()
	in := Everyman{
		B:   true,
		I8:  -8,
		I16: -16,
		I32: -32,
		I64: -64,
		I:   -1,
		U8:  8,
		U16: 16,
		U32: 32,
		U64: math.MaxUint64,
		U:   1,
		F32: 0.25,
		F64: 0.1,
		S:   "s",
		By:  []byte{1},
		Id:  ID{9, 8, 7, 6},
		T:   time.Unix(5, 6).UTC(),
		D:   time.Second,
		N:   big.NewInt(-7),
		P:   &Point{1, 2},
		Sl:  []Point{{3, 4}},
		Ar:  [2]int16{5, 6},
		M:   map[string]int64{"a": 1, "b": 2},
		MI:  map[int16]string{1: "x", -1: "y"},
		A:   Line{From: Point{7, 8}},
		W:   "w",
	}
	for _, v := range []any{in, &in} {
		b := encode(t, r, v)
		out := Everyman{
			S:      "old",
			Sl:     []Point{{9, 9}, {9, 9}},
			M:      map[string]int64{"old": 1},
			hidden: 3,
		}
		if err := decoder(t, r, b).Decode(&out); err != nil || !reflect.DeepEqual(out, in) {
			t.Errorf("Decode = %+v, %v, want %+v", out, err, in)
		}
		got, err := decoder(t, r, b).DecodeAny()
		if err != nil || !reflect.DeepEqual(got, in) {
			t.Errorf("DecodeAny = %+v, %v, want %+v", got, err, in)
		}
	}
	zero := encode(t, r, Everyman{})
	out := in
	if err := decoder(t, r, zero).Decode(&out); err != nil || !reflect.DeepEqual(out, Everyman{}) {
		t.Errorf("Decode of a zero struct over a full one = %+v, %v", out, err)
	}
}

func TestTimeInAnotherZoneArrivesInUTC(t *testing.T) {
	there := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("there", 3600))
	got, err := decoder(t, nil, encode(t, nil, there)).DecodeTime()
	if err != nil || !got.Equal(there) || got.Location() != time.UTC {
		t.Errorf("DecodeTime = %v, %v, want %v in UTC", got, err, there)
	}
}

func TestNaNValueCrosses(t *testing.T) {
	f, err := decoder(t, nil, encode(t, nil, math.NaN())).DecodeFloat64()
	if err != nil || !math.IsNaN(f) {
		t.Errorf("DecodeFloat64 = %v, %v, want NaN", f, err)
	}
	g, err := decoder(t, nil, encode(t, nil, math.NaN())).DecodeFloat32()
	if err != nil || g == g {
		t.Errorf("DecodeFloat32 = %v, %v, want NaN", g, err)
	}
}

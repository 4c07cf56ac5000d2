package jelly_test

import (
	"encoding/hex"
	"fmt"
	"maps"
	"math/big"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"perspective/jelly"
)

// A conversion is a row of the table of conversions in docs/wire-native.md: its cells, and what
// they mean.
type conversion struct {
	wanted, taken, refused string

	types []reflect.Type
	// takes has bytes in hex and what becomes of them; an int or a float stands for one of each
	// type.
	takes map[string]any
	not   []string
	also  string // names of kinds that all of the types take: see kinds
}

// kinds are one value of each kind that there is on the wire.
var kinds = map[string]string{
	"nil": "c0", "bool": "c3", "int": "05", "float 32": "ca 3fc00000",
	"float 64": "cb 3fb999999999999a", "str": "a1 35",
	"bin": "c4 01 35", "array": "93 01 02 03", "map": "81 a1 61 01", "time": "d6 ff 00000001",
	"duration":     "d7 07 0000000000000005",
	"whole number": "d5 08 00 05", "struct": "81 c7 0a 06 67656f6d2e506f696e74 92 01 fe",
}

func typesOf(values ...any) (ts []reflect.Type) {
	for _, v := range values {
		ts = append(ts, reflect.TypeOf(v).Elem())
	}
	return ts
}

// fives are the int 5 in each width.
var fives = []string{
	"05", "cc 05", "cd 0005", "ce 00000005", "cf 0000000000000005", "d0 05", "d1 0005",
	"d2 00000005", "d3 0000000000000005",
}

// all are the values of list, each as v.
func all(v any, list ...string) map[string]any {
	m := make(map[string]any)
	for _, s := range list {
		m[s] = v
	}
	return m
}

func with(m map[string]any, more map[string]any) map[string]any {
	maps.Copy(m, more)
	return m
}

const point = "c7 0a 06 67656f6d2e506f696e74 " // ext 6: geom.Point

var conversions = []conversion{
	{
		"`int8` … `int64`, `uint8` … `uint64`", "an int of any width that fits",
		"a float, 1.0 too; an int out of range",
		typesOf(new(int8), new(int16), new(int32), new(int64), new(int), new(uint8), new(uint16),
			new(uint32), new(uint64), new(uint)),
		all(5, fives...), []string{"ca 3f800000", "cb 3ff0000000000000"}, "int",
	},
	{
		"`float64`", "a float of either width; an int that is exact in it",
		"an int that is not, such as 2^53 + 1",
		typesOf(new(float64)),
		with(all(5.0, fives...), map[string]any{
			"ca 3fc00000": 1.5, "cb 3ff8000000000000": 1.5, "cb 3fb999999999999a": 0.1,
			"cf 0020000000000000": 9007199254740992.0,
			"cf 0020000000000002": 9007199254740994.0, "ff": -1.0,
			"cf 8000000000000000": 9223372036854775808.0,
			"d3 8000000000000000": -9223372036854775808.0,
		}),
		[]string{"cf 0020000000000001", "d3 ffdfffffffffffff", "cf ffffffffffffffff"},
		"int, float 32, float 64",
	},
	{
		"`float32`", "a float 32; a float 64 or an int that is exact in it",
		"0.1 as float 64; 2^24 + 1",
		typesOf(new(float32)),
		with(all(5.0, fives...), map[string]any{
			"ca 3fc00000":         1.5,
			"cb 3ff8000000000000": 1.5,
			"ce 01000000":         16777216.0,
			"ff":                  -1.0,
		}),
		[]string{"cb 3fb999999999999a", "ce 01000001", "d2 feffffff", "cb 7e37e43c8800759c"},
		"int, float 32",
	},
	{
		"`string`", "str", "bin",
		typesOf(new(string), new(Word)),
		map[string]any{"a1 35": "5", "d9 01 35": "5", "a0": ""}, []string{"c4 01 35"}, "str",
	},
	{
		"`[]byte`", "bin", "str; an array of ints",
		typesOf(new([]byte), new(Blob)),
		map[string]any{"c4 01 35": []byte("5"), "c5 0001 35": []byte("5")},
		[]string{"a1 35", "91 05"}, "nil, bin",
	},
	{
		"`bool`", "bool", "0 and 1",
		typesOf(new(bool)),
		map[string]any{"c2": false, "c3": true}, []string{"00", "01"}, "bool",
	},
	{
		"`[]T`, `[N]T`", "an array, of N elements for `[N]T`", "a map",
		typesOf(new([3]int16)),
		map[string]any{"93 01 02 03": [3]int16{1, 2, 3}, "dc 0003 01 02 03": [3]int16{1, 2, 3}},
		[]string{"81 01 02", "92 01 02", "94 01 02 03 04"}, "array",
	},
	{
		"`[]T`, `[N]T`", "an array, of N elements for `[N]T`", "a map",
		typesOf(new([]int16)),
		map[string]any{"90": []int16{}, "92 01 02": []int16{1, 2}, "dc 0001 01": []int16{1}},
		[]string{"81 01 02", "91 a1 35"}, "nil, array",
	},
	{
		"`map[K]V`", "a map", "an array",
		typesOf(new(map[string]int64)),
		map[string]any{"81 a1 61 01": map[string]int64{"a": 1}, "80": map[string]int64{}},
		[]string{"91 01", "92 a1 61 01", "81 01 01"}, "nil, map",
	},
	{
		"a registered struct", "ext 6 with its name", "a map of the fields",
		typesOf(new(Point)),
		map[string]any{
			"81 " + point + "92 01 fe":    Point{1, -2},
			"81 " + point + "91 01":       Point{1, 0},
			"81 " + point + "93 01 fe c3": Point{1, -2},
		},
		[]string{"82 a1 58 01 a1 59 02", "92 01 fe", "81 c7 09 06 67656f6d2e4c696e65 90",
			"81 " + point + "81 a1 58 01"}, "struct",
	},
	{
		"`time.Time`, `time.Duration`", "ext -1, ext 7", "an int",
		typesOf(new(time.Time)),
		map[string]any{
			"d6 ff 00000001":                     time.Unix(1, 0).UTC(),
			"d7 ff 0000000400000001":             time.Unix(1, 1).UTC(),
			"c7 0c ff 00000001 0000000000000001": time.Unix(1, 1).UTC(),
		},
		[]string{"01", "d7 07 0000000000000005"}, "time",
	},
	{
		"`time.Time`, `time.Duration`", "ext -1, ext 7", "an int",
		typesOf(new(time.Duration)),
		map[string]any{"d7 07 0000000000000005": 5 * time.Nanosecond,
			"d7 07 ffffffffffffffff": -time.Nanosecond},
		[]string{"01", "cb 3ff0000000000000", "d6 ff 00000001"}, "duration",
	},
	{
		"`*big.Int`", "ext 8, or an int of any width", "a float",
		typesOf(new(*big.Int)),
		with(all(big.NewInt(5), fives...), map[string]any{
			"d5 08 00 05": big.NewInt(5),
			"d5 08 01 05": big.NewInt(-5),
			"ff":          big.NewInt(-1),
		}),
		[]string{"cb 3ff0000000000000", "ca 3f800000"}, "nil, int, whole number",
	},
	{
		"a pointer, slice, map, or interface", "nil too", "",
		typesOf(new(*int64), new(*Point), new([]string), new(map[string]any), new(any)),
		map[string]any{"c0": nil}, nil, "nil",
	},
}

// TestConversionsDocument holds the table of conversions in the wire's specification to what is
// done: each row stands here, each value is taken or refused as it says, and what no row names is
// refused.
func TestConversionsDocument(t *testing.T) {
	doc, err := os.ReadFile("../docs/wire-native.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(doc), "\n| wanted | taken | refused |\n|---|---|---|\n")
	if !ok {
		t.Fatal("docs/wire-native.md has no table of conversions")
	}
	var written, played []string
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		written = append(written, strings.TrimSpace(line))
	}
	for _, c := range conversions {
		row := fmt.Sprintf("| %s | %s | %s |", c.wanted, c.taken, c.refused)
		played = append(played, strings.ReplaceAll(row, "|  |", "| |"))
	}
	if played = slices.Compact(played); !slices.Equal(written, played) {
		t.Errorf("the table is\n%s\nand this test has\n%s", strings.Join(written, "\n"),
			strings.Join(played, "\n"))
	}
	for _, c := range conversions {
		for _, typ := range c.types {
			t.Run(typ.String(), func(t *testing.T) { c.check(t, typ) })
		}
	}
}

func (c *conversion) check(t *testing.T, typ reflect.Type) {
	for digits, v := range c.takes {
		want := reflect.Zero(typ)
		if v != nil {
			want = reflect.ValueOf(v).Convert(typ)
		}
		for how, got := range arrivals(t, typ, digits) {
			if got.err != nil || !reflect.DeepEqual(got.v, want.Interface()) {
				t.Errorf("%s of %s = %v, %v; want %v", how, digits, got.v, got.err, want)
			}
		}
	}
	for _, digits := range c.not {
		for how, got := range arrivals(t, typ, digits) {
			if got.err == nil {
				t.Errorf("%s of %s = %v, want it refused", how, digits, got.v)
			}
		}
	}
	if c.wanted == "a pointer, slice, map, or interface" {
		return // what else these take stands in other rows
	}
	also := strings.Split(c.also, ", ")
	for kind, digits := range kinds {
		for how, got := range arrivals(t, typ, digits) {
			if (got.err == nil) != slices.Contains(also, kind) {
				t.Errorf("%s of a %s = %v, %v", how, kind, got.v, got.err)
			}
		}
	}
}

// An arrival is what became of a value.
type arrival struct {
	v   any
	err error
}

// arrivals decodes a value as a typ in each way that there is: by itself, as reflection does, in a
// slice, a field, and a map.
func arrivals(t *testing.T, typ reflect.Type, digits string) map[string]arrival {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		t.Fatalf("%s: %v", digits, err)
	}
	reg := types()
	read := func(p []byte, decode func(d *jelly.Decoder) error) error {
		if _, err := jelly.Scan(p, nil); err != nil {
			t.Fatalf("%s: %v", digits, err)
		}
		var d jelly.Decoder
		d.Reset(reg, nil, p, nil)
		return decode(&d)
	}
	all := make(map[string]arrival)
	v := reflect.New(typ)
	err = read(b, func(d *jelly.Decoder) error { return d.Decode(v.Interface()) })
	all["Decode"] = arrival{v.Elem().Interface(), err}
	v = reflect.New(typ)
	err = read(b, func(d *jelly.Decoder) error { return d.DecodeValue(v.Elem()) })
	all["DecodeValue"] = arrival{v.Elem().Interface(), err}
	list := reflect.New(reflect.SliceOf(typ))
	err = read(append([]byte{0x91}, b...),
		func(d *jelly.Decoder) error { return d.Decode(list.Interface()) })
	if typ != reflect.TypeFor[byte]() { // a slice of bytes is none
		all["an element"] = arrival{nil, err}
		if err == nil {
			all["an element"] = arrival{list.Elem().Index(0).Interface(), nil}
		}
	}
	m := reflect.New(reflect.MapOf(reflect.TypeFor[string](), typ))
	err = read(append([]byte{0x81, 0xa1, 'k'}, b...),
		func(d *jelly.Decoder) error { return d.Decode(m.Interface()) })
	all["a map's value"] = arrival{nil, err}
	if err == nil {
		all["a map's value"] = arrival{m.Elem().MapIndex(reflect.ValueOf("k")).Interface(), nil}
	}
	return all
}

// TestConversionsRange: an int that does not fit is refused, and the last that fits is not.
func TestConversionsRange(t *testing.T) {
	for _, typ := range conversions[0].types {
		bits, signed := typ.Bits(), reflect.Zero(typ).CanInt()
		low, high := int64(0), uint64(1)<<(bits-1)<<1-1
		if signed {
			low, high = -1<<(bits-1), high>>1
		}
		unsignedInt := func(u uint64) string { return fmt.Sprintf("cf %016x", u) }
		signedInt := func(i int64) string { return fmt.Sprintf("d3 %016x", uint64(i)) }
		fit, over := []string{signedInt(low), unsignedInt(high)}, []string{signedInt(-1 << 63),
			unsignedInt(1<<64 - 1)}
		if low > -1<<63 {
			over = append(over, signedInt(low-1))
		}
		if high < 1<<64-1 {
			over = append(over, unsignedInt(high+1))
		}
		for _, digits := range append(fit, over...) {
			for how, got := range arrivals(t, typ, digits) {
				// The lowest and the highest of all fit the widest types.
				want := slices.Contains(fit, digits)
				if (got.err == nil) != want {
					t.Errorf("%s of %s as %v = %v, %v", how, digits, typ, got.v, got.err)
				}
			}
		}
	}
}

// TestNumbersAnywhere: where anything is taken an int stays an int, and a float a float.
func TestNumbersAnywhere(t *testing.T) {
	for digits, want := range with(all(int64(5), fives...), map[string]any{
		"ca 3f800000": float32(1), "cb 3ff0000000000000": float64(1),
		"cf ffffffffffffffff": uint64(1<<64 - 1),
	}) {
		for how, got := range arrivals(t, reflect.TypeFor[any](), digits) {
			if got.err != nil || got.v != want {
				t.Errorf("%s of %s = %v (%T), %v; want %v (%T)", how, digits, got.v, got.v,
					got.err, want, want)
			}
		}
	}
}

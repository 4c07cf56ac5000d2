package jelly_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"perspective/jelly"
)

// What MessagePack libraries are known to do with hostile or unlucky input, each with what is done
// here instead.

func refused(t *testing.T, b []byte, reason string) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := jelly.Scan(b, &jelly.Limits{MessageBytes: 16 << 20})
	runtime.ReadMemStats(&after)
	var se *jelly.ScanError
	if !errors.As(err, &se) || !strings.Contains(err.Error(), reason) {
		t.Errorf("Scan = %v, want a *ScanError that says %q", err, reason)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 16<<10 {
		t.Errorf("Scan allocated %d bytes to refuse %d", got, len(b))
	}
}

func TestHazardsRefusedByTheScan(t *testing.T) {
	nanKeys := []byte{0xdf, 0, 0, 0x4e, 0x20}
	for i := range 20_000 {
		nanKeys = append(nanKeys, 0xcb)
		nanKeys = binary.BigEndian.AppendUint64(nanKeys, math.Float64bits(math.NaN())+uint64(i))
		nanKeys = append(nanKeys, 1)
	}
	bigInt := append([]byte{0xc9, 0, 0x10, 0, 0, 8, 0}, bytes.Repeat([]byte{9}, 1<<20-1)...)
	for _, c := range []struct {
		name, reason string
		bytes        []byte
	}{
		{"array32 of 2^32-1", "more elements announced", []byte{0xdd, 0xff, 0xff, 0xff, 0xff}},
		{"array32 of 100M", "more elements announced", []byte{0xdd, 5, 0xf5, 0xe1, 0}},
		{"map32 of 100M", "more elements announced", []byte{0xdf, 5, 0xf5, 0xe1, 0}},
		{"100 nested map16", "more elements announced",
			bytes.Repeat([]byte{0xde, 0xff, 0xff, 0x01}, 100)},
		{"1000 nested map16", "more elements announced",
			bytes.Repeat([]byte{0xde, 0xff, 0xff, 0x01}, 1000)},
		{"map32 of 1M", "more elements announced", []byte{0xdf, 0, 0x10, 0, 0}},
		{"bin32 of 2^32-1", "longer than what is left", []byte{0xc6, 0xff, 0xff, 0xff, 0xff}},
		{"str32 of 2^32-1", "longer than what is left", []byte{0xdb, 0xff, 0xff, 0xff, 0xff}},
		{"ext32 of 2^32-1", "inside an ext", []byte{0xc9, 0xff, 0xff, 0xff, 0xff, 8}},
		{"2M arrays inside one another", "nested deeper than 64",
			bytes.Repeat([]byte{0x91}, 2<<20)},
		{"10M arrays inside one another", "nested deeper than 64",
			bytes.Repeat([]byte{0x91}, 10<<20)},
		{"array as key", "no map key", []byte{0x81, 0x90, 0x01}},
		{"map as key", "no map key", []byte{0x81, 0x80, 0x01}},
		{"nil as key", "no map key", []byte{0x81, 0xc0, 0x01}},
		{"bytes as key", "no map key", []byte{0x81, 0xc4, 0x01, 0x01, 0x01}},
		{"ext as key", "no map key", []byte{0x81, 0xd4, 0x02, 0x01, 0x01}},
		{"NaN keys", "NaN is no map key", nanKeys},
		{"key twice", "occurs twice", []byte("\x82\xa5Admin\xc2\xa5Admin\xc3")},
		{"key twice in two forms", "occurs twice", []byte("\x82\x01\xc2\xcd\x00\x01\xc3")},
		{"bytes after the value", "after the end", []byte{0x01, 0x01}},
		{"text that is not UTF-8", "not UTF-8", []byte{0xa2, 0xc3, 0x28}},
		{"ext head before a map", "bytes after the end", []byte{0xd4, 8, 0, 0x81, 0x01, 0x01}},
		{"empty ext head before a map", "big int begins", []byte{0xc7, 0, 8, 0x81, 0x01, 0x01}},
		{"1 MiB big int", "big int of more than", bigInt},
		{"digits of a big int as text", "longer than the limit",
			append([]byte{0xdb, 0, 0xff, 0xff, 0xff}, bytes.Repeat([]byte("7"), 17<<20)...)},
		{"interned string, ext -128", "unknown ext type -128", []byte{0xd4, 0x80, 0x00}},
		{"foreign ext", "unknown ext type 99", []byte{0xd4, 99, 0x00}},
		{"code that is never used", "0xc1", []byte{0xc1}},
		{"nothing", "ends inside a value", nil},
	} {
		t.Run(c.name, func(t *testing.T) { refused(t, c.bytes, c.reason) })
	}
}

func TestHazardsRefusedByTheDecoder(t *testing.T) {
	r := types()
	for _, c := range []struct {
		name, want string
		bytes      []byte
		into       any
	}{
		{"300 into int8", "want int8, got 300: out of range", []byte{0xcd, 0x01, 0x2c}, new(int8)},
		{"-1 into uint32", "got -1: out of range", []byte{0xff}, new(uint32)},
		{"2^64-1 into int64", "want int64, got 18446744073709551615: out of range",
			[]byte{0xcf, 255, 255, 255, 255, 255, 255, 255, 255}, new(int64)},
		{"2^53+1 into float64", "want float64, got 9007199254740993: out of range",
			[]byte{0xcf, 0, 0x20, 0, 0, 0, 0, 0, 1}, new(float64)},
		{"1e300 into float32", "want float32",
			[]byte{0xcb, 0x7e, 0x37, 0xe4, 0x3c, 0x88, 0, 0x75, 0x9c}, new(float32)},
		{"a whole float into int", "want int, got float",
			[]byte{0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0}, new(int)},
		{"nil into string", "want string, got nil", []byte{0xc0}, new(string)},
		{"nil into int", "want int, got nil", []byte{0xc0}, new(int)},
		{"nil into a struct", "want jelly_test.Point, got nil", []byte{0xc0}, new(Point)},
		{"nil into an array", "want [4]uint8, got nil", []byte{0xc0}, new([4]byte)},
		{"bin into string", "want string, got bytes", []byte{0xc4, 1, 65}, new(string)},
		{"str into []byte", "want []uint8, got string", []byte{0xa1, 65}, new([]byte)},
		{"array of the wrong length", "want [2]int16, got an array of 3",
			[]byte{0x93, 1, 2, 3}, new([2]int16)},
		{"bytes of the wrong length", "want jelly_test.ID, got 3 bytes",
			[]byte{0xc4, 3, 1, 2, 3}, new(ID)},
		{"a map into a struct", "want jelly_test.Point, got map",
			[]byte{0x81, 0xa1, 'X', 1}, new(Point)},
		{"a bare array into a struct", "want jelly_test.Point, got array",
			[]byte{0x92, 1, 2}, new(Point)},
		{"another registered type",
			`want jelly_test.Point, got a registered "geom.Line": it is registered as "geom.Point"`,
			encode(t, r, Line{}), new(Point)},
		{"text where a big int should be", "want big.Int, got string",
			[]byte{0xa2, '1', '2'}, new(big.Int)},
		// the type is replaced below
		{"text where a time should be", "want time.Time, got string",
			[]byte("\xb42026-01-01T00:00:00Z"), new(struct{})},

		{"an int key and an equal float key", "a map key occurs twice", []byte{0x82, 0x01, 0x01,
			0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0x02}, new(map[float64]int)},
		{"a name that nobody registered",
			`got a registered "who.Knows": no type has that name here`,
			append([]byte{0x81, 0xc7, 9, 6}, "who.Knows\x90"...), new(any)},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := decoder(t, r, c.bytes)
			var err error
			if strings.HasSuffix(c.name, "a time should be") {
				_, err = d.DecodeTime()
			} else {
				err = d.Decode(c.into)
			}
			var te *jelly.TypeError
			if !errors.As(err, &te) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Decode(%x) = %v, want a *TypeError that says %q", c.bytes, err, c.want)
			}
		})
	}
}

func TestMissingFieldsAreZeroAndExtraOnesIgnored(t *testing.T) {
	r := types()
	p := Point{7, 7}
	if err := decoder(t, r, append([]byte{0x81, 0xc7, 10, 6}, "geom.Point\x91\x01"...)).Decode(
		&p); err != nil || p != (Point{X: 1}) {
		t.Errorf("short struct = %v, %v, want {1 0}", p, err)
	}
	d := decoder(t, r, append([]byte{0x81, 0xc7, 10, 6}, "geom.Point\x94\x01\x02\x91\xc3\xa1x"...))
	if err := d.Decode(&p); err != nil || p != (Point{1, 2}) || d.More() {
		t.Errorf("long struct = %v, %v, want {1 2}", p, err)
	}
}

func TestTargetsAreFresh(t *testing.T) {
	backing := []int64{1, 2, 3}
	s := backing[:0]
	if err := decoder(t, nil, encode(t, nil, []int64{9})).Decode(&s); err != nil ||
		!reflect.DeepEqual(s, []int64{9}) || backing[0] != 1 {
		t.Errorf("slice = %v, %v, its old array %v", s, err, backing)
	}
	m := map[string]int64{"old": 1}
	if err := decoder(t, nil, encode(t, nil, map[string]int64{"new": 2})).Decode(&m); err != nil ||
		!reflect.DeepEqual(m, map[string]int64{"new": 2}) {
		t.Errorf("map = %v, %v", m, err)
	}
	raw := encode(t, nil, []byte{1, 2, 3})
	d := decoder(t, nil, raw)
	b, err := d.DecodeBytes()
	raw[2] = 99
	if err != nil || !bytes.Equal(b, []byte{1, 2, 3}) {
		t.Errorf("bytes share the message: %v, %v", b, err)
	}
}

// A third party's text or binary methods would run on hostile bytes.
type Texty struct{ Ran bool }

func (x *Texty) UnmarshalText([]byte) error         { x.Ran = true; return nil }
func (x *Texty) UnmarshalBinary([]byte) error       { x.Ran = true; return nil }
func (x *Texty) UnmarshalMsgpack([]byte) error      { x.Ran = true; return nil }
func (x *Texty) MarshalText() ([]byte, error)       { return nil, errors.New("ran") }
func (x *Texty) UnmarshalJSON([]byte) error         { x.Ran = true; return nil }
func (x Texty) AppendBinary([]byte) ([]byte, error) { return nil, errors.New("ran") }

func TestOtherUnmarshalersAreNotRun(t *testing.T) {
	r := new(jelly.Registry)
	jelly.RegisterIn[Texty](r, "Texty")
	var x Texty
	for _, b := range [][]byte{{0xa1, 'x'}, {0xc4, 1, 1}} {
		if err := decoder(t, r, b).Decode(&x); err == nil || x.Ran {
			t.Errorf("Decode(%x) = %v, ran %v", b, err, x.Ran)
		}
	}
	if err := decoder(t, r, encode(t, r, &x)).Decode(&x); err != nil || x.Ran {
		t.Errorf("round trip = %v, ran %v", err, x.Ran)
	}
}

func TestMemoryIsRefusedBeforeItIsTaken(t *testing.T) {
	type Huge struct{ A [1 << 16]int64 }
	r := types()
	jelly.RegisterIn[Huge](r, "Huge")
	small := append([]byte{0x81, 0xc7, 4, 6}, "Huge\x90"...)
	many := append([]byte{0xdc, 0, 100}, bytes.Repeat(small, 100)...)
	for _, c := range []struct {
		name  string
		bytes []byte
		into  any
	}{
		{"pointers to large structs", many, new([]*Huge)},
		{"large structs", many, new([]Huge)},
		{"large structs in any", many, new(any)},
		{"large arrays", append([]byte{0xdc, 0x10, 0}, make([]byte, 1<<12)...),
			new([][1 << 20]byte)},
		{"a map of large arrays", []byte{0x82, 1, 1, 2, 1}, new(map[int8][1 << 22]byte)},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := decoder(t, r, c.bytes)
			if _, err := r.Plan(reflect.TypeOf(c.into).Elem()); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := d.Decode(c.into)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), "DecodedBytes") {
				t.Errorf("Decode = %v, want the limit named", err)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 17<<20 {
				t.Errorf("Decode allocated %d bytes", got)
			}
		})
	}
	d := new(jelly.Decoder)
	d.Reset(nil, nil, encode(t, nil, strings.Repeat("x", 100)), &jelly.Limits{DecodedBytes: 99})
	if _, err := d.DecodeString(); err == nil {
		t.Error("a string of 100 bytes went through a limit of 99")
	}
}

func TestReusedBuffersLetGoOfLargeMessages(t *testing.T) {
	var e jelly.Encoder
	e.EncodeBytes(make([]byte, 1<<20))
	e.Reset(nil, nil)
	if got := cap(e.Buffer()); got > 64<<10 {
		t.Errorf("the buffer keeps %d bytes", got)
	}
	e.EncodeBytes(make([]byte, 1<<10))
	e.Reset(nil, nil)
	if got := cap(e.Buffer()); got < 1<<10 {
		t.Errorf("the buffer keeps only %d bytes", got)
	}
}

type Loop *Loop

func TestCyclesAndDepthAreErrors(t *testing.T) {
	r := types()
	ring := &Tree{Name: "ring"}
	ring.Kids = []*Tree{ring}
	list := make([]any, 1)
	list[0] = list
	table := map[string]any{}
	table["self"] = table
	var self any
	self = &self
	var loop Loop
	loop = &loop
	deep := any(nil)
	for range 61 {
		deep = []any{deep}
	}
	for name, v := range map[string]any{
		"struct":    ring,
		"slice":     list,
		"map":       table,
		"interface": self,
		"pointer":   loop,
		"deep":      deep,
	} {
		t.Run(name, func(t *testing.T) {
			var e jelly.Encoder
			e.Reset(r, nil)
			e.EncodeInt(7)
			err := e.Encode(v)
			var te *jelly.TypeError
			if !errors.As(err, &te) || len(err.Error()) > 4096 {
				t.Fatalf("Encode = %v, want a short *TypeError", err)
			}
			if !bytes.Equal(e.Buffer(), []byte{7}) {
				t.Errorf("after the error the buffer holds %x", e.Buffer())
			}
			if err := e.Encode([]any{[]any{1}}); err != nil {
				t.Errorf("the next Encode = %v", err)
			}
		})
	}
	if _, err := jelly.Scan(encode(t, r, deep.([]any)[0]), nil); err != nil {
		t.Errorf("60 levels: %v", err)
	}
}

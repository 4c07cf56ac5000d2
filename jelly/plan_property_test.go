package jelly

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// These tests hold the plans, which work on memory, against a model that knows reflection alone,
// over types made at random. They are inside the package because a type made by reflect has no name
// to be registered by.

type (
	named   int16
	words   []string
	counts  map[string]int
	raw     []byte
	flags   map[named]bool
	pointed *named
	digest  [5]byte
	small   uint8
)

var leaves = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](),
	reflect.TypeFor[int16](), reflect.TypeFor[int32](),
	reflect.TypeFor[int64](), reflect.TypeFor[uint](), reflect.TypeFor[uint8](),
	reflect.TypeFor[uint16](), reflect.TypeFor[uint32](),
	reflect.TypeFor[uint64](), reflect.TypeFor[float32](), reflect.TypeFor[float64](),
	reflect.TypeFor[string](), reflect.TypeFor[named](),
	reflect.TypeFor[time.Time](), reflect.TypeFor[time.Duration](), reflect.TypeFor[digest](),
	reflect.TypeFor[big.Int](),
}

var others = []reflect.Type{
	reflect.TypeFor[[]byte](), reflect.TypeFor[raw](), reflect.TypeFor[words](),
	reflect.TypeFor[counts](), reflect.TypeFor[flags](),
	reflect.TypeFor[pointed](), reflect.TypeFor[any](), reflect.TypeFor[[]any](),
	reflect.TypeFor[fmt.Stringer](), reflect.TypeFor[[]small](),
	reflect.TypeFor[map[int64]string](),
}

var keys = []reflect.Type{
	reflect.TypeFor[string](), reflect.TypeFor[int](), reflect.TypeFor[int64](),
	reflect.TypeFor[uint8](), reflect.TypeFor[named](),
	reflect.TypeFor[bool](), reflect.TypeFor[float64](),
}

// A chance makes types and values at random.
type chance struct {
	*rand.Rand
	reg     *Registry
	entries int // at most, of a map; with one its bytes have one order
}

func (c *chance) leafType() reflect.Type { return leaves[c.IntN(len(leaves))] }

func (c *chance) newType(depth int) reflect.Type {
	if depth == 0 || c.IntN(3) == 0 {
		if c.IntN(3) == 0 {
			return others[c.IntN(len(others))]
		}
		return c.leafType()
	}
	switch c.IntN(6) {
	case 0:
		return reflect.SliceOf(c.newType(depth - 1))
	case 1:
		return reflect.ArrayOf(c.IntN(4), c.newType(depth-1))
	case 2:
		return reflect.MapOf(keys[c.IntN(len(keys))], c.newType(depth-1))
	case 3: // to nothing that can be nil itself, which would arrive as a nil pointer
		if c.IntN(2) == 0 {
			return reflect.PointerTo(c.leafType())
		}
		return reflect.PointerTo(c.newStruct(depth - 1))
	}
	return c.newStruct(depth - 1)
}

func (c *chance) newStruct(depth int) reflect.Type {
	fields := make([]reflect.StructField, c.IntN(7))
	for i := range fields {
		fields[i] = reflect.StructField{Name: fmt.Sprint("F", i), Type: c.newType(depth)}
		switch c.IntN(8) {
		case 0:
			fields[i].Tag = `jelly:"-"`
		case 1:
			fields[i].Name, fields[i].PkgPath = fmt.Sprint("f", i), "perspective/jelly"
		}
	}
	t := reflect.StructOf(fields)
	if c.reg.registered(t) == nil {
		c.reg.add(t, fmt.Sprint("T", len(c.reg.types().byName)))
	}
	return t
}

// fill sets v to something; with everything it also fills what does not cross.
func (c *chance) fill(v reflect.Value, everything bool) {
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Unix(c.Int64N(1<<34), c.Int64N(2)*c.Int64N(1e9)).UTC()
		return
	case *big.Int:
		p.SetInt64(c.Int64()).Mul(p, big.NewInt(c.Int64N(1<<40)-1<<39))
		return
	case *fmt.Stringer:
		*p = time.Duration(c.Int64())
		return
	}
	t := v.Type()
	switch t.Kind() {
	case reflect.Bool:
		v.SetBool(c.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(c.Uint64()>>c.IntN(64)) - int64(c.IntN(300)))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(c.Uint64() >> c.IntN(64))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(c.NormFloat64())
	case reflect.String:
		v.SetString(strings.Repeat("aé", c.IntN(1+c.IntN(200))))
	case reflect.Pointer:
		if c.IntN(4) > 0 {
			v.Set(reflect.New(t.Elem()).Convert(t))
			c.fill(v.Elem(), everything)
		}
	case reflect.Interface: // the empty one
		v.Set(reflect.ValueOf([]any{nil, int64(c.IntN(1000)), "text", 2.5, []any{true},
			map[string]any{"k": []byte{1}}}).Index(c.IntN(6)))
	case reflect.Slice:
		if n := c.IntN(6); n > 0 {
			v.Set(reflect.MakeSlice(t, n-1, n-1))
			for i := range n - 1 {
				c.fill(v.Index(i), everything)
			}
		}
	case reflect.Array:
		for i := range t.Len() {
			c.fill(v.Index(i), everything)
		}
	case reflect.Map:
		if n := c.IntN(c.entries + 2); n > 0 {
			v.Set(reflect.MakeMap(t))
			for range n - 1 {
				k, x := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
				c.fill(k, everything)
				c.fill(x, everything)
				v.SetMapIndex(k, x)
			}
		}
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			switch {
			case f.IsExported() && f.Tag == "":
				c.fill(v.Field(i), everything)
			case everything:
				c.fill(valueAt(f.Type, inside(addressOf(v), f.Offset)), everything)
			}
		}
	}
}

// model appends v as the package comment says, by reflection and the methods for single values.
func model(e *Encoder, v reflect.Value) {
	if v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		if v.IsNil() {
			e.EncodeNil()
			return
		}
		if x, ok := reflect.TypeAssert[*big.Int](v); ok {
			e.EncodeBigInt(x)
			return
		}
		model(e, v.Elem())
		return
	}
	switch x := v.Interface().(type) {
	case time.Time:
		e.EncodeTime(x)
		return
	case time.Duration:
		e.EncodeDuration(x)
		return
	case big.Int:
		e.EncodeBigInt(&x)
		return
	}
	t := v.Type()
	if known := e.reg.registered(t); known != nil {
		e.EncodeRaw(known.head)
	}
	switch t.Kind() {
	case reflect.Bool:
		e.EncodeBool(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		e.EncodeInt(v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		e.EncodeUint(v.Uint())
	case reflect.Float32:
		e.EncodeFloat32(float32(v.Float()))
	case reflect.Float64:
		e.EncodeFloat64(v.Float())
	case reflect.String:
		e.EncodeString(v.String())
	case reflect.Map:
		if v.IsNil() {
			e.EncodeNil()
			return
		}
		e.EncodeMapLen(v.Len())
		for entries := v.MapRange(); entries.Next(); {
			model(e, entries.Key())
			model(e, entries.Value())
		}
	case reflect.Slice, reflect.Array:
		if t.Kind() == reflect.Slice && v.IsNil() {
			e.EncodeNil()
			return
		}
		if t.Elem().Kind() == reflect.Uint8 {
			b := make([]byte, v.Len())
			for i := range b {
				b[i] = byte(v.Index(i).Uint())
			}
			e.EncodeBytes(b)
			return
		}
		e.EncodeArrayLen(v.Len())
		for i := range v.Len() {
			model(e, v.Index(i))
		}
	case reflect.Struct:
		var crossing []reflect.Value
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && f.Tag.Get("jelly") != "-" {
				crossing = append(crossing, v.Field(i))
			}
		}
		e.EncodeArrayLen(len(crossing))
		for _, f := range crossing {
			model(e, f)
		}
	}
}

// a value of a type at random, as a pointer, and what the model makes of it.
func (c *chance) newValue() (v reflect.Value, message []byte) {
	v = reflect.New(c.newType(3))
	c.fill(v.Elem(), false)
	var e Encoder
	e.Reset(c.reg, nil)
	model(&e, v.Elem())
	return v, e.Buffer()
}

func eachChance(t *testing.T, n int, f func(*testing.T, *chance)) {
	if testing.Short() {
		n /= 10
	}
	for seed := range uint64(n) {
		c := &chance{rand.New(rand.NewPCG(seed, 1)), new(Registry), 1 + int(seed%2)*5}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { f(t, c) })
	}
}

func TestPlansAgreeWithTheModel(t *testing.T) {
	eachChance(t, 600, func(t *testing.T, c *chance) {
		v, want := c.newValue()
		var e Encoder
		for name, encode := range map[string]func() error{
			"Encode of a pointer":         func() error { return e.Encode(v.Interface()) },
			"Encode of a copy":            func() error { return e.Encode(v.Elem().Interface()) },
			"EncodeValue with an address": func() error { return e.EncodeValue(v.Elem()) },
			"EncodeValue without an address": func() error {
				return e.EncodeValue(reflect.ValueOf(v.Elem().Interface()))
			},
		} {
			if v.Elem().Kind() == reflect.Interface && v.Elem().IsNil() {
				break // reflect knows no such value without an address
			}
			e.Reset(c.reg, nil)
			if err := encode(); err != nil {
				t.Fatalf("%s of %v: %v", name, v.Type(), err)
			}
			if e.Len() != len(want) || c.entries == 1 && !bytes.Equal(e.Buffer(), want) {
				t.Fatalf("%s of %v = %x, want %x", name, v.Type(), e.Buffer(), want)
			}
		}
		for _, m := range [][]byte{want, bytes.Clone(e.Buffer())} {
			if len(m) == 0 {
				continue
			}
			if _, err := Scan(m, nil); err != nil {
				t.Skip(err)
			}
			got := reflect.New(v.Type().Elem())
			c.fill(got.Elem(), true)
			var d Decoder
			d.Reset(c.reg, nil, m, nil)
			if err := d.Decode(got.Interface()); err != nil || d.More() {
				t.Fatalf("Decode of %v from %x: %v, %d bytes left", v.Type(), m, err,
					len(d.Remaining()))
			}
			if c.IntN(20) == 0 {
				runtime.GC() // what was allocated as the wrong sort of memory goes now
				for n := range 100 {
					_ = bytes.Repeat([]byte{0xee}, 8*n)
				}
			}
			if !reflect.DeepEqual(got.Interface(), v.Interface()) {
				t.Fatalf("Decode of %v = %+v, want %+v", v.Type(), got.Elem(), v.Elem())
			}
		}
	})
}

// A target that held something ends as one that held nothing does, whatever comes.
func TestDecodingLeavesNothingOld(t *testing.T) {
	eachChance(t, 600, func(t *testing.T, c *chance) {
		c.entries = 1
		v, message := c.newValue()
		for range 20 {
			m := bytes.Clone(message)
			for range 1 + c.IntN(2) {
				m[c.IntN(len(m))] = byte(c.Uint32())
			}
			fresh, used := reflect.New(v.Type().Elem()), reflect.New(v.Type().Elem())
			c.fill(used.Elem(), true)
			one, two := decodeInto(c.reg, m, fresh), decodeInto(c.reg, m, used)
			if one != two {
				t.Fatalf("Decode of %v from %x = %q into a new value, %q into a used one",
					v.Type(), m, one, two)
			}
			if !c.same(fresh, used) {
				t.Fatalf("Decode of %v from %x (%s) = %+v into a new value, %+v into a used one",
					v.Type(), m, one, fresh.Elem(), used.Elem())
			}
		}
	})
}

// decodeInto returns the error as text. The message is not scanned: nothing may panic without that.
func decodeInto(r *Registry, m []byte, into reflect.Value) string {
	var d Decoder
	d.Reset(r, nil, m, &Limits{DecodedBytes: 1 << 20})
	if err := d.DecodeValue(into.Elem()); err != nil {
		return err.Error()
	}
	return ""
}

// same also knows NaN.
func (c *chance) same(v, w reflect.Value) bool {
	if reflect.DeepEqual(v.Interface(), w.Interface()) {
		return true
	}
	var one, two Encoder
	one.Reset(c.reg, nil)
	two.Reset(c.reg, nil)
	model(&one, v)
	model(&two, w)
	nan := math.NaN()
	return strings.Contains(fmt.Sprintf("%+v", v.Elem()), fmt.Sprint(nan)) && one.Len() == two.Len()
}

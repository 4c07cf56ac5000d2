package jelly_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"perspective/jelly"
)

// What the library writes, with its shortest ints, is what is written here.
func TestScalarsAreWrittenAsTheLibraryWritesThem(t *testing.T) {
	library := func(v any) []byte {
		var b bytes.Buffer
		e := msgpack.NewEncoder(&b)
		e.UseCompactInts(true)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	check := func(v any) {
		t.Helper()
		if got, want := encode(t, nil, v), library(v); !bytes.Equal(got, want) {
			t.Errorf("Encode(%T %.40v) = %x, want %x", v, v, got[:min(20, len(got))],
				want[:min(20, len(want))])
		}
	}
	for shift := range 64 {
		for _, n := range []int64{1 << shift, 1<<shift - 1, -1 << shift, -1<<shift - 1} {
			if n >= 0 || n == int64(int8(n)) || n == math.MinInt64 {
				check(n)
			}
			check(uint64(n))
			got, err := decoder(t, nil, encode(t, nil, n)).DecodeInt()
			if err != nil || got != n {
				t.Errorf("%d came back as %d, %v", n, got, err)
			}
			u, err := decoder(t, nil, encode(t, nil, uint64(n))).DecodeUint()
			if err != nil || u != uint64(n) {
				t.Errorf("%d came back as %d, %v", uint64(n), u, err)
			}
		}
	}
	for _, n := range []int{0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536} {
		check(strings.Repeat("s", n))
		check(make([]byte, n))
		check(make([]string, n))
		m := make(map[string]any, n)
		for i := range n {
			key := binary.BigEndian.AppendUint32(nil, uint32(i&0x7f|i>>7&0x7f<<8|i>>14<<16))
			m[string(key)] = nil
		}
		b := encode(t, nil, m)
		if head := library(make(map[string]any)); n == 0 && !bytes.Equal(b, head) {
			t.Errorf("an empty map is %x", b)
		}
		got := map[string]any{}
		if _, err := jelly.Scan(b, &jelly.Limits{Items: 200_000}); err != nil {
			t.Errorf("Scan of a map of %d: %v", n, err)
		}
		var d jelly.Decoder
		d.Reset(nil, nil, b, nil)
		if err := d.Decode(&got); err != nil || len(got) != n {
			t.Errorf("a map of %d came back with %d, %v", n, len(got), err)
		}
	}
}

func TestEncoderBuffer(t *testing.T) {
	e := jelly.GetEncoder()
	defer jelly.PutEncoder(e)
	at := e.Reserve(4)
	e.EncodeArrayLen(2)
	e.EncodeString(strings.Repeat("x", 5000)) // the buffer moves
	mark := e.Len()
	e.EncodeBool(false)
	e.Truncate(mark)
	e.EncodeRaw([]byte{0xc3})
	binary.BigEndian.PutUint32(e.Buffer()[at:], uint32(e.Len()-4))
	d := jelly.GetDecoder()
	defer jelly.PutDecoder(d)
	d.Reset(nil, nil, e.Buffer()[4:], nil)
	n, err := d.DecodeArrayLen()
	if err != nil || n != 2 || d.Peek() != jelly.KindString {
		t.Fatalf("DecodeArrayLen = %d, %v, then a %v", n, err, d.Peek())
	}
	if err := d.Skip(); err != nil || !bytes.Equal(d.Remaining(), []byte{0xc3}) {
		t.Errorf("Skip = %v and leaves %x", err, d.Remaining())
	}
	if b, err := d.DecodeBool(); err != nil || !b || d.More() {
		t.Errorf("DecodeBool = %v, %v", b, err)
	}
	if err := d.Skip(); err == nil {
		t.Error("Skip at the end = nil")
	}
}

func TestStringsThatAreNotUTF8AreMended(t *testing.T) {
	var e jelly.Encoder
	e.EncodeString("a\xffb")
	if s, err := decoder(t, nil, e.Buffer()).DecodeString(); err != nil || s != "a\uFFFDb" {
		t.Errorf("DecodeString = %q, %v", s, err)
	}
}

func TestNegativeLengthsAreNil(t *testing.T) {
	var e jelly.Encoder
	e.EncodeArrayLen(-1)
	e.EncodeMapLen(-1)
	e.EncodeBytes(nil)
	e.EncodeBigInt(nil)
	if err := e.EncodeValue(reflect.Value{}); err != nil ||
		string(e.Buffer()) != "\xc0\xc0\xc0\xc0\xc0" {
		t.Errorf("%x, %v, want five times nil", e.Buffer(), err)
	}
}

func TestSentTellsOfTheReferences(t *testing.T) {
	e := new(jelly.Encoder)
	r := jelly.Ref{Kind: jelly.RefExport, ID: 1}
	mark := e.Len()
	e.EncodeRef(r)
	e.Truncate(mark)
	kept := jelly.Ref{Kind: jelly.RefExport, ID: 2}
	e.EncodeRef(kept)
	if got := e.Sent(); !reflect.DeepEqual(got, []jelly.Ref{kept}) {
		t.Errorf("Sent = %v", got)
	}
	if got := e.Unsent(); !reflect.DeepEqual(got, []jelly.Ref{r}) {
		t.Errorf("Unsent = %v", got)
	}
	e.Reset(nil, nil)
	if got := append(e.Sent(), e.Unsent()...); len(got) != 0 {
		t.Errorf("Sent and Unsent after Reset = %v", got)
	}
}

func TestFloatsFromInts(t *testing.T) {
	for _, n := range []int64{0, 5, -5, 1 << 53, -1 << 53, 1<<53 + 2, math.MinInt64, 3 << 61} {
		if f, err := decoder(t, nil, encode(t, nil, n)).DecodeFloat64(); err != nil ||
			int64(f) != n {
			t.Errorf("DecodeFloat64 of %d = %v, %v", n, f, err)
		}
	}
	for _, n := range []int64{1<<53 + 1, -1<<53 - 1, math.MaxInt64} {
		d := decoder(t, nil, encode(t, nil, n))
		if f, err := d.DecodeFloat64(); err == nil {
			t.Errorf("DecodeFloat64 of %d = %v", n, f)
		}
		if back, err := d.DecodeInt(); err != nil || back != n {
			t.Errorf("after the error DecodeInt = %v, %v, want %d", back, err, n)
		}
	}
	if f, err := decoder(t, nil, encode(t, nil, 0.5)).DecodeFloat32(); err != nil || f != 0.5 {
		t.Errorf("DecodeFloat32 of 0.5 = %v, %v", f, err)
	}
}

func TestBigIntsFromInts(t *testing.T) {
	for _, n := range []any{int64(-5), uint64(math.MaxUint64), 0} {
		got, err := decoder(t, nil, encode(t, nil, n)).DecodeBigInt()
		if want, _ := new(big.Int).SetString(formatted(n), 10); err != nil || got.Cmp(want) != 0 {
			t.Errorf("DecodeBigInt of %v = %v, %v", n, got, err)
		}
	}
}

func formatted(n any) string {
	v := reflect.ValueOf(n)
	if v.CanUint() {
		return new(big.Int).SetUint64(v.Uint()).String()
	}
	return big.NewInt(v.Int()).String()
}

// Every method that reads leaves what it cannot read where it is.
func TestTheWrongMethodReadsNothing(t *testing.T) {
	read := map[jelly.Kind]func(*jelly.Decoder) error{
		jelly.KindNil:    (*jelly.Decoder).DecodeNil,
		jelly.KindBool:   func(d *jelly.Decoder) error { _, err := d.DecodeBool(); return err },
		jelly.KindInt:    func(d *jelly.Decoder) error { _, err := d.DecodeInt(); return err },
		jelly.KindFloat:  func(d *jelly.Decoder) error { _, err := d.DecodeFloat64(); return err },
		jelly.KindString: func(d *jelly.Decoder) error { _, err := d.DecodeString(); return err },
		jelly.KindBytes:  func(d *jelly.Decoder) error { _, err := d.DecodeBytes(); return err },
		jelly.KindArray:  func(d *jelly.Decoder) error { _, err := d.DecodeArrayLen(); return err },
		jelly.KindTime:   func(d *jelly.Decoder) error { _, err := d.DecodeTime(); return err },
		jelly.KindDuration: func(d *jelly.Decoder) error {
			_, err := d.DecodeDuration()
			return err
		},
		jelly.KindBigInt: func(d *jelly.Decoder) error { _, err := d.DecodeBigInt(); return err },
		jelly.KindRef:    func(d *jelly.Decoder) error { _, err := d.DecodeRef(); return err },
	}
	r := types()
	for _, row := range values() {
		b := encode(t, r, row.value)
		is := decoder(t, r, b).Peek()
		for kind, f := range read {
			fits := kind == is || kind == jelly.KindBytes && is == jelly.KindNil ||
				kind == jelly.KindFloat && is == jelly.KindInt ||
				kind == jelly.KindBigInt && is == jelly.KindInt
			d := decoder(t, r, b)
			err := f(d)
			var te *jelly.TypeError
			switch {
			case err == nil && !fits:
				t.Errorf("%v read %x, which is a %v", kind, b, is)
			case err != nil && (!errors.As(err, &te) || !bytes.Equal(d.Remaining(), b)):
				t.Errorf("%v on %x: %v, and leaves %x", kind, b, err, d.Remaining())
			}
		}
	}
}

// Times are written by hand, as the library writes them and reads them.
func TestTimesAreThoseOfTheLibrary(t *testing.T) {
	for _, seconds := range []int64{0, 1, 1<<32 - 1, 1 << 32, 1<<34 - 1, 1 << 34, -1, math.MinInt32,
		1 << 50, -62135596800} {
		for _, nanoseconds := range []int64{0, 1, 999_999_999} {
			in := time.Unix(seconds, nanoseconds)
			var want bytes.Buffer
			if err := msgpack.NewEncoder(&want).EncodeTime(in); err != nil {
				t.Fatal(err)
			}
			var e jelly.Encoder
			e.EncodeTime(in)
			if !bytes.Equal(e.Buffer(), want.Bytes()) {
				t.Errorf("EncodeTime(%v) = %x, want %x", in, e.Buffer(), want.Bytes())
			}
			lib, err := msgpack.NewDecoder(bytes.NewReader(e.Buffer())).DecodeTime()
			if err != nil {
				t.Fatal(err)
			}
			got, err := decoder(t, nil, e.Buffer()).DecodeTime()
			if err != nil || !got.Equal(in) || got != lib.UTC() {
				t.Errorf("DecodeTime(%x) = %v, %v, want %v", e.Buffer(), got, err, lib.UTC())
			}
		}
	}
}

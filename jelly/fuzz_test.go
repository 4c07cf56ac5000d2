package jelly_test

import (
	"bytes"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"perspective/jelly"
)

// The library knows our ext types for these tests alone. A name is a string and so may be a key;
// the rest is bytes.
type (
	extName string
	extBody [1]byte
)

func init() {
	skip := func(d *msgpack.Decoder, _ reflect.Value, n int) error {
		return d.ReadFull(make([]byte, n))
	}
	msgpack.RegisterExtDecoder(6, extName(""), skip)
	for _, typ := range []int8{1, 2, 3, 4, 5, 7, 8} {
		msgpack.RegisterExtDecoder(typ, extBody{}, skip)
	}
}

// libraryDecode reads b into any, with keys of every type, since the library's own default takes
// strings alone.
func libraryDecode(d *msgpack.Decoder, b []byte) error {
	d.Reset(bytes.NewReader(b))
	d.SetMapDecoder(func(d *msgpack.Decoder) (any, error) { return d.DecodeUntypedMap() })
	_, err := d.DecodeInterface()
	return err
}

// allocated returns the bytes that f allocates: the least of three, for others may allocate
// meanwhile.
func allocated(enough uint64, f func()) uint64 {
	least := ^uint64(0)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if least = min(least, after.TotalAlloc-before.TotalAlloc); least <= enough {
			break
		}
	}
	return least
}

// accepted holds the promise about what a scan lets through: neither the library nor DecodeAny
// fails, panics, or allocates more than 64 KiB and 80 times the message's length.
func accepted(t *testing.T, b []byte) {
	t.Helper()
	bound := uint64(64<<10 + 80*len(b))
	lib := msgpack.NewDecoder(nil)
	var err error
	if got := allocated(bound, func() { err = libraryDecode(lib, b) }); err != nil || got > bound {
		t.Errorf("msgpack/v5 on %x: %v, %d bytes allocated, want at most %d", cut(b),
			err, got, bound)
	}
	var d jelly.Decoder
	owner := &refs{}
	if got := allocated(bound, func() {
		d.Reset(&jelly.Registry{Closed: true}, owner, b, nil)
		_, err = d.DecodeAny()
	}); got > bound {
		t.Errorf("DecodeAny on %x: %d bytes allocated, want at most %d", cut(b), got, bound)
	}
	// Names that nobody registered, and references of this owner that lead nowhere, are the only
	// things it may refuse.
	if err != nil && !strings.Contains(err.Error(), "no type has that name here") {
		t.Errorf("DecodeAny on %x: %v", cut(b), err)
	}
}

func cut(b []byte) []byte { return b[:min(len(b), 200)] }

func seeds(f *testing.F) {
	r := types()
	for _, row := range values() {
		f.Add(encode(f, r, row.value))
	}
	f.Add(callMessage())
	f.Add(encode(f, r, Everyman{A: map[any]any{1: "a", "b": 2}}))
	for _, s := range []string{"\xdd\xff\xff\xff\xff", "\xdf\x05\xf5\xe1\x00",
		"\x82\xa1a\xc2\xa1a\xc3", "\xc1", "\x81\x90\x01",
		"\x92\xd5\x01\x07\x00\xc7\x06\x03\x07\x91\xa3abc", "\x81\xd4\x06P\x91\x01",
		"\x91\x91\x91\x91\x91\x80"} {
		f.Add([]byte(s))
	}
}

func FuzzScan(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		sum, err := jelly.Scan(b, nil)
		if err != nil {
			return
		}
		if sum.Items < 1 || sum.Items > len(b) && sum.Items > 1 || sum.Depth > 64 {
			t.Errorf("Scan(%x) = %+v", b, sum)
		}
		accepted(t, b)
	})
}

func FuzzDecode(f *testing.F) {
	seeds(f)
	r := types()
	jelly.RegisterIn[Purse](r, "Purse")
	jelly.RegisterIn[Secret](r, "Secret")
	targets := []reflect.Type{}
	for _, row := range values() {
		if row.value != nil {
			targets = append(targets, reflect.TypeOf(row.value))
		}
	}
	targets = append(targets, reflect.TypeFor[Everyman](), reflect.TypeFor[Tree](),
		reflect.TypeFor[Purse](), reflect.TypeFor[Secret]())
	f.Fuzz(func(t *testing.T, b []byte) {
		_, refused := jelly.Scan(b, nil)
		var d jelly.Decoder
		d.Reset(r, nil, b, &jelly.Limits{DecodedBytes: 1 << 20})
		if x, err := d.DecodeAny(); err == nil && refused == nil {
			again(t, r, x)
		}
		for _, typ := range targets {
			d.Reset(r, nil, b, &jelly.Limits{DecodedBytes: 1 << 20})
			into := reflect.New(typ)
			if err := d.DecodeValue(into.Elem()); err == nil && refused == nil {
				if d.More() {
					t.Errorf("Decode(%x) into %v left %x", b, typ, d.Remaining())
				}
				again(t, r, into.Elem().Interface())
			}
		}
	})
}

// again sends what was decoded round once more; it must come out the same. Values that arrived may
// be too deep to be sent, and NaN differs from itself, so the bytes are compared.
func again(t *testing.T, r *jelly.Registry, x any) {
	t.Helper()
	var e jelly.Encoder
	e.Reset(r, nil)
	if err := e.Encode(x); err != nil {
		if !strings.Contains(err.Error(), "nested") {
			t.Errorf("Encode of what was decoded, %#v: %v", x, err)
		}
		return
	}
	first := bytes.Clone(e.Buffer())
	if _, err := jelly.Scan(first, nil); err != nil {
		t.Errorf("Scan of what was decoded, %#v: %v", x, err)
		return
	}
	var d jelly.Decoder
	d.Reset(r, nil, first, nil)
	y, err := d.DecodeAny()
	if err != nil {
		t.Errorf("DecodeAny of what was decoded, %#v: %v", x, err)
		return
	}
	e.Reset(r, nil)
	if err := e.Encode(y); err != nil || e.Len() != len(first) {
		t.Errorf("%#v came back as %#v: %v, %x and %x", x, y, err, first, e.Buffer())
	}
}

// Messages made to take as much memory as they can. Those that the scan lets through keep the
// promise.
func TestWhatTheScanAcceptsIsCheapToDecode(t *testing.T) {
	chain := "\x81\x00"
	for name, unit := range map[string]string{
		"tiny maps":      "\x81\xa0\xc0",
		"small maps":     "\x81\xa1a\x01",
		"maps of two":    "\x82\x00\x80\x01\x80",
		"chains of maps": strings.Repeat(chain, 60) + "\x80",
		"mixed keys":     "\x82\xa0\xc0\x00\xc0",
		"nine keys": "\x89\x00\x80\x01\x80\x02\x80\x03\x80\x04\x80\x05\x80\x06\x80\x07\x80" +
			"\x08\x80",
		"fifteen keys": "\x8f\x00\x80\x01\x80\x02\x80\x03\x80\x04\x80\x05\x80\x06\x80\x07\x80" +
			"\x08\x80\x09\x80\x0a\x80\x0b\x80\x0c\x80\x0d\x80\x0e\x80",
		"empty maps":          "\x80",
		"empty arrays":        "\x90",
		"arrays of empty":     "\x93\x80\x80\x80",
		"chains of arrays":    strings.Repeat("\x91", 60),
		"empty bytes":         "\xc4\x00",
		"short strings":       "\xa2ab",
		"negative ints":       "\xff",
		"int16":               "\xd1\x80\x00",
		"times":               "\xd6\xff\x00\x00\x00\x01",
		"durations":           "\xd7\x07\x00\x00\x00\x00\x00\x00\x00\x01",
		"floats":              "\xca\x00\x00\x00\x01",
		"big ints":            "\xd4\x08\x00",
		"references":          "\xd4\x02\x07",
		"references and path": "\xc7\x04\x03\x07\x92\xa0\xa0",
	} {
		if strings.HasSuffix(unit, "\x91") {
			unit += "\xc0"
		}
		t.Run(name, func(t *testing.T) {
			through := 0
			for _, n := range []int{1, 10, 100, 200, 500, 800, 1000, 1500, 3000, 9000, 30000} {
				b := append([]byte{0xdc, byte(n >> 8), byte(n)}, strings.Repeat(unit, n)...)
				if _, err := jelly.Scan(b, nil); err != nil {
					continue
				}
				accepted(t, b)
				through = n
			}
			if through == 0 {
				t.Error("not even one of them goes through")
			}
			t.Logf("up to %d of them", through)
		})
	}
	var wide jelly.Encoder
	wide.EncodeMapLen(15000)
	for i := range 15000 {
		wide.EncodeInt(int64(i))
		wide.EncodeNil()
	}
	if _, err := jelly.Scan(wide.Buffer(), nil); err != nil {
		t.Fatal(err)
	}
	accepted(t, wide.Buffer())
}

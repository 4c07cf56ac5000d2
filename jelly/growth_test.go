package jelly_test

import (
	"errors"
	"reflect"
	"runtime"
	"testing"

	"perspective/jelly"
)

type (
	wideFlat struct {
		N    int64
		Room [512]int64
	}
	widePtr struct {
		Text string
		Room [512]int64
	}
	wideChecked struct {
		N    int64
		Text string
		Room [512]int64
	}
	wideCustom struct {
		N    int64
		Text string
		Room [512]int64
	}
	slim     struct{ N int64 }
	checked  struct{ N int64 }
	slimText struct{ Text string }
)

func (w *wideChecked) CheckCopy() error {
	w.Text = "checked"
	return nil
}

func (w *wideCustom) AppendJelly(e *jelly.Encoder) error {
	e.EncodeInt(w.N)
	return nil
}

func (w *wideCustom) ReadJelly(d *jelly.Decoder) (err error) {
	w.N, err = d.DecodeInt()
	w.Text = "read"
	return err
}

// arrayHead is the head of an array of n values, n being 16 bits.
func arrayHead(n int) []byte { return []byte{0xdc, byte(n >> 8), byte(n)} }

// nils is an array of n nils.
func nils(n int) []byte { return append(arrayHead(n), repeated(0xc0, n)...) }

func repeated(b byte, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}

// Whatever length is announced, memory is taken only for what really comes.
func TestMemoryGrowsAsElementsCome(t *testing.T) {
	r := new(jelly.Registry)
	jelly.RegisterIn[wideFlat](r, "wideFlat")
	jelly.RegisterIn[widePtr](r, "widePtr")
	jelly.RegisterIn[wideChecked](r, "wideChecked")
	const n = 4000 // times 4 KiB are just within Limits.DecodedBytes
	for _, into := range []any{
		new([]wideFlat), new([]widePtr), new([][]wideFlat), new([][512]int64),
		new([]map[string]int), new(map[int64]widePtr),
		new([]wideChecked), new([]wideCustom), new([][1]wideCustom),
	} {
		b := nils(n)
		if reflect.TypeOf(into).Elem().Kind() == reflect.Map {
			b = append([]byte{0xde, n >> 8, n & 0xff}, repeated(0xc0, 2*n)...)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 10 {
			d := new(jelly.Decoder)
			d.Reset(r, nil, b, nil)
			_ = d.Decode(into)
		}
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(10*(32<<10+24*2*n)); got > most {
			t.Errorf("ten refused %T of %d elements took %d bytes, want at most %d",
				into, n, got, most)
		}
	}
}

// What grows keeps what came before, to the exact length.
func TestGrownSlices(t *testing.T) {
	const n = 3000
	ints := append(arrayHead(n), repeated(7, n)...)
	var mixed []any
	var byteses [][]byte
	for i := range n {
		mixed = append(mixed, int64(i%100))
		byteses = append(byteses, nil)
		if i%500 == 0 {
			byteses[i] = []byte{byte(i)}
		}
	}
	sender, receiver := new(jelly.Registry), new(jelly.Registry)
	jelly.RegisterIn[slim](sender, "flat")
	jelly.RegisterIn[wideFlat](receiver, "flat")
	jelly.RegisterIn[slimText](sender, "ptr")
	jelly.RegisterIn[widePtr](receiver, "ptr")
	jelly.RegisterIn[checked](sender, "checked")
	jelly.RegisterIn[wideChecked](receiver, "checked")
	texts := make([]slimText, 300)
	wantTexts := make([]widePtr, 300)
	for i := range texts {
		texts[i].Text = string(rune('a' + i%26))
		wantTexts[i].Text = texts[i].Text
	}
	tests := []struct {
		b    []byte
		want any
	}{
		{ints, slicesOf[any](int64(7), n)},
		{encode(t, nil, mixed), mixed},
		{encode(t, nil, byteses), byteses},
		{nils(n), make([][]string, n)},
		{encode(t, sender, slicesOf(slim{7}, 300)), slicesOf(wideFlat{N: 7}, 300)},
		{encode(t, sender, texts), wantTexts},
		{encode(t, sender, slicesOf(checked{7}, 300)),
			slicesOf(wideChecked{N: 7, Text: "checked"}, 300)},
		{ints, slicesOf(wideCustom{N: 7, Text: "read"}, n)},
	}
	for _, test := range tests {
		got := reflect.New(reflect.TypeOf(test.want))
		d := new(jelly.Decoder)
		d.Reset(receiver, nil, test.b, nil)
		if err := d.Decode(got.Interface()); err != nil ||
			!reflect.DeepEqual(got.Elem().Interface(), test.want) || d.More() {
			t.Errorf("%T: %v, differs: %v", test.want, err,
				!reflect.DeepEqual(got.Elem().Interface(), test.want))
		}
		if s := got.Elem(); s.Cap() != s.Len() {
			t.Errorf("%T of %d has room for %d", test.want, s.Len(), s.Cap())
		}
	}
}

func slicesOf[T any](x T, n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = x
	}
	return s
}

// meter counts what it gives, up to a limit.
type meter struct{ given, limit, times int }

var errNoRoom = errors.New("no room")

func (m *meter) Take(n int) error {
	m.times++
	if m.given+n > m.limit {
		return errNoRoom
	}
	m.given += n
	return nil
}

// A Meter is asked for what goes over the allowance, before it is taken, and its refusal is the
// error.
func TestMeter(t *testing.T) {
	text := string(repeated('x', 100<<10))
	b := encode(t, nil, text)
	for _, test := range []struct {
		free, limit int
		ok          bool
		given       int
	}{
		{free: 100 << 10, ok: true},
		{free: 100<<10 - 1, limit: 4 << 10, ok: true, given: 4 << 10},
		{free: 1 << 10, limit: 99 << 10, ok: true, given: 99 << 10},
		{free: 1 << 10, limit: 99<<10 - 1},
	} {
		m := &meter{limit: test.limit}
		d := new(jelly.Decoder)
		d.Reset(nil, nil, b, nil)
		d.Metered(test.free, m)
		got, err := d.DecodeString()
		if ok := err == nil && got == text; ok != test.ok || m.given != test.given ||
			!ok && !errors.Is(err, errNoRoom) {
			t.Errorf("free %d, limit %d: %d bytes, %v; given %d", test.free, test.limit,
				len(got), err, m.given)
		}
	}
	m := &meter{limit: 1 << 30} // many small values ask seldom
	d := new(jelly.Decoder)
	d.Reset(nil, nil, encode(t, nil, slicesOf("a word", 50_000)), nil)
	d.Metered(1<<10, m)
	if _, err := d.DecodeAny(); err != nil || m.times > 50 {
		t.Errorf("%v; the meter was asked %d times", err, m.times)
	}
	// the limit of the message holds beside the meter
	d.Reset(nil, nil, b, &jelly.Limits{DecodedBytes: 50 << 10})
	d.Metered(1<<10, m)
	m.given = 0
	if _, err := d.DecodeString(); err == nil || m.given != 0 {
		t.Errorf("over Limits.DecodedBytes: %v, given %d", err, m.given)
	}
}

package jelly_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"perspective/jelly"
)

func TestScanAccepts(t *testing.T) {
	for _, c := range []struct {
		bytes string
		want  jelly.Summary
	}{
		{"\x05", jelly.Summary{Items: 1}},
		{"\x90", jelly.Summary{Items: 1, Depth: 1}},
		{"\x92\x01\x91\xc0", jelly.Summary{Items: 4, Depth: 2}},
		{"\x81\xa1a\x82\x01\x02\x03\x80", jelly.Summary{Items: 7, Depth: 3}},
		{"\xde\x00\x02\xa1a\x01\xa1b\x02", jelly.Summary{Items: 5, Depth: 1}},
		{"\xdf\x00\x00\x00\x01\xa1a\x01", jelly.Summary{Items: 3, Depth: 1}},
		{"\xdd\x00\x00\x00\x01\xdc\x00\x00", jelly.Summary{Items: 2, Depth: 2}},
		{"\x81\xd4\x06P\x91\x01", jelly.Summary{Items: 4, Depth: 2, Named: true}},
		{"\x91\xd5\x01\x07\x00", jelly.Summary{Items: 2, Depth: 1, Refs: true}},
		{"\xc7\x06\x03\x07\x91\xa3abc", jelly.Summary{Items: 1, Refs: true}},
		{"\xd6\xff\x00\x00\x00\x01", jelly.Summary{Items: 1}},
		{"\x83\x01\x01\xca\x3f\x80\x00\x00\x01\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\x01",
			jelly.Summary{Items: 7, Depth: 1}},
		{"\x84\xc2\x01\xc3\x01\xff\x01\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x01",
			jelly.Summary{Items: 9, Depth: 1}},
		{"\x82\xa1a\x82\xa1a\x01\xa1b\x02\xa1b\x82\xa1a\x01\xa1b\x02",
			jelly.Summary{Items: 13, Depth: 2}},
		{"\x92\xc4\x01\xff\xd9\x01a", jelly.Summary{Items: 3, Depth: 1}},
		{"\xcc\x05", jelly.Summary{Items: 1}}, // longer than need be is no harm
	} {
		got, err := jelly.Scan([]byte(c.bytes), nil)
		if err != nil || got != c.want {
			t.Errorf("Scan(%x) = %+v, %v, want %+v", c.bytes, got, err, c.want)
		}
	}
}

func TestScanRefusesEveryPrefix(t *testing.T) {
	r := types()
	for _, row := range values() {
		b := encode(t, r, []any{row.value, row.value})
		for n := range b {
			var se *jelly.ScanError
			if _, err := jelly.Scan(b[:n], nil); !errors.As(err, &se) {
				t.Errorf("Scan(%x), cut at %d = %v, want a *ScanError", b, n, err)
			}
		}
	}
}

func TestScanRefuses(t *testing.T) {
	for _, c := range []struct{ bytes, reason string }{
		{"\x82\xd4\x06P\x01\x01\x01", "only key of a fixmap"},
		{"\x82\x01\x01\xd4\x06P\x01", "only key of a fixmap"},
		{"\xde\x00\x01\xd4\x06P\x01", "only key of a fixmap"},
		{"\xd4\x06P", "stands where a value should"},
		{"\x81\xc7\x00\x06\x01", "1 to 255 bytes"},
		{"\x81\xd4\x06\xff\x01", "1 to 255 bytes"},
		{"\xd4\x07\x01", "duration has 8 bytes"},
		{"\xd4\x08\x01", "minus zero"},
		{"\xd4\x08\x02", "sign"},
		{"\xd5\x08\x00\x00", "begins with a zero"},
		{"\xd5\xff\x00\x00", "4, 8 or 12 bytes"},
		{"\xd7\xff\xff\xff\xff\xff\x00\x00\x00\x00", "nanoseconds"},
		{"\xc7\x0c\xff\x3b\x9a\xca\x00\x00\x00\x00\x00\x00\x00\x00\x00", "nanoseconds"},
		{"\x82\xca\x00\x00\x00\x00\x01\xca\x80\x00\x00\x00\x02", "occurs twice"},
		{"\x82\xff\x01\xd0\xff\x02", "occurs twice"},
		{"\x82\xa1a\x01\xd9\x01a\x02", "occurs twice"},
		{"\x82\xc3\x01\xc3\x02", "occurs twice"},
		{"\x81\xa1\xff\x01", "key is not UTF-8"},
		{"\x81\xca\x7f\xc0\x00\x01\x01", "NaN"},
	} {
		_, err := jelly.Scan([]byte(c.bytes), nil)
		var se *jelly.ScanError
		if !errors.As(err, &se) || !strings.Contains(se.Reason, c.reason) {
			t.Errorf("Scan(%x) = %v, want %q", c.bytes, err, c.reason)
		}
	}
}

// TestScanSaysWhereAKeyOccursTwice: the place is that of the second one, whatever the keys are and
// however many.
func TestScanSaysWhereAKeyOccursTwice(t *testing.T) {
	many := "\xde\x00\x10"
	for i := range 15 {
		many += string([]byte{byte(i), 1})
	}
	for _, c := range []struct {
		bytes string
		at    int
	}{
		{"\x82\xa1a\x01\xd9\x01a\x02", 4},
		{"\x82\xff\x01\xd0\xff\x02", 3},
		{"\x82\xc3\x01\xc3\x02", 3},
		{"\x82\x07\x01\xcc\x07\x02", 3},
		{many + "\x00\x01", len(many)},
	} {
		_, err := jelly.Scan([]byte(c.bytes), nil)
		if se, ok := errors.AsType[*jelly.ScanError](err); !ok || se.Offset != c.at {
			t.Errorf("Scan(%x) = %v, want byte %d", c.bytes, err, c.at)
		}
	}
}

// bigIntOf is a whole number with a magnitude of n bytes on the wire.
func bigIntOf(n int) string {
	return string([]byte{0xc8, byte((n + 1) >> 8), byte(n + 1), 8, 0}) + strings.Repeat("a", n)
}

func TestScanLimits(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("\x91", n) + "\x01" }
	flat := func(n int) string { return fmt.Sprintf("\xdc%c%c", 0, n) + strings.Repeat("\x01", n) }
	for _, c := range []struct {
		name     string
		limits   jelly.Limits
		ok, over string
	}{
		{"depth by default", jelly.Limits{}, deep(64), deep(65)},
		{"depth at most 64", jelly.Limits{Depth: 1000}, deep(64), deep(65)},
		{"depth", jelly.Limits{Depth: 3}, deep(3), deep(4)},
		{"items", jelly.Limits{Items: 100}, flat(99), flat(100)},
		{"message", jelly.Limits{MessageBytes: 10}, "\xa9aaaaaaaaa", "\xaaaaaaaaaaaa"},
		{"big int", jelly.Limits{BigIntBytes: 3}, "\xd6\x08\x00aaa", "\xc7\x05\x08\x00aaaa"},
		{"big int at most 1 KiB", jelly.Limits{BigIntBytes: 1 << 20}, bigIntOf(1024),
			bigIntOf(1025)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := jelly.Scan([]byte(c.ok), &c.limits); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			var se *jelly.ScanError
			if _, err := jelly.Scan([]byte(c.over), &c.limits); !errors.As(err, &se) || !se.Limit {
				t.Errorf("over the limit: %v, want a *ScanError with Limit", err)
			}
		})
	}
}

func TestScanFindsAKeyTwiceAmongMany(t *testing.T) {
	for _, n := range []int{2, 12, 13, 100, 5000} {
		for _, kind := range []string{"text", "ints"} {
			var e jelly.Encoder
			e.EncodeMapLen(n)
			for i := range n {
				if i == n-1 {
					i = n / 2
					if n == 2 {
						i = 0
					}
				}
				if kind == "text" {
					e.EncodeString(fmt.Sprint("key ", i))
				} else {
					e.EncodeInt(int64(i - 10))
				}
				e.EncodeNil()
			}
			if _, err := jelly.Scan(e.Buffer(), nil); err == nil ||
				!strings.Contains(err.Error(), "twice") {
				t.Errorf("%d %s: Scan = %v, want the key named that occurs twice", n, kind, err)
			}
		}
	}
}

func TestScanAllocatesNothing(t *testing.T) {
	messages := map[string][]byte{"call": callMessage()}
	messages["small maps"] = encode(t, nil, []map[string]any{
		{"a": 1, "b": map[string]int{"c": 1, "d": 2}}, {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5},
	})
	for name, b := range messages {
		if n := testing.AllocsPerRun(200, func() {
			if _, err := jelly.Scan(b, nil); err != nil {
				t.Fatal(err)
			}
		}); n >= 1 && !raceDetector {
			t.Errorf("%s: Scan allocates %v times", name, n)
		}
	}
}

func TestScalarsAllocateNothing(t *testing.T) {
	var e jelly.Encoder
	var d jelly.Decoder
	b := callMessage()
	if n := testing.AllocsPerRun(200, func() { e.Reset(nil, nil); putCall(&e) }); n != 0 {
		t.Errorf("encoding a call allocates %v times", n)
	}
	if n := testing.AllocsPerRun(200, func() {
		d.Reset(nil, nil, b, nil)
		if err := skimCall(&d); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("decoding a call allocates %v times", n)
	}
}

// putCall writes a message of the size of a small call.
func putCall(e *jelly.Encoder) {
	e.EncodeArrayLen(7)
	e.EncodeInt(1)
	e.EncodeUint(4711)
	e.EncodeUint(3)
	e.EncodeString("Echo")
	e.EncodeArrayLen(3)
	e.EncodeInt(123456)
	e.EncodeString("sixteen-byte-str")
	e.EncodeBytes(payload[:])
	e.EncodeUint(0)
	e.EncodeNil()
}

var payload [64]byte

func callMessage() []byte {
	var e jelly.Encoder
	putCall(&e)
	return e.Buffer()
}

// skimCall reads it without keeping anything.
func skimCall(d *jelly.Decoder) error {
	_, err := d.DecodeArrayLen()
	for range 3 {
		if err == nil {
			_, err = d.DecodeUint()
		}
	}
	if err == nil {
		_, err = d.DecodeName()
	}
	if err == nil {
		_, err = d.DecodeArrayLen()
	}
	if err == nil {
		_, err = d.DecodeInt()
	}
	for range 2 {
		if err == nil {
			_, err = d.DecodeName()
		}
	}
	if err == nil {
		_, err = d.DecodeUint()
	}
	if err == nil {
		err = d.DecodeNil()
	}
	return err
}

// The scan's own stack is shallow; deeper messages borrow one, and come out of it again.
func TestScanGoesDeepAndComesBack(t *testing.T) {
	for depth := 1; depth <= 64; depth++ {
		var e jelly.Encoder
		for range depth {
			e.EncodeArrayLen(2)
		}
		e.EncodeNil()
		for i := range depth {
			e.EncodeInt(int64(i))
		}
		want := jelly.Summary{Items: 1 + 2*depth, Depth: depth}
		if got, err := jelly.Scan(e.Buffer(), nil); err != nil || got != want {
			t.Errorf("%d deep: Scan = %+v, %v, want %+v", depth, got, err, want)
		}
		if _, err := jelly.Scan(e.Buffer()[:e.Len()-1], nil); err == nil {
			t.Errorf("%d deep and cut off: no error", depth)
		}
	}
	deep := []byte(strings.Repeat("\x91", 60) + "\x01")
	if n := testing.AllocsPerRun(100, func() { _, _ = jelly.Scan(deep, nil) }); n >= 1 &&
		!raceDetector {
		t.Errorf("a deep message allocates %v times", n)
	}
}

// Text is looked at eight bytes at a time, so what is wrong may stand at any of them.
func TestScanFindsWhatIsNotUTF8Anywhere(t *testing.T) {
	for n := range 40 {
		for at := range n {
			b := append([]byte{0xd9, byte(n)}, strings.Repeat("a", n)...)
			if _, err := jelly.Scan(b, nil); err != nil {
				t.Fatalf("ASCII of %d: %v", n, err)
			}
			b[2+at] = 0x80
			if _, err := jelly.Scan(b, nil); err == nil {
				t.Errorf("text of %d with byte %d not UTF-8 went through", n, at)
			}
			if at > 0 {
				copy(b[1+at:], "é")
				if _, err := jelly.Scan(b, nil); err != nil {
					t.Errorf("text of %d with two bytes at %d: %v", n, at, err)
				}
			}
		}
	}
}

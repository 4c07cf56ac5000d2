package jelly_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"perspective/jelly"
)

// Attachment holds bytes in each way in which a type may.
type Attachment struct {
	Name  string
	Body  []byte
	JSON  json.RawMessage
	Parts [][]byte
	Fixed [8]byte
	Any   any
	Last  Blob
}

// Carrier writes a large slice itself, and uses it again at once.
type Carrier struct{ body []byte }

func (c *Carrier) AppendJelly(e *jelly.Encoder) error {
	e.EncodeBytes(c.body)
	clear(c.body)
	return nil
}

func (c *Carrier) ReadJelly(d *jelly.Decoder) (err error) {
	c.body, err = d.DecodeBytes()
	return err
}

func attachments() *jelly.Registry {
	r := new(jelly.Registry)
	jelly.RegisterIn[Attachment](r, "Attachment")
	return r
}

func large(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n) }

func sharesMemory(part, whole []byte) bool {
	for i := range whole {
		if &whole[i] == &part[0] {
			return true
		}
	}
	return false
}

func TestByReferenceIsTheSameMessage(t *testing.T) {
	r := attachments()
	in := Attachment{
		"n", large('a', 5000), large('b', 1000), [][]byte{large('c', 1000),
			large('d', 999), nil, {}}, [8]byte{1}, large('e', 2000), large('f', 3000),
	}
	want := encode(t, r, &in)
	for _, v := range []any{&in, in} {
		var e jelly.Encoder
		e.Reset(r, nil)
		e.ByReference(1000)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		if e.Size() != len(want) || e.Len() > 1200 {
			t.Errorf("Size = %d, want %d; Len = %d", e.Size(), len(want), e.Len())
		}
		segments := e.Segments(nil)
		if got := bytes.Join(segments, nil); !bytes.Equal(got, want) {
			t.Errorf("Segments = %.40q…, want %.40q…", got, want)
		}
		if len(segments) != 10 || &segments[1][0] != &in.Body[0] || &segments[9][0] != &in.Last[0] {
			t.Errorf("%d segments, want 10 with the slices themselves", len(segments))
		}
		if got := e.Segments([][]byte{{1}}); len(got) != 11 || got[0][0] != 1 {
			t.Errorf("Segments did not append: %d", len(got))
		}
		e.EncodeBytes(large('g', 1500))
		e.Flatten()
		e.EncodeInt(1)
		whole := append(bytes.Clone(want),
			append([]byte{0xc5, 1500 >> 8, 1500 & 0xff}, append(large('g', 1500), 1)...)...)
		if !bytes.Equal(e.Buffer(), whole) || e.Size() != len(whole) || len(e.Segments(nil)) != 1 {
			t.Errorf("after Flatten: %d bytes, Size %d, %d segments, want %d", e.Len(), e.Size(),
				len(e.Segments(nil)), len(whole))
		}
	}
}

func TestByReferenceEnds(t *testing.T) {
	var e jelly.Encoder
	if got := e.Segments(nil); len(got) != 0 {
		t.Errorf("Segments of nothing = %v", got)
	}
	b := large('x', 100)
	e.ByReference(100)
	e.EncodeBytes(b)
	e.ByReference(0)
	e.EncodeBytes(b)
	if e.Size() != 204 || e.Len() != 104 {
		t.Errorf("Size, Len = %d, %d, want 204, 104", e.Size(), e.Len())
	}
	e.Reset(nil, nil)
	e.EncodeBytes(b)
	if e.Size() != 102 || e.Len() != 102 || len(e.Segments(nil)) != 1 {
		t.Errorf("after Reset Size, Len = %d, %d, want 102", e.Size(), e.Len())
	}
	p := jelly.GetEncoder()
	p.ByReference(1)
	p.EncodeBytes(b)
	jelly.PutEncoder(p)
	p = jelly.GetEncoder()
	defer jelly.PutEncoder(p)
	p.EncodeBytes(b)
	if p.Size() != 102 || p.Len() != 102 {
		t.Errorf("from the pool Size, Len = %d, %d, want 102", p.Size(), p.Len())
	}
}

func TestTruncateDropsWhatWasReferredTo(t *testing.T) {
	var e jelly.Encoder
	e.ByReference(10)
	e.EncodeInt(1)
	start := e.Len()
	e.EncodeBytes(large('x', 10))
	first := e.Len() // right at the first slice
	e.EncodeBytes(large('y', 20))
	e.EncodeInt(2)
	e.Truncate(first)
	if got := bytes.Join(e.Segments(nil), nil); string(got) != "\x01\xc4\x0axxxxxxxxxx" ||
		e.Size() != 13 {
		t.Errorf("message = %q, Size %d", got, e.Size())
	}
	e.EncodeInt(3)
	if got := bytes.Join(e.Segments(nil), nil); string(got) != "\x01\xc4\x0axxxxxxxxxx\x03" {
		t.Errorf("message = %q", got)
	}
	e.Truncate(start)
	e.EncodeInt(4)
	if got := e.Segments(nil); len(got) != 1 || string(got[0]) != "\x01\x04" || e.Size() != 2 {
		t.Errorf("Segments = %q, Size %d", got, e.Size())
	}
}

func TestAnErrorDropsWhatWasReferredTo(t *testing.T) {
	var e jelly.Encoder
	e.ByReference(10)
	e.EncodeBytes(large('x', 10))
	for _, v := range []any{[]any{large('y', 100), make(chan int)},
		[][]any{{large('y', 100), make(chan int)}}} {
		if err := e.Encode(v); err == nil {
			t.Fatal("a channel went through")
		}
		if err := e.EncodeValue(reflect.ValueOf(v)); err == nil {
			t.Fatal("a channel went through")
		}
		if got := e.Segments(nil); len(got) != 2 || e.Size() != 12 {
			t.Errorf("after the error %q, Size %d", got, e.Size())
		}
	}
}

func TestWhatHooksWriteIsCopied(t *testing.T) {
	var e jelly.Encoder
	e.ByReference(10)
	c := Carrier{large('x', 100)}
	if err := e.Encode([]*Carrier{&c}); err != nil {
		t.Fatal(err)
	}
	e.EncodeBytes(large('y', 10))
	if got := e.Segments(nil); len(got) != 2 || !strings.HasSuffix(string(got[0]), "xxx\xc4\x0a") {
		t.Errorf("Segments = %q", got)
	}
}

func TestOwnedBytesStayWhereTheyLie(t *testing.T) {
	r := attachments()
	const half = 16 << 10
	for _, c := range []struct {
		name   string
		in     any
		own    bool
		shared bool
	}{
		{"large", large('x', half), true, true},
		{"not owned", large('x', half), false, false},
		{"small", large('x', half-1), true, false},
		{"large, of a name", Blob(large('x', half)), true, true},
		{"JSON", json.RawMessage(large('x', half)), true, true},
		{"half of it", [][]byte{large('x', half), large('y', half-10)}, true, true},
		{"less than half of it", [][]byte{large('x', half), large('y', half+10)}, true, false},
		{"a field", Attachment{Last: large('x', half)}, true, true},
		{"in an interface", []any{large('x', half)}, true, true},
		{"read by itself", &Carrier{large('x', half)}, true, true},
		{"read by itself, less than half",
			[]Carrier{{large('x', half)}, {large('y', half+10)}}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := encode(t, r, c.in)
			d := decoder(t, r, m)
			if c.own {
				d.Own()
			}
			out := reflect.New(reflect.TypeOf(c.in))
			if err := d.Decode(out.Interface()); err != nil {
				t.Fatal(err)
			}
			var got []byte
			switch x := out.Elem().Interface().(type) {
			case []byte:
				got = x
			case Blob:
				got = x
			case json.RawMessage:
				got = x
			case [][]byte:
				got = x[0]
			case Attachment:
				got = x.Last
			case []any:
				got = x[0].([]byte)
			case *Carrier:
				got = x.body
			case []Carrier:
				got = x[0].body
			}
			if len(got) < half-1 || got[0] != 'x' || cap(got) > len(got)+half {
				t.Fatalf("got %d bytes", len(got))
			}
			if sharesMemory(got, m) != c.shared {
				t.Errorf("shares the message's memory: %v, want %v", !c.shared, c.shared)
			}
			if c.shared && cap(got) != len(got) {
				t.Errorf("has room for %d more bytes of the message", cap(got)-len(got))
			}
		})
	}
}

func TestOwnedBytesAreChargedAndResetEndsIt(t *testing.T) {
	m := encode(t, nil, large('x', 20<<10))
	var d jelly.Decoder
	d.Reset(nil, nil, m, &jelly.Limits{DecodedBytes: 20<<10 - 1})
	d.Own()
	var te *jelly.TypeError
	if _, err := d.DecodeBytes(); !errors.As(err, &te) {
		t.Errorf("DecodeBytes over the limit = %v", err)
	}
	d.Reset(nil, nil, m, nil)
	if got, err := d.DecodeBytes(); err != nil || sharesMemory(got, m) {
		t.Errorf("after Reset the bytes share the message's memory; %v", err)
	}
}

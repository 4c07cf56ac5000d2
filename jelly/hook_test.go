package jelly_test

import (
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"perspective/jelly"
)

// Money writes itself as cents.
type Money struct{ cents int64 }

func (m *Money) AppendJelly(e *jelly.Encoder) error {
	switch m.cents {
	case -1:
		return errors.New("no debts")
	case -2:
		return nil // nothing written
	case -3:
		e.EncodeInt(1)
		e.EncodeInt(2)
		return nil
	}
	e.EncodeArrayLen(1)
	e.EncodeInt(m.cents)
	return nil
}

func (m *Money) ReadJelly(d *jelly.Decoder) error {
	n, err := d.DecodeArrayLen()
	if err != nil || n != 1 {
		return fmt.Errorf("not an amount: %w", err)
	}
	if m.cents, err = d.DecodeInt(); err == nil && m.cents == 99 {
		_, err = d.DecodeInt() // more than its own value
	}
	return err
}

type Purse struct{ In, Out Money }

// Secret shows its text to admins alone, and wants to see what arrives.
type Secret struct{ Text string }

var errEmpty = errors.New("empty secret")

func (s *Secret) CopyFor(viewer any) (any, error) {
	switch viewer {
	case "admin":
		return s, nil
	case "thief":
		return nil, errors.New("not for you")
	case "confused":
		return 5, nil
	}
	return Secret{Text: "***"}, nil
}

func (s *Secret) CheckCopy() error {
	switch s.Text {
	case "":
		return errEmpty
	case "panic":
		panic("CheckCopy was surprised")
	}
	return nil
}

// Shape is an interface that one type has by value and one by pointer.
type Shape interface{ Area() int }
type Square struct{ Side int }
type Box struct{ W, H int }

func (s Square) Area() int { return s.Side * s.Side }
func (b *Box) Area() int   { return b.W * b.H }

type Holder struct {
	Shape Shape
	Span  fmt.Stringer
}

func hooked() *jelly.Registry {
	r := new(jelly.Registry)
	jelly.RegisterIn[Purse](r, "Purse")
	jelly.RegisterIn[Secret](r, "Secret")
	jelly.RegisterIn[Square](r, "Square")
	jelly.RegisterIn[Box](r, "Box")
	jelly.RegisterIn[Holder](r, "Holder")
	return r
}

func TestCustom(t *testing.T) {
	r := hooked()
	in := Purse{Money{5}, Money{-500}}
	var out Purse
	if err := decoder(t, r, encode(t, r, in)).Decode(&out); err != nil || out != in {
		t.Errorf("round trip = %v, %v, want %v", out, err, in)
	}
	if b := encode(t, r, Money{5}); string(b) != "\x91\x05" {
		t.Errorf("unregistered form = %x", b)
	}
	jelly.RegisterIn[Money](r, "Money")
	if got, err := decoder(t, r, encode(t, r, Money{5})).DecodeAny(); err != nil ||
		got != (Money{5}) {
		t.Errorf("registered, DecodeAny = %v, %v", got, err)
	}
	if err := decoder(t, r, encode(t, r, in)).Decode(&out); err != nil || out != in {
		t.Errorf("after registering, round trip = %v, %v, want %v", out, err, in)
	}
	for cents, want := range map[int64]string{
		-1: "AppendJelly: no debts",
		-2: "exactly one value",
		-3: "exactly one value",
	} {
		var e jelly.Encoder
		e.Reset(r, nil)
		if err := e.Encode(Purse{Out: Money{cents}}); err == nil || !strings.Contains(err.Error(),
			"field Out: ") || !strings.Contains(err.Error(), want) || e.Len() != 0 {
			t.Errorf("Encode of %d = %v, %d bytes, want %q", cents, err, e.Len(), want)
		}
	}
	var m Money
	for bytes, want := range map[string]string{
		"\x91\x63":     "ReadJelly",
		"\x92\x01\x02": "ReadJelly: not an amount",
		"\x05":         "ReadJelly",
	} {
		d := new(jelly.Decoder)
		d.Reset(new(jelly.Registry), nil, []byte(bytes), nil)
		var te *jelly.TypeError
		if err := d.Decode(&m); !errors.As(err, &te) || !strings.Contains(err.Error(), want) {
			t.Errorf("Decode(%x) = %v, want %q", bytes, err, want)
		}
	}
}

// Vast writes a whole number by itself.
type Vast struct{ n *big.Int }

func (v *Vast) AppendJelly(e *jelly.Encoder) error {
	e.EncodeBigInt(v.n)
	return nil
}

func (v *Vast) ReadJelly(d *jelly.Decoder) (err error) {
	v.n, err = d.DecodeBigInt()
	return err
}

// Careless writes bytes of its own.
type Careless string

func (c *Careless) AppendJelly(e *jelly.Encoder) error {
	e.EncodeRaw([]byte(*c))
	return nil
}

func (*Careless) ReadJelly(d *jelly.Decoder) error { return d.Skip() }

// TestEncodeRefusesWhatScanDoes: what no receiver takes fails where it is encoded, and not the
// message it stands in.
func TestEncodeRefusesWhatScanDoes(t *testing.T) {
	largest := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 8<<10), big.NewInt(1))
	over := new(big.Int).Lsh(big.NewInt(1), 8<<10)
	in := func(x *big.Int) map[string]any {
		return map[string]any{
			"bare":     x,
			"negative": new(big.Int).Neg(x),
			"by value": *x,
			"slice":    []*big.Int{big.NewInt(1), x},
			"any":      []any{"a", x},
			"map":      map[string]*big.Int{"k": x},
			"custom":   Vast{x},
		}
	}
	for name, v := range in(largest) {
		var e jelly.Encoder
		if err := e.Encode(v); err != nil {
			t.Errorf("%s of 1 KiB: %v", name, err)
		} else if _, err := jelly.Scan(e.Buffer(), nil); err != nil {
			t.Errorf("%s of 1 KiB: %v", name, err)
		}
	}
	refused := in(over)
	for name, raw := range map[string]string{
		"text":      "\xa1\xff",
		"key twice": "\x82\x01\xc0\x01\xc0",
		"NaN key":   "\x81\xca\x7f\xc0\x00\x01\x01",
		"ext":       "\xd4\x63\x00",
		"reference": "\xd5\x02\xcc\x01",
		"deep":      strings.Repeat("\x91", 65) + "\x01",
	} {
		refused["custom: "+name] = Careless(raw)
	}
	for name, v := range refused {
		var e jelly.Encoder
		var te *jelly.TypeError
		if err := e.Encode(v); !errors.As(err, &te) || e.Len() != 0 {
			t.Errorf("%s: Encode = %v and %d bytes, want a *TypeError and none", name, err, e.Len())
		}
	}
}

// refs is the least owner of references.
type refs struct {
	viewer any
	given  map[uint64]any
}

func (r *refs) Viewer() any { return r.viewer }

func (r *refs) EncodeRef(e *jelly.Encoder, v any) error {
	switch o := v.(type) {
	case *Object:
		if o.ID == 404 {
			return errGone
		}
		e.EncodeRef(jelly.Ref{Kind: jelly.RefExport, ID: o.ID, Object: 1})
	default:
		e.EncodeString("plain")
	}
	return nil
}

var errGone = errors.New("gone")

func (r *refs) DecodeRef(
	d *jelly.Decoder, ref jelly.Ref, want reflect.Type,
) (reflect.Value, error) {
	if ref.Kind == jelly.RefNone {
		s, err := d.DecodeString()
		return reflect.ValueOf(&Object{Name: s}), err
	}
	if ref.ID == 404 {
		return reflect.Value{}, errGone
	}
	v, ok := r.given[ref.ID]
	if !ok {
		return reflect.Zero(want), nil
	}
	return reflect.ValueOf(v), nil
}

// Object crosses by reference.
type Object struct {
	ID   uint64
	Name string
}

func (*Object) JellyReference() {}

type ByValue struct{ O Object }
type WithObject struct {
	O *Object
	I interface{ jelly.Reference }
	S string
}

func TestCopyForAndCheckCopy(t *testing.T) {
	r := hooked()
	send := func(viewer any, v any) ([]byte, error) {
		var e jelly.Encoder
		e.Reset(r, &refs{viewer: viewer})
		err := e.Encode(v)
		return e.Buffer(), err
	}
	for _, v := range []any{Secret{"x"}, &Secret{"x"}, []Secret{{"x"}}} {
		for viewer, want := range map[string]string{"admin": "x", "guest": "***"} {
			b, err := send(viewer, v)
			if err != nil || !strings.HasSuffix(string(b), want) {
				t.Errorf("for %s: %q, %v, want %q", viewer, b, err, want)
			}
		}
		for viewer, want := range map[string]string{"thief": "CopyFor: not for you",
			"confused": "same type, not int"} {
			if _, err := send(viewer, v); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("for %s: %v, want %q", viewer, err, want)
			}
		}
	}
	for text, want := range map[string]string{"": "CheckCopy: empty secret",
		"panic": "CheckCopy was surprised"} {
		b, _ := send("admin", Secret{text})
		var s Secret
		err := decoder(t, r, b).Decode(&s)
		if err == nil || !strings.Contains(err.Error(), want) ||
			errors.Is(err, errEmpty) != (text == "") {
			t.Errorf("Decode of %q = %v, want %q", text, err, want)
		}
		if _, err := decoder(t, r, b).DecodeAny(); err == nil {
			t.Errorf("DecodeAny of %q went through", text)
		}
	}
}

func TestInterfacesGetWhatHasTheirMethods(t *testing.T) {
	r := hooked()
	for _, in := range []Holder{{Square{3}, time.Second}, {&Box{2, 3}, nil}} {
		var out Holder
		if err := decoder(t, r, encode(t, r, in)).Decode(&out); err != nil ||
			!reflect.DeepEqual(out, in) {
			t.Errorf("round trip = %v, %v, want %v", out, err, in)
		}
	}
	if got, err := decoder(t, r, encode(t, r, &Box{2, 3})).DecodeAny(); err != nil ||
		got != (Box{2, 3}) {
		t.Errorf("DecodeAny = %v, %v, want a Box by value", got, err)
	}
	var s Shape
	for _, v := range []any{Secret{"x"}, 5, "x", time.Second} {
		var te *jelly.TypeError
		if err := decoder(t, r, encode(t, r, v)).Decode(&s); !errors.As(err, &te) {
			t.Errorf("Decode of %v into a Shape = %v, %v", v, s, err)
		}
	}
}

func TestReferences(t *testing.T) {
	r := hooked()
	jelly.RegisterIn[WithObject](r, "WithObject")
	lent := &Object{ID: 7}
	owner := &refs{given: map[uint64]any{7: lent, 8: "settled", 9: int64(300)}}
	var e jelly.Encoder
	e.Reset(r, owner)
	in := WithObject{O: lent, I: lent, S: "s"}
	if err := e.Encode(in); err != nil {
		t.Fatal(err)
	}
	sum, err := jelly.Scan(e.Buffer(), nil)
	if err != nil || !sum.Refs || !sum.Named {
		t.Fatalf("Scan = %+v, %v", sum, err)
	}
	var d jelly.Decoder
	d.Reset(r, owner, e.Buffer(), nil)
	var out WithObject
	if err := d.Decode(&out); err != nil || out != in {
		t.Errorf("round trip = %v, %v, want %v", out, err, in)
	}

	ref := func(id uint64) []byte {
		var e jelly.Encoder
		e.EncodeRef(jelly.Ref{Kind: jelly.RefAnswerValue, ID: id, Path: []string{"Name"}})
		return e.Buffer()
	}
	read := func(b []byte, into any) error { d.Reset(r, owner, b, nil); return d.Decode(into) }
	var s string
	if err := read(ref(8), &s); err != nil || s != "settled" {
		t.Errorf("a reference where a string is wanted = %q, %v", s, err)
	}
	var x any
	if err := read(ref(7), &x); err != nil || x != lent {
		t.Errorf("a reference where anything goes = %v, %v", x, err)
	}
	var list []string
	if err := read(append([]byte{0x92, 0xa1, 'a'}, ref(8)...), &list); err != nil ||
		!reflect.DeepEqual(list, []string{"a", "settled"}) {
		t.Errorf("a reference among strings = %q, %v", list, err)
	}
	var table map[string]int64
	if err := read(append([]byte{0x81, 0xa1, 'a'}, ref(9)...), &table); err != nil ||
		table["a"] != 300 {
		t.Errorf("a reference in a map = %v, %v", table, err)
	}
	var small int8
	var te *jelly.TypeError
	if err := read(ref(9), &small); !errors.As(err, &te) {
		t.Errorf("a reference to another type = %v, %v", small, err)
	}
	if err := read(ref(404), &s); err != errGone { //nolint:errorlint // itself, bare
		t.Errorf("the owner's error = %v, want it bare", err)
	}
	var o *Object
	if err := read([]byte{0xa2, 'h', 'i'}, &o); err != nil || o == nil || o.Name != "hi" {
		t.Errorf("a plain value where a reference is wanted = %v, %v", o, err)
	}
	o = lent
	if err := read([]byte{0xc0}, &o); err != nil || o != nil {
		t.Errorf("nil where a reference is wanted = %v, %v", o, err)
	}
	if err := e.Encode(&Object{ID: 404}); err != errGone { //nolint:errorlint // itself, bare
		t.Errorf("the owner's error = %v, want it bare", err)
	}
	if b := encode(t, r, (*Object)(nil)); string(b) != "\xc0" {
		t.Errorf("a nil reference = %x", b)
	}

	// Without a connection.
	e.Reset(r, nil)
	for _, v := range []any{lent, []any{lent}, in} {
		if err := e.Encode(v); !errors.As(err, &te) ||
			!strings.Contains(err.Error(), "connection") {
			t.Errorf("Encode(%v) without a connection = %v", v, err)
		}
	}
	d.Reset(r, nil, ref(7), nil)
	if err := d.Decode(&x); !errors.As(err, &te) || !strings.Contains(err.Error(), "connection") {
		t.Errorf("Decode without a connection = %v", err)
	}
	for _, v := range []any{Object{}, []Object{{}}} {
		if err := e.Encode(v); !errors.As(err, &te) ||
			!strings.Contains(err.Error(), "pass a pointer") {
			t.Errorf("Encode(%T) = %v, want pass a pointer", v, err)
		}
	}
}

func TestRefsRoundTrip(t *testing.T) {
	long := make([]string, 16)
	for i := range long {
		long[i] = strings.Repeat("s", i*17)
	}
	for _, r := range []jelly.Ref{
		{Kind: jelly.RefExport, ID: 1, Object: 1 << 40},
		{Kind: jelly.RefYours, ID: 200},
		{Kind: jelly.RefAnswer, ID: 70000},
		{Kind: jelly.RefAnswerValue, ID: 1 << 63, Path: long},
		{Kind: jelly.RefStream, ID: 3},
	} {
		var e jelly.Encoder
		e.EncodeRef(r)
		d := decoder(t, nil, e.Buffer())
		got, err := d.DecodeRef()
		if err != nil || !reflect.DeepEqual(got, r) || d.More() || r.Check() != nil {
			t.Errorf("DecodeRef(%x) = %+v, %v, want %+v", e.Buffer(), got, err, r)
		}
	}
	for _, r := range []jelly.Ref{
		{},
		{Kind: 6},
		{Kind: jelly.RefAnswer, Path: make([]string, 17)},
		{Kind: jelly.RefAnswer, Path: []string{strings.Repeat("s", 256)}},
		{Kind: jelly.RefAnswer, Path: []string{"\xff"}},
	} {
		var e jelly.Encoder
		e.EncodeRef(r)
		if _, err := jelly.Scan(e.Buffer(), nil); err == nil || r.Check() == nil {
			t.Errorf("%+v went through: scan %v, check %v", r, err, r.Check())
		}
	}
	for _, b := range []string{"\xd4\x02\xcc", "\xd5\x02\xcc\x7f", "\xd5\x02\x01\x01",
		"\xd4\x01\x01", "\xd5\x03\x01\x91", "\xd4\x05\xff", "\xc7\x03\x03\x01\xdc\x00"} {
		if _, err := jelly.Scan([]byte(b), nil); err == nil {
			t.Errorf("Scan(%x) accepted a malformed reference", b)
		}
	}
}

// Keeper keeps the address that it was called on.
type Keeper struct{ N int64 }

var kept []*Keeper

func (k *Keeper) AppendJelly(e *jelly.Encoder) error {
	kept = append(kept, k)
	e.EncodeInt(k.N)
	return nil
}

func (k *Keeper) ReadJelly(d *jelly.Decoder) (err error) {
	k.N, err = d.DecodeInt()
	return err
}

type WithKeeper struct {
	ID int
	K  [1]Keeper
}

func TestACopyThatAMethodSawIsNotUsedAgain(t *testing.T) {
	r := new(jelly.Registry)
	jelly.RegisterIn[WithKeeper](r, "WithKeeper")
	kept = nil
	for n := range int64(3) {
		encode(t, r, Keeper{n})
		encode(t, r, WithKeeper{1, [1]Keeper{{n}}})
		encode(t, r, map[string]WithKeeper{"k": {1, [1]Keeper{{n}}}})
	}
	for i, k := range kept {
		if want := int64(i / 3); k.N != want {
			t.Errorf("what was kept of call %d is now %d, want %d", i, k.N, want)
		}
	}
	if len(kept) != 9 {
		t.Errorf("AppendJelly was called %d times, want 9", len(kept))
	}
}

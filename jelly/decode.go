package jelly

import (
	"math"
	"reflect"
	"strconv"
	"sync"
)

// A Decoder reads the values of one message that was scanned. Its zero value has nothing to read;
// Reset gives it something. One goroutine uses it at a time; it needs no ending.
//
// Every method reads the next value, or leaves it where it is and returns a *TypeError. Nothing it
// returns shares memory with the message except where a method says so. On bytes that were not
// scanned it does not panic, but may take values that a scan refuses.
type Decoder struct {
	b      []byte
	i      int
	reg    *Registry
	refs   Refs
	left   int // bytes that may still be allocated
	rest   int // bytes that may be besides, once the meter gives them
	taken  int // bytes that it gave
	meter  Meter
	bigInt int
	nested int
	last   lastPlan
	own    int // bytes of at least this length are returned where they lie; 0: none are
}

var decoders = sync.Pool{New: func() any { return new(Decoder) }}

// GetDecoder returns a Decoder with nothing to read from a pool that all of the process shares.
func GetDecoder() *Decoder { return decoders.Get().(*Decoder) }

// PutDecoder gives d back to the pool; it must not be used any more.
func PutDecoder(d *Decoder) {
	d.Reset(nil, nil, nil, nil)
	decoders.Put(d)
}

// Reset makes d read scanned from its beginning, with a registry (nil: the default one), a way in
// which references cross (nil: none do) and limits (nil: the defaults), of which it takes
// DecodedBytes and BigIntBytes.
func (d *Decoder) Reset(reg *Registry, refs Refs, scanned []byte, l *Limits) {
	d.b, d.i, d.reg, d.refs, d.nested, d.own = scanned, 0, reg, refs, 0, 0
	d.left, d.bigInt = defaultDecoded, l.bigInt()
	d.rest, d.meter = 0, nil
	if l != nil && l.DecodedBytes > 0 {
		d.left = l.DecodedBytes
	}
}

// ownedAtLeast is the length from which bytes are worth keeping a message alive for.
const ownedAtLeast = 16 << 10

// Own says, after Reset, that the message's memory belongs to the values that are decoded from it:
// nobody else writes to it or uses it again. Bytes of at least 16 KiB that are half of the message
// or more are then returned where they lie, without room to grow. Smaller ones are copied, so as
// not to keep all of it in memory. Reset ends this.
func (d *Decoder) Own() { d.own = max(ownedAtLeast, (len(d.b)+1)/2) }

// More reports whether anything is left to read.
func (d *Decoder) More() bool { return d.i < len(d.b) }

// Remaining returns what is left to read, sharing the message's memory.
func (d *Decoder) Remaining() []byte { return d.b[d.i:] }

// Scanned returns the whole message, as given to Reset.
func (d *Decoder) Scanned() []byte { return d.b }

// Peek returns the kind of the next value and reads nothing.
func (d *Decoder) Peek() Kind { return kindAt(d.b, d.i) }

// Skip reads the next value and drops it.
func (d *Decoder) Skip() error {
	_, err := d.Raw()
	return err
}

// Raw returns the bytes of the next value, sharing the message's memory.
func (d *Decoder) Raw() ([]byte, error) {
	end := skipValue(d.b, d.i)
	if end < 0 {
		return nil, d.mismatch(nil, "")
	}
	raw := d.b[d.i:end:end]
	d.i = end
	return raw, nil
}

// DecodeNil reads a nil.
func (d *Decoder) DecodeNil() error {
	if !d.atNil() {
		return d.mismatch(nil, "nil")
	}
	d.i++
	return nil
}

// DecodeBool reads a bool.
func (d *Decoder) DecodeBool() (bool, error) {
	if d.i < len(d.b) {
		switch d.b[d.i] {
		case codeTrue:
			d.i++
			return true, nil
		case codeFalse:
			d.i++
			return false, nil
		}
	}
	return false, d.mismatch(reflect.TypeFor[bool](), "")
}

// DecodeInt reads an int of any width that fits an int64.
func (d *Decoder) DecodeInt() (int64, error) {
	if rest := d.b[d.i:]; len(rest) > 0 {
		switch c := rest[0]; {
		case int8(c) >= negFixMin:
			d.i++
			return int64(int8(c)), nil
		case c == codeUint8 && len(rest) >= 2:
			d.i += 2
			return int64(rest[1]), nil
		case c == codeUint16 && len(rest) >= 3:
			d.i += 3
			return int64(be16(rest[1:])), nil
		case c == codeUint32 && len(rest) >= 5:
			d.i += 5
			return int64(be32(rest[1:])), nil
		}
	}
	start := d.i
	u, negative, err := d.anyInt(reflect.TypeFor[int64]())
	if err != nil {
		return 0, err
	}
	if !negative && u > math.MaxInt64 {
		d.i = start
		return 0, outOfRange(reflect.TypeFor[int64](), strconv.FormatUint(u, 10))
	}
	return int64(u), nil
}

// DecodeUint reads an int of any width that is not negative.
func (d *Decoder) DecodeUint() (uint64, error) {
	if rest := d.b[d.i:]; len(rest) > 0 {
		switch c := rest[0]; {
		case c <= posFixMax:
			d.i++
			return uint64(c), nil
		case c == codeUint8 && len(rest) >= 2:
			d.i += 2
			return uint64(rest[1]), nil
		case c == codeUint16 && len(rest) >= 3:
			d.i += 3
			return uint64(be16(rest[1:])), nil
		}
	}
	start := d.i
	u, negative, err := d.anyInt(reflect.TypeFor[uint64]())
	if err != nil {
		return 0, err
	}
	if negative {
		d.i = start
		return 0, outOfRange(reflect.TypeFor[uint64](), strconv.FormatInt(int64(u), 10))
	}
	return u, nil
}

// anyInt reads an int; a negative one comes as the bits of an int64.
func (d *Decoder) anyInt(want reflect.Type) (u uint64, negative bool, err error) {
	u, negative, end := d.peekInt()
	if end < 0 {
		return 0, false, d.mismatch(want, "")
	}
	d.i = end
	return u, negative, nil
}

// peekInt is anyInt without reading; the end is -1 if the next value is no int.
func (d *Decoder) peekInt() (u uint64, negative bool, end int) {
	if d.i >= len(d.b) {
		return 0, false, -1
	}
	c := d.b[d.i]
	n := 0
	switch {
	case c <= posFixMax || c >= negFix:
	case c >= codeUint8 && c <= codeInt64:
		n = int(headBytes[c-codeNil])
	default:
		return 0, false, -1
	}
	if n >= len(d.b)-d.i {
		return 0, false, -1
	}
	u, negative = intAt(d.b, d.i)
	return u, negative, d.i + 1 + n
}

// DecodeFloat64 reads a float of either width, or an int that a float64 holds exactly.
func (d *Decoder) DecodeFloat64() (float64, error) {
	if left := len(d.b) - d.i; left > 0 {
		switch c := d.b[d.i]; {
		case c == codeDouble && left >= 9:
			f := math.Float64frombits(be64(d.b[d.i+1:]))
			d.i += 9
			return f, nil
		case c == codeFloat && left >= 5:
			f := math.Float32frombits(be32(d.b[d.i+1:]))
			d.i += 5
			return float64(f), nil
		}
	}
	start := d.i
	u, negative, err := d.anyInt(reflect.TypeFor[float64]())
	if err != nil {
		return 0, err
	}
	// Exact if the significant bits of the magnitude span no more than a float64's 53.
	magnitude, f := u, float64(u)
	if negative {
		magnitude, f = -u, float64(int64(u))
	}
	if magnitude>>53 != 0 && magnitude&((1<<(bitLen(magnitude)-53))-1) != 0 {
		d.i = start
		return 0, outOfRange(reflect.TypeFor[float64](), formatInt(u, negative))
	}
	return f, nil
}

// DecodeFloat32 reads a float 32, or a float 64 or an int that a float32 holds exactly.
func (d *Decoder) DecodeFloat32() (float32, error) {
	start := d.i
	f, err := d.DecodeFloat64()
	if err != nil {
		return 0, withType(err, reflect.TypeFor[float32]())
	}
	if narrow := float32(f); float64(narrow) == f || math.IsNaN(f) {
		return narrow, nil
	}
	d.i = start
	return 0, outOfRange(reflect.TypeFor[float32](), strconv.FormatFloat(f, 'g', -1, 64))
}

// DecodeString reads a string.
func (d *Decoder) DecodeString() (string, error) {
	if rest := d.b[d.i:]; len(rest) > 0 && rest[0]&0xe0 == fixStr {
		if n := int(rest[0] & 0x1f); n < len(rest) && n <= d.left {
			d.left -= n
			d.i += 1 + n
			return string(rest[1 : 1+n]), nil
		}
	}
	start, end := d.text()
	if end < 0 {
		return "", d.mismatch(reflect.TypeFor[string](), "")
	}
	if err := d.charge(end - start); err != nil {
		return "", err
	}
	d.i = end
	return string(d.b[start:end]), nil
}

// DecodeBytes reads bytes into a slice of their own, or leaves them where they lie: see
// [Decoder.Own]. Nil is nil.
func (d *Decoder) DecodeBytes() ([]byte, error) {
	if rest := d.b[d.i:]; len(rest) > 1 && rest[0] == codeBin8 {
		if n := int(rest[1]); n+1 < len(rest) && n <= d.left {
			d.left -= n
			d.i += 2 + n
			return clone(rest[2 : 2+n]), nil
		}
	}
	if d.atNil() {
		d.i++
		return nil, nil
	}
	start, end := d.binary()
	if end < 0 {
		return nil, d.mismatch(reflect.TypeFor[[]byte](), "")
	}
	if err := d.charge(end - start); err != nil {
		return nil, err
	}
	d.i = end
	if d.own > 0 && end-start >= d.own {
		return d.b[start:end:end], nil
	}
	return clone(d.b[start:end]), nil
}

// clone is bytes.Clone, which leaves room to grow, without that. In this form nothing is made zero
// first.
func clone(b []byte) []byte {
	out := make([]byte, len(b))
	copy(out, b)
	return out
}

// DecodeName reads a string or bytes and returns them sharing the message's memory.
func (d *Decoder) DecodeName() ([]byte, error) {
	start, end := d.text()
	if end < 0 {
		if start, end = d.binary(); end < 0 {
			return nil, d.mismatch(nil, "a string")
		}
	}
	d.i = end
	return d.b[start:end:end], nil
}

// DecodeArrayLen reads the head of an array; its elements follow. Nil is not an array.
func (d *Decoder) DecodeArrayLen() (int, error) {
	if left := len(d.b) - d.i; left > 0 {
		switch c := d.b[d.i]; {
		case c&0xf0 == fixArray:
			d.i++
			return int(c & 0x0f), nil
		case c == codeArray16 && left >= 3:
			d.i += 3
			return d.counted(uint64(be16(d.b[d.i-2:])), 3)
		case c == codeArray32 && left >= 5:
			d.i += 5
			return d.counted(uint64(be32(d.b[d.i-4:])), 5)
		}
	}
	return 0, d.mismatch(nil, "an array")
}

// DecodeMapLen reads the head of a map; as many keys and values follow, in turn. Nil is not a map.
func (d *Decoder) DecodeMapLen() (int, error) {
	if left := len(d.b) - d.i; left > 0 {
		switch c := d.b[d.i]; {
		case c&0xf0 == fixMap:
			d.i++
			return int(c & 0x0f), nil
		case c == codeMap16 && left >= 3:
			d.i += 3
			return d.counted(uint64(be16(d.b[d.i-2:])), 3)
		case c == codeMap32 && left >= 5:
			d.i += 5
			return d.counted(uint64(be32(d.b[d.i-4:])), 5)
		}
	}
	return 0, d.mismatch(nil, "a map")
}

// counted guards a caller that decodes bytes that were not scanned: it refuses an n of more
// elements than bytes are left, for an element takes at least one.
func (d *Decoder) counted(n uint64, head int) (int, error) {
	if n > uint64(len(d.b)-d.i) {
		d.i -= head
		return 0, &TypeError{Reason: "more elements announced than bytes are left"}
	}
	return int(n), nil
}

func (d *Decoder) atNil() bool { return d.i < len(d.b) && d.b[d.i] == codeNil }

// text returns where the next value's text begins and ends; the end is -1 if the next value is no
// string.
func (d *Decoder) text() (start, end int) {
	b, i := d.b, d.i
	if i >= len(b) {
		return 0, -1
	}
	c := b[i]
	if c&0xe0 == fixStr {
		return d.span(i+1, uint64(c&0x1f))
	}
	if c < codeStr8 || c > codeStr32 {
		return 0, -1
	}
	return d.long(i, c-codeStr8)
}

// binary is text for bytes.
func (d *Decoder) binary() (start, end int) {
	b, i := d.b, d.i
	if i >= len(b) || b[i] < codeBin8 || b[i] > codeBin32 {
		return 0, -1
	}
	return d.long(i, b[i]-codeBin8)
}

// long reads a length of 1<<width bytes after the code at i.
func (d *Decoder) long(i int, width byte) (start, end int) {
	n := 1 << width
	if n >= len(d.b)-i {
		return 0, -1
	}
	var size uint64
	for _, c := range d.b[i+1 : i+1+n] {
		size = size<<8 | uint64(c)
	}
	return d.span(i+1+n, size)
}

func (d *Decoder) span(start int, size uint64) (int, int) {
	if size > uint64(len(d.b)-start) {
		return 0, -1
	}
	return start, start + int(size)
}

package jelly

import (
	"reflect"
	"strconv"
)

// fillSequence makes the plan of a slice or an array. Those of bytes are bin, unless the byte type
// has a form of its own.
func (b *builder) fillSequence(p *Plan) error {
	t := p.typ
	elem := t.Elem()
	if elem.Kind() == reflect.Uint8 && b.reg.registered(elem) == nil &&
		!implements(elem, typeCustom) && !implements(elem, typeReference) {
		p.bytes()
		return nil
	}
	part, err := b.part(p, elem)
	if err != nil {
		return At("element", err)
	}
	if t.Kind() == reflect.Array {
		p.hooked = part.hooked
		p.array(part)
		return nil
	}
	p.enc = func(e *Encoder, v place) error {
		first, n := elementsAt(v)
		if first == nil {
			e.EncodeNil()
			return nil
		}
		return part.encodeElements(e, first, n)
	}
	p.dec = func(d *Decoder, v place) error {
		setElements(v, nil, 0)
		if d.atNil() {
			d.i++
			return nil
		}
		n, err := d.arrayLen(t)
		if err != nil {
			return err
		}
		return part.decodeSlice(d, t, v, n)
	}
	return nil
}

// decodeSlice reads n elements of p's type into the slice of type t at v. Its memory grows with the
// elements that come. What a method of theirs may have kept the address of is then a copy, which
// nobody writes to.
func (p *Plan) decodeSlice(d *Decoder, t reflect.Type, v place, n int) error {
	if err := d.fits(n, p.size); err != nil {
		return err
	}
	room := d.ahead(n, p.size)
	if err := d.chargeEach(room, p.size); err != nil {
		return err
	}
	first := p.newElements(t, v, room)
	for done := 0; ; {
		if err := p.decodeElements(d, first, done, room); err != nil || room == n {
			return err
		}
		done, room = room, min(n, 2*room)
		if err := d.chargeEach(room-done, p.size); err != nil {
			return err
		}
		first = p.growElements(t, v, done, room)
	}
}

func (p *Plan) array(part *Plan) {
	t, length := p.typ, p.typ.Len()
	p.enc = func(e *Encoder, v place) error { return part.encodeElements(e, v, length) }
	p.dec = func(d *Decoder, v place) error {
		p.wipe(v)
		start := d.i
		n, err := d.arrayLen(t)
		if err != nil {
			return err
		}
		if n != length {
			d.i = start
			return &TypeError{Type: t, Got: "an array of " + strconv.Itoa(n)}
		}
		return part.decodeElements(d, v, 0, n)
	}
}

// encodeElements appends the array of n values of p's type from first on.
func (p *Plan) encodeElements(e *Encoder, first place, n int) error {
	if err := e.enter(); err != nil {
		return err
	}
	e.EncodeArrayLen(n)
	switch p.op {
	case opInt16:
		return e.leave(appendEach(e, array[int16](first, n), appendInts))
	case opInt32:
		return e.leave(appendEach(e, array[int32](first, n), appendInts))
	case opInt64:
		return e.leave(appendEach(e, array[int64](first, n), appendInts))
	case opUint16:
		return e.leave(appendEach(e, array[uint16](first, n), appendUints))
	case opUint32:
		return e.leave(appendEach(e, array[uint32](first, n), appendUints))
	case opUint64:
		return e.leave(appendEach(e, array[uint64](first, n), appendUints))
	case opFloat64:
		return e.leave(appendEach(e, array[float64](first, n), appendFloats))
	case opString:
		for i, s := range array[string](first, n) {
			if err := e.encodeText(s); err != nil {
				return atElement(i, err)
			}
		}
	default:
		for i := range n {
			if err := p.encode(e, inside(first, uintptr(i)*p.size)); err != nil {
				return atElement(i, err)
			}
		}
	}
	e.depth--
	return nil
}

// eachMost is how many numbers are appended between two looks at the room.
const eachMost = 512

// appendEach appends s by put, in parts.
func appendEach[T any](e *Encoder, s []T, put func(b []byte, s []T) []byte) error {
	for len(s) > eachMost {
		e.b = put(e.b, s[:eachMost])
		s = s[eachMost:]
		if err := e.checkRoom(); err != nil {
			return err
		}
	}
	e.b = put(e.b, s)
	return nil
}

func appendInts[T int16 | int32 | int64](b []byte, s []T) []byte {
	for _, x := range s {
		b = appendInt(b, int64(x))
	}
	return b
}

func appendUints[T uint16 | uint32 | uint64](b []byte, s []T) []byte {
	for _, x := range s {
		b = appendUint(b, uint64(x))
	}
	return b
}

func appendFloats(b []byte, s []float64) []byte {
	for _, x := range s {
		b = appendFloat64(b, x)
	}
	return b
}

// leave ends what enter began, if err is nil.
func (e *Encoder) leave(err error) error {
	if err == nil {
		e.depth--
	}
	return err
}

// decodeElements reads values of p's type into those from the i-th behind first on, up to the n-th;
// they are zero. As with the fields of a struct, what the Decoder's own method does not read is
// left to the plan.
func (p *Plan) decodeElements(d *Decoder, first place, i, n int) error {
	for {
		switch p.op {
		case opInt64:
			i = readElements(d, array[int64](first, n), i, (*Decoder).DecodeInt)
		case opUint64:
			i = readElements(d, array[uint64](first, n), i, (*Decoder).DecodeUint)
		case opFloat64:
			i = readElements(d, array[float64](first, n), i, (*Decoder).DecodeFloat64)
		case opString:
			i = readElements(d, array[string](first, n), i, (*Decoder).DecodeString)
		default: // each by the plan
		}
		if i == n {
			return nil
		}
		if err := p.decode(d, inside(first, uintptr(i)*p.size)); err != nil {
			return atElement(i, err)
		}
		i++
	}
}

// readElements reads elements from the i-th on as long as read can, and returns which it could not.
func readElements[T any](d *Decoder, s []T, i int, read func(*Decoder) (T, error)) int {
	for ; i < len(s); i++ {
		x, err := read(d)
		if err != nil {
			break
		}
		s[i] = x
	}
	return i
}

// bytes makes the plan of a slice or an array of bytes, of any name.
func (p *Plan) bytes() {
	t := p.typ
	if t.Kind() == reflect.Slice {
		p.leaf(opBytes)
		return
	}
	n := t.Len()
	p.enc = func(e *Encoder, v place) error {
		if e.fits(n) {
			e.b = append(appendBytesLen(e.b, n), array[byte](v, n)...)
		}
		return e.denied
	}
	p.dec = func(d *Decoder, v place) error {
		start, end := d.binary()
		switch {
		case end < 0:
			p.wipe(v)
			return d.mismatch(t, "")
		case end-start != n:
			p.wipe(v)
			return &TypeError{Type: t, Got: strconv.Itoa(end-start) + " bytes"}
		}
		d.i = end
		copy(array[byte](v, n), d.b[start:end])
		return nil
	}
}

package jelly

import (
	"reflect"
	"strconv"
)

// fillSequence makes the plan of a slice or an array. Those of bytes are bin, unless the byte type has a form of its own.
func (b *builder) fillSequence(p *Plan) error {
	t := p.typ
	elem := t.Elem()
	if elem.Kind() == reflect.Uint8 && b.reg.registered(elem) == nil && !implements(elem, typeCustom) && !implements(elem, typeReference) {
		p.bytes()
		return nil
	}
	part, err := b.part(p, elem)
	if err != nil {
		return At("element", err)
	}
	if t.Kind() == reflect.Array {
		p.array(part)
		return nil
	}
	p.enc = func(e *Encoder, v reflect.Value) error {
		if v.IsNil() {
			e.EncodeNil()
			return nil
		}
		return encodeElements(e, v, part)
	}
	p.dec = func(d *Decoder, v reflect.Value) error {
		if d.atNil() {
			d.i++
			v.SetZero()
			return nil
		}
		n, err := d.arrayLen(t)
		if err != nil {
			return err
		}
		if err := d.chargeEach(n, elem.Size()); err != nil {
			return err
		}
		s := reflect.MakeSlice(t, n, n)
		v.Set(s)
		return decodeElements(d, s, n, part)
	}
	return nil
}

func (p *Plan) array(part *Plan) {
	t := p.typ
	p.enc = func(e *Encoder, v reflect.Value) error { return encodeElements(e, v, part) }
	p.dec = func(d *Decoder, v reflect.Value) error {
		start := d.i
		n, err := d.arrayLen(t)
		if err != nil {
			return err
		}
		if n != t.Len() {
			d.i = start
			return &TypeError{Type: t, Got: "an array of " + strconv.Itoa(n)}
		}
		v.SetZero()
		return decodeElements(d, v, n, part)
	}
}

func encodeElements(e *Encoder, v reflect.Value, part *Plan) error {
	if err := e.enter(); err != nil {
		return err
	}
	n := v.Len()
	e.EncodeArrayLen(n)
	for i := range n {
		if err := part.encode(e, v.Index(i)); err != nil {
			return atElement(i, err)
		}
	}
	e.depth--
	return nil
}

func decodeElements(d *Decoder, v reflect.Value, n int, part *Plan) error {
	for i := range n {
		if err := part.decode(d, v.Index(i)); err != nil {
			return atElement(i, err)
		}
	}
	return nil
}

// bytes makes the plan of a slice or an array of bytes, of any name.
func (p *Plan) bytes() {
	t := p.typ
	if t.Kind() == reflect.Slice {
		p.enc = func(e *Encoder, v reflect.Value) error {
			e.EncodeBytes(v.Bytes())
			return nil
		}
		p.dec = func(d *Decoder, v reflect.Value) error {
			x, err := d.DecodeBytes()
			if err != nil {
				return withType(err, t)
			}
			v.SetBytes(x)
			return nil
		}
		return
	}
	p.enc = func(e *Encoder, v reflect.Value) error {
		e.b = appendBytesLen(e.b, t.Len())
		if v.CanAddr() {
			e.b = append(e.b, v.Bytes()...)
			return nil
		}
		for i := range t.Len() {
			e.b = append(e.b, byte(v.Index(i).Uint()))
		}
		return nil
	}
	p.dec = func(d *Decoder, v reflect.Value) error {
		start, end := d.binary()
		if end < 0 {
			return d.mismatch(t, "")
		}
		if end-start != t.Len() {
			return &TypeError{Type: t, Got: strconv.Itoa(end-start) + " bytes"}
		}
		d.i = end
		copy(v.Bytes(), d.b[start:end])
		return nil
	}
}

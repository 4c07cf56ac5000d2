package jelly

import "reflect"

const maxPointers = 8 // a pointer type that leads to more, or to itself, never ends

// fillPointer makes the plan of a pointer: nil, or what it points to.
func (b *builder) fillPointer(p *Plan) error {
	t := p.typ
	for end, n := t, 0; end.Kind() == reflect.Pointer; end, n = end.Elem(), n+1 {
		if n == maxPointers {
			return &TypeError{Type: t, Reason: "a pointer to pointers without end cannot cross"}
		}
	}
	elem, err := b.part(p, t.Elem())
	if err != nil {
		return err
	}
	p.elem = elem
	p.enc = func(e *Encoder, v place) error {
		to := *pointerWord(v)
		if to == nil {
			e.EncodeNil()
			return nil
		}
		return elem.encode(e, to)
	}
	p.dec = func(d *Decoder, v place) error {
		*pointerWord(v) = nil
		if d.atNil() {
			d.i++
			return nil
		}
		if err := d.chargeEach(1, elem.size); err != nil {
			return err
		}
		made := elem.newValue()
		*pointerWord(v) = made
		return elem.decode(d, made)
	}
	return nil
}

// anything makes the plan of an interface: nil, or what stands in it.
func (p *Plan) anything() {
	t := p.typ
	p.pure = false
	if t.NumMethod() == 0 {
		p.enc = func(e *Encoder, v place) error { return e.encodeAny(*at[any](v)) }
		p.dec = func(d *Decoder, v place) (err error) {
			*at[any](v), err = d.decodeAny(t)
			return err
		}
		return
	}
	p.enc = func(e *Encoder, v place) error {
		inner := valueAt(t, v).Elem()
		if !inner.IsValid() {
			e.EncodeNil()
			return nil
		}
		x := inner.Interface()
		if failure, ok := x.(error); ok {
			if in := e.errorValue(failure, false); in != nil {
				x = in // a plain value would not have the methods that are wanted
			}
		}
		return e.encodeAny(x)
	}
	p.dec = func(d *Decoder, v place) error {
		into := valueAt(t, v)
		into.SetZero()
		x, err := d.decodeAny(t)
		if err == nil && x != nil {
			into.Set(reflect.ValueOf(x))
		}
		return err
	}
}

// reference makes the plan of a type, or of an interface, that has the Reference mark.
func (p *Plan) reference() {
	t := p.typ
	p.pure, p.mark = false, true
	nilable := t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface
	p.enc = func(e *Encoder, here place) error {
		v := valueAt(t, here)
		if nilable && v.IsNil() {
			e.EncodeNil()
			return nil
		}
		if e.refs == nil {
			return noConnection(t)
		}
		x := v.Interface()
		if inner := reflect.ValueOf(x); inner.Kind() == reflect.Pointer && inner.IsNil() {
			e.EncodeNil()
			return nil
		}
		start, limit := e.Len(), e.byReference
		e.byReference = 0 // as in custom
		err := e.refs.EncodeRef(e, x)
		e.byReference = limit
		if err != nil {
			return err
		}
		if len(e.b) <= start || skipValue(e.b, start) != len(e.b) {
			return &TypeError{Type: t, Reason: "EncodeRef must append exactly one value"}
		}
		return nil
	}
	p.dec = func(d *Decoder, here place) error {
		v := valueAt(t, here)
		v.SetZero()
		if nilable && d.atNil() {
			d.i++
			return nil
		}
		return d.settle(v)
	}
}

func noConnection(t reflect.Type) error {
	return &TypeError{Type: t,
		Reason: "a reference crosses only over a connection, and there is none"}
}

// atRef says whether a reference stands next.
func (d *Decoder) atRef() bool {
	return d.atExt() && kindAt(d.b, d.i) == KindRef
}

// atExt is false for most values that are no ext, and costs no call.
func (d *Decoder) atExt() bool {
	return d.i < len(d.b) && d.b[d.i]-codeExt8 <= codeFixExt16-codeExt8
}

// settle sets v to what the reference that stands next stands for, or what the owner of the
// references makes of the plain value there.
func (d *Decoder) settle(v reflect.Value) error {
	t := v.Type()
	if d.refs == nil {
		if d.atRef() {
			return noConnection(t)
		}
		return d.mismatch(t, "")
	}
	var r Ref
	end := skipValue(d.b, d.i)
	if d.atRef() {
		var err error
		if r, err = d.DecodeRef(); err != nil {
			return err
		}
	}
	got, err := d.refs.DecodeRef(d, r, t)
	if err != nil {
		return err
	}
	if d.i != end {
		return &TypeError{Type: t, Reason: "DecodeRef must read exactly one value"}
	}
	if !got.IsValid() {
		v.SetZero()
		return nil
	}
	if !got.Type().AssignableTo(t) {
		return &TypeError{Type: t, Got: "a reference to a " + got.Type().String()}
	}
	v.Set(got)
	return nil
}

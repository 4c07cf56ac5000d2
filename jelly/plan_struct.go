package jelly

import (
	"bytes"
	"reflect"
	"strconv"
)

// A field is an exported field of a registered struct.
type field struct {
	index int
	name  string
	plan  *Plan
}

// fillStruct makes the plan for the array of a struct's exported fields. A field tagged `jelly:"-"` is left out.
func (b *builder) fillStruct(p *Plan) error {
	t := p.typ
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Tag.Get("jelly") == "-" {
			continue
		}
		part, err := b.part(p, f.Type)
		if err != nil {
			return At("field "+f.Name, err)
		}
		fields = append(fields, field{index: i, name: f.Name, plan: part})
	}
	p.enc = func(e *Encoder, v reflect.Value) error {
		if err := e.enter(); err != nil {
			return err
		}
		e.EncodeArrayLen(len(fields))
		for i := range fields {
			f := &fields[i]
			if err := f.plan.encode(e, v.Field(f.index)); err != nil {
				return At("field "+f.name, err)
			}
		}
		e.depth--
		return nil
	}
	p.dec = func(d *Decoder, v reflect.Value) error {
		n, err := d.arrayLen(t)
		if err != nil {
			return err
		}
		v.SetZero()
		for i := range min(n, len(fields)) {
			f := &fields[i]
			if err := f.plan.decode(d, v.Field(f.index)); err != nil {
				return At("field "+f.name, err)
			}
		}
		for range n - len(fields) {
			if err := d.Skip(); err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}

// name wraps p, which is the plan of a registered type's bare value, in the map of one entry that says its name, and
// puts the type's hooks around it.
func (p *Plan) name(known *registered) {
	t, bareEnc, bareDec := p.typ, p.enc, p.dec
	copyable, checked := implements(t, typeCopyable), reflect.PointerTo(t).Implements(typeRemoteCopy)
	p.key = false
	p.pure = p.pure && !copyable && !checked
	p.enc = func(e *Encoder, v reflect.Value) error {
		if copyable {
			var err error
			if v, err = copied(e, v); err != nil {
				return err
			}
		}
		if err := e.enter(); err != nil {
			return err
		}
		e.b = append(e.b, known.head...)
		if err := p.encodeBare(bareEnc, e, v); err != nil {
			return err
		}
		e.depth--
		return nil
	}
	p.dec = func(d *Decoder, v reflect.Value) error {
		if !bytes.HasPrefix(d.b[d.i:], known.head) {
			if err := d.expectName(known); err != nil {
				return err
			}
		} else {
			d.i += len(known.head)
		}
		if d.atRef() {
			return &TypeError{Type: t, Reason: "a reference stands where its value should"}
		}
		if err := bareDec(d, v); err != nil {
			return err
		}
		if !checked {
			return nil
		}
		return guarded(t, "CheckCopy", func() error { return v.Addr().Interface().(RemoteCopy).CheckCopy() })
	}
}

// encodeBare encodes v with enc from a place of its own: from one that has an address no field has to be moved to the
// heap by itself.
func (p *Plan) encodeBare(enc func(*Encoder, reflect.Value) error, e *Encoder, v reflect.Value) error {
	if v.CanAddr() || !p.pure { // a user's method may keep the address that it is called on
		return enc(e, v)
	}
	s, _ := p.scratch.Get().(*scratch)
	if s == nil {
		s = &scratch{reflect.New(p.typ).Elem()}
	}
	s.v.Set(v)
	err := enc(e, s.v)
	s.v.SetZero()
	p.scratch.Put(s)
	return err
}

// scratch is a place for one value of a plan's type.
type scratch struct{ v reflect.Value }

// name returns the registered name that stands next and where its value begins, and reads nothing.
func (d *Decoder) name() (name []byte, value int, ok bool) {
	if d.Peek() != KindStruct {
		return nil, 0, false
	}
	_, body, end, ok := extHead(d.b, d.i+1)
	return d.b[body:end], end, ok
}

// expectName reads known's name written in another way than ours.
func (d *Decoder) expectName(known *registered) error {
	name, value, ok := d.name()
	if !ok || string(name) != known.name {
		err := d.mismatch(known.typ, "").(*TypeError) //nolint:errorlint // made here
		err.Reason = "it is registered as " + strconv.Quote(known.name)
		return err
	}
	d.i = value
	return nil
}

package jelly

import (
	"fmt"
	"math"
	"reflect"
	"sync"
)

// A mapPlan is how a map crosses whose keys and values are known to reflect alone.
type mapPlan struct {
	typ       reflect.Type
	key, elem *Plan
	open      bool // the keys are in interfaces

	entries sync.Pool // of *entry
}

// An entry is room for one key and one value on their way into a map or out of it.
type entry struct {
	iter reflect.MapIter
	k, x *scratch
}

// fillMap makes the plan of a map.
func (b *builder) fillMap(p *Plan) error {
	t := p.typ
	key, err := b.part(p, t.Key())
	if err != nil {
		return At("key", err)
	}
	open := t.Key().Kind() == reflect.Interface && t.Key().NumMethod() == 0
	if !key.key && !open {
		return &TypeError{Type: t,
			Reason: "map keys are strings, ints, bools and floats without a form of their own"}
	}
	elem, err := b.part(p, t.Elem())
	if err != nil {
		return At("value", err)
	}
	if exact := exactPlans[reflect.MapOf(t.Key(), t.Elem())]; exact != nil { // but for its name
		exact(p)
		return nil
	}
	m := &mapPlan{typ: t, key: key, elem: elem, open: open}
	p.enc, p.dec = m.encode, m.decode
	return nil
}

func (m *mapPlan) borrow() *entry {
	if !m.kept() {
		if r, _ := m.entries.Get().(*entry); r != nil {
			return r
		}
	}
	return &entry{k: newScratch(m.key.typ), x: newScratch(m.elem.typ)}
}

// kept reports whether a method of the program may keep the address that it is called
// on: then each value has a place of its own. No method of a key's is called.
func (m *mapPlan) kept() bool { return m.elem.hooked }

// afresh makes r ready for the next entry.
func (m *mapPlan) afresh(r *entry) {
	if m.kept() {
		r.x = newScratch(m.elem.typ)
	}
}

func (m *mapPlan) giveBack(r *entry) {
	if !m.kept() {
		r.k.value.SetZero()
		r.x.value.SetZero()
		m.entries.Put(r)
	}
}

func (m *mapPlan) encode(e *Encoder, v place) error {
	if *pointerWord(v) == nil {
		e.EncodeNil()
		return nil
	}
	if err := e.enter(); err != nil {
		return err
	}
	from := valueAt(m.typ, v)
	e.EncodeMapLen(from.Len())
	var seen map[any]struct{} // keys of different types may become one on the wire
	if m.open {
		seen = make(map[any]struct{}, from.Len())
	}
	r := m.borrow()
	r.iter.Reset(from)
	var err error
	for err == nil && r.iter.Next() {
		r.k.value.SetIterKey(&r.iter)
		r.x.value.SetIterValue(&r.iter)
		if err = encodeKey(e, r.k.value, m.key, seen); err != nil {
			err = At("key", err)
		} else if err = m.elem.encode(e, r.x.place); err != nil {
			err = atKey(keyString(r.k.value), err)
		}
		m.afresh(r)
	}
	r.iter.Reset(reflect.Value{})
	m.giveBack(r)
	e.depth--
	return err
}

func (m *mapPlan) decode(d *Decoder, v place) error {
	into := valueAt(m.typ, v)
	into.SetZero()
	if d.atNil() {
		d.i++
		return nil
	}
	n, err := d.mapLen(m.typ)
	if err != nil {
		return err
	}
	if err := d.chargeMap(n, m.key.size+m.elem.size); err != nil {
		return err
	}
	made := reflect.MakeMapWithSize(m.typ, d.ahead(n, m.key.size+m.elem.size))
	into.Set(made)
	r := m.borrow()
	for range n {
		if err = m.decodeEntry(d, made, r); err != nil {
			break
		}
		m.afresh(r)
	}
	m.giveBack(r)
	if err == nil && made.Len() != n {
		err = keyTwice(m.typ)
	}
	return err
}

func (m *mapPlan) decodeEntry(d *Decoder, into reflect.Value, r *entry) error {
	if !d.Peek().isKey() {
		return At("key", d.mismatch(m.key.typ, ""))
	}
	if err := m.key.decode(d, r.k.place); err != nil {
		return At("key", err)
	}
	if err := m.elem.decode(d, r.x.place); err != nil {
		return atKey(keyString(r.k.value), err)
	}
	into.SetMapIndex(r.k.value, r.x.value)
	return nil
}

func encodeKey(e *Encoder, k reflect.Value, plan *Plan, seen map[any]struct{}) error {
	if seen != nil {
		k = k.Elem()
		if !k.IsValid() {
			return &TypeError{Reason: "nil is no map key"}
		}
		var err error
		if plan, err = e.plan(k.Type()); err != nil {
			return err
		}
		if !plan.key {
			return &TypeError{Type: k.Type(),
				Reason: "map keys are strings, ints, bools and floats without a form of their own"}
		}
		same := wireKey(k)
		if _, twice := seen[same]; twice {
			return &TypeError{Type: k.Type(),
				Reason: fmt.Sprintf("two keys are both %v on the wire", same)}
		}
		seen[same] = struct{}{}
	}
	if k.CanFloat() && math.IsNaN(k.Float()) {
		return &TypeError{Type: k.Type(), Reason: "a NaN is no map key"}
	}
	return plan.encodeValue(e, k)
}

// keyString returns k for an error, without a call of its String method.
func keyString(k reflect.Value) string {
	if k.Kind() == reflect.Interface {
		k = k.Elem()
	}
	return fmt.Sprint(wireKey(k))
}

// wireKey returns what k comes out as on the other side.
func wireKey(k reflect.Value) any {
	switch {
	case k.CanInt():
		return k.Int()
	case k.CanUint():
		if u := k.Uint(); u > math.MaxInt64 {
			return u
		}
		return int64(k.Uint())
	case k.Kind() == reflect.Float32:
		return float32(k.Float())
	case k.CanFloat():
		return k.Float()
	case k.Kind() == reflect.Bool:
		return k.Bool()
	}
	return k.String()
}

func (k Kind) isKey() bool {
	return k == KindString || k == KindInt || k == KindBool || k == KindFloat
}

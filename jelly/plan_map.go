package jelly

import (
	"fmt"
	"math"
	"reflect"
)

// fillMap makes the plan of a map.
func (b *builder) fillMap(p *Plan) error {
	t := p.typ
	key, err := b.part(p, t.Key())
	if err != nil {
		return At("key", err)
	}
	open := t.Key().Kind() == reflect.Interface && t.Key().NumMethod() == 0
	if !key.key && !open {
		return &TypeError{Type: t, Reason: "map keys are strings, ints, bools and floats without a form of their own"}
	}
	elem, err := b.part(p, t.Elem())
	if err != nil {
		return At("value", err)
	}
	p.enc = func(e *Encoder, v reflect.Value) error {
		if v.IsNil() {
			e.EncodeNil()
			return nil
		}
		if err := e.enter(); err != nil {
			return err
		}
		e.EncodeMapLen(v.Len())
		var seen map[any]struct{} // keys of different types may become one on the wire
		if open {
			seen = make(map[any]struct{}, v.Len())
		}
		k, x := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		for entries := v.MapRange(); entries.Next(); {
			k.SetIterKey(entries)
			x.SetIterValue(entries)
			if err := encodeKey(e, k, key, seen); err != nil {
				return At("key", err)
			}
			if err := elem.encode(e, x); err != nil {
				return atKey(keyString(k), err)
			}
		}
		e.depth--
		return nil
	}
	p.dec = func(d *Decoder, v reflect.Value) error {
		if d.atNil() {
			d.i++
			v.SetZero()
			return nil
		}
		return decodeEntries(d, v, key, elem)
	}
	return nil
}

func encodeKey(e *Encoder, k reflect.Value, plan *Plan, seen map[any]struct{}) error {
	if seen != nil {
		k = k.Elem()
		if !k.IsValid() {
			return &TypeError{Reason: "nil is no map key"}
		}
		var err error
		if plan, err = e.reg.Plan(k.Type()); err != nil {
			return err
		}
		if !plan.key {
			return &TypeError{Type: k.Type(), Reason: "map keys are strings, ints, bools and floats without a form of their own"}
		}
		same := wireKey(k)
		if _, twice := seen[same]; twice {
			return &TypeError{Type: k.Type(), Reason: fmt.Sprintf("two keys are both %v on the wire", same)}
		}
		seen[same] = struct{}{}
	}
	if k.CanFloat() && math.IsNaN(k.Float()) {
		return &TypeError{Type: k.Type(), Reason: "a NaN is no map key"}
	}
	return plan.encode(e, k)
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

func decodeEntries(d *Decoder, v reflect.Value, key, elem *Plan) error {
	t := v.Type()
	n, err := d.mapLen(t)
	if err != nil {
		return err
	}
	if err := d.chargeMap(n, key.typ.Size()+elem.typ.Size()); err != nil {
		return err
	}
	m := reflect.MakeMapWithSize(t, n)
	v.Set(m)
	k, x := reflect.New(key.typ).Elem(), reflect.New(elem.typ).Elem()
	for range n {
		if !d.Peek().isKey() {
			return At("key", d.mismatch(key.typ, ""))
		}
		k.SetZero()
		if err := key.decode(d, k); err != nil {
			return At("key", err)
		}
		x.SetZero()
		if err := elem.decode(d, x); err != nil {
			return atKey(keyString(k), err)
		}
		m.SetMapIndex(k, x)
	}
	if m.Len() != n {
		return keyTwice(t)
	}
	return nil
}

func (k Kind) isKey() bool {
	return k == KindString || k == KindInt || k == KindBool || k == KindFloat
}

package jelly

import (
	"math"
	"reflect"
	"strconv"
)

// Decode reads one value into what ptr points to, whose type says what must come. Nothing of what
// stood there is left. The error is a *TypeError, or what the owner of the references returned.
func (d *Decoder) Decode(ptr any) error {
	if done, err := d.decodePointer(ptr); done {
		return err
	}
	v := reflect.ValueOf(ptr)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return &TypeError{Type: reflect.TypeOf(ptr),
			Reason: "Decode needs a pointer that is not nil"}
	}
	p, err := d.plan(v.Type().Elem())
	if err != nil {
		return err
	}
	return p.decodeAt(d, pointee(v))
}

// DecodeValue is Decode for a reflect.Value that can be set.
func (d *Decoder) DecodeValue(v reflect.Value) error {
	if !v.CanSet() {
		return &TypeError{Reason: "DecodeValue needs a value that can be set"}
	}
	p, err := d.plan(v.Type())
	if err != nil {
		return err
	}
	return p.decodeAt(d, addressOf(v))
}

// DecodeAny reads whatever comes, as the types that the package comment lists.
func (d *Decoder) DecodeAny() (any, error) {
	nested := d.nested
	x, err := d.decodeAny(typeAny)
	d.nested = nested
	return x, err
}

// decodePointer reads into the commonest pointers; false for others, for nil ones and for
// references.
func (d *Decoder) decodePointer(ptr any) (done bool, err error) {
	if d.atRef() {
		return false, nil
	}
	switch p := ptr.(type) {
	case *bool:
		return read(d, p, (*Decoder).DecodeBool)
	case *int:
		return read(d, p, (*Decoder).decodeNativeInt)
	case *int64:
		return read(d, p, (*Decoder).DecodeInt)
	case *uint64:
		return read(d, p, (*Decoder).DecodeUint)
	case *float64:
		return read(d, p, (*Decoder).DecodeFloat64)
	case *string:
		return read(d, p, (*Decoder).DecodeString)
	case *[]byte:
		return read(d, p, (*Decoder).DecodeBytes)
	case *any:
		return read(d, p, (*Decoder).DecodeAny)
	}
	return false, nil
}

func read[T any](d *Decoder, p *T, get func(*Decoder) (T, error)) (done bool, err error) {
	if p == nil {
		return false, nil
	}
	*p, err = get(d)
	return true, err
}

// decodeAny reads whatever comes for a place of type want, which is an interface.
func (d *Decoder) decodeAny(want reflect.Type) (any, error) {
	if d.nested >= maxNested {
		return nil, &TypeError{Type: want, Reason: "nested too deep"}
	}
	d.nested++
	x, err := d.choose(want)
	d.nested--
	if err != nil || x == nil || want.NumMethod() == 0 || reflect.TypeOf(x).Implements(want) {
		return x, err
	}
	return nil, &TypeError{
		Type:   want,
		Got:    "a " + reflect.TypeOf(x).String(),
		Reason: "it has not the methods",
	}
}

func (d *Decoder) choose(want reflect.Type) (any, error) {
	switch d.Peek() {
	case KindNil:
		d.i++
		return nil, nil
	case KindBool:
		return d.DecodeBool()
	case KindInt:
		return d.anyNumber()
	case KindFloat:
		if err := d.charge(8); err != nil {
			return nil, err
		}
		if d.b[d.i] == codeFloat {
			return d.DecodeFloat32()
		}
		return d.DecodeFloat64()
	case KindString:
		if err := d.charge(16); err != nil {
			return nil, err
		}
		return d.DecodeString()
	case KindBytes:
		if err := d.charge(24); err != nil {
			return nil, err
		}
		return d.DecodeBytes()
	case KindArray:
		if err := d.charge(24); err != nil {
			return nil, err
		}
		return decodeSlice(d, formAny())
	case KindMap:
		return d.anyMap()
	case KindTime:
		if err := d.charge(24); err != nil {
			return nil, err
		}
		return d.DecodeTime()
	case KindDuration:
		if err := d.charge(8); err != nil {
			return nil, err
		}
		return d.DecodeDuration()
	case KindBigInt:
		return d.DecodeBigInt()
	case KindStruct:
		return d.anyRegistered(want)
	case KindRef:
		p := reflect.New(want)
		err := d.settle(p.Elem())
		return p.Elem().Interface(), err
	default:
		return nil, d.mismatch(want, "")
	}
}

func (d *Decoder) anyNumber() (any, error) {
	u, negative, err := d.anyInt(typeAny)
	if err != nil {
		return nil, err
	}
	if err := d.charge(8); err != nil {
		return nil, err
	}
	if !negative && u > math.MaxInt64 {
		return u, nil
	}
	return int64(u), nil
}

// anyMap reads a map as map[string]any, or as map[any]any from the first key on that is no string.
func (d *Decoder) anyMap() (any, error) {
	n, err := d.DecodeMapLen()
	if err != nil {
		return nil, err
	}
	if err := d.chargeMap(n, 32); err != nil {
		return nil, err
	}
	var named map[string]any
	var other map[any]any
	if n == 0 || d.Peek() == KindString {
		named = make(map[string]any, d.ahead(n, 32))
	} else {
		other = make(map[any]any, d.ahead(n, 32))
	}
	for range n {
		kind := d.Peek()
		if !kind.isKey() {
			return nil, At("key", d.mismatch(typeAny, ""))
		}
		if other == nil && kind == KindString {
			k, err := d.DecodeString()
			if err != nil {
				return nil, At("key", err)
			}
			if named[k], err = d.decodeAny(typeAny); err != nil {
				return nil, atKey(k, err)
			}
			continue
		}
		if other == nil {
			if err := d.chargeMap(n, 32); err != nil {
				return nil, err
			}
			other = make(map[any]any, n)
			for k, x := range named {
				other[k] = x
			}
		}
		k, err := d.decodeAny(typeAny)
		if err != nil {
			return nil, At("key", err)
		}
		if other[k], err = d.decodeAny(typeAny); err != nil {
			return nil, At("value", err)
		}
	}
	switch {
	case other == nil && len(named) == n:
		return named, nil
	case other != nil && len(other) == n:
		return other, nil
	}
	return nil, keyTwice(reflect.TypeFor[map[any]any]())
}

// anyRegistered makes a value of the type whose name stands next: a T, or a *T if only that has the
// methods wanted.
func (d *Decoder) anyRegistered(want reflect.Type) (any, error) {
	name, _, ok := d.name()
	if !ok {
		return nil, d.mismatch(want, "")
	}
	known := d.reg.orDefault().named(name)
	if known == nil {
		if len(name) > 64 {
			name = name[:64]
		}
		got := "a registered " + strconv.Quote(string(name))
		return nil, &TypeError{
			Type:   want,
			Got:    got,
			Reason: "no type has that name here; call jelly.Register",
		}
	}
	if known.standIn {
		want = typeAny // decodeAny looks at what it stands for
	}
	byPointer := !known.typ.Implements(want)
	if byPointer && !reflect.PointerTo(known.typ).Implements(want) {
		return nil, &TypeError{
			Type:   want,
			Got:    "a " + known.typ.String(),
			Reason: "it has not the methods",
		}
	}
	plan, err := d.plan(known.typ)
	if err != nil {
		return nil, err
	}
	if err := d.chargeEach(2, known.typ.Size()); err != nil {
		return nil, err
	}
	p := reflect.New(known.typ)
	if err := plan.decode(d, pointee(p)); err != nil {
		return nil, err
	}
	if known.standIn {
		return p.Interface().(StandIn).StandsFor(), nil
	}
	if byPointer {
		return p.Interface(), nil
	}
	return p.Elem().Interface(), nil
}

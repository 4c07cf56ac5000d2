package jelly

import (
	"reflect"
	"strconv"
)

// An op names the plans that need no call through a function value: the loops over fields and
// elements have a case for each. The name of a type does not matter here, only what it is made of.
type op uint8

const (
	opCall op = iota // none of them: Plan.enc and Plan.dec
	opBool
	opInt8
	opInt16
	opInt32
	opInt64
	opUint8
	opUint16
	opUint32
	opUint64
	opFloat32
	opFloat64
	opString
	opBytes // a slice
)

// opOf is the op of the kinds that are scalars, and opCall for others.
func opOf(t reflect.Type) op {
	switch t.Kind() {
	case reflect.Bool:
		return opBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return bySize(t, opInt8, opInt16, opInt32, opInt64)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return bySize(t, opUint8, opUint16, opUint32, opUint64)
	case reflect.Float32:
		return opFloat32
	case reflect.Float64:
		return opFloat64
	case reflect.String:
		return opString
	}
	return opCall
}

func bySize(t reflect.Type, one, two, four, eight op) op {
	switch t.Size() {
	case 1:
		return one
	case 2:
		return two
	case 4:
		return four
	}
	return eight
}

// scalar makes a plan for bools, numbers and strings of any name; false for other kinds.
func (p *Plan) scalar() bool {
	o := opOf(p.typ)
	if o == opCall {
		return false
	}
	p.leaf(o)
	p.key = true
	return true
}

// leaf makes p the plan of o.
func (p *Plan) leaf(o op) {
	p.op = o
	p.enc = func(e *Encoder, v place) error { return e.encodeLeaf(o, v) }
	p.dec = func(d *Decoder, v place) error {
		err := d.decodeLeaf(o, p.typ, v)
		if err != nil {
			p.wipe(v)
		}
		return err
	}
}

func (e *Encoder) encodeLeaf(o op, v place) error {
	switch o {
	case opBool:
		e.EncodeBool(*at[bool](v))
	case opInt8:
		e.EncodeInt(int64(*at[int8](v)))
	case opInt16:
		e.EncodeInt(int64(*at[int16](v)))
	case opInt32:
		e.EncodeInt(int64(*at[int32](v)))
	case opInt64:
		e.EncodeInt(*at[int64](v))
	case opUint8:
		e.EncodeUint(uint64(*at[uint8](v)))
	case opUint16:
		e.EncodeUint(uint64(*at[uint16](v)))
	case opUint32:
		e.EncodeUint(uint64(*at[uint32](v)))
	case opUint64:
		e.EncodeUint(*at[uint64](v))
	case opFloat32:
		e.EncodeFloat32(*at[float32](v))
	case opFloat64:
		e.EncodeFloat64(*at[float64](v))
	case opString:
		return e.encodeText(*at[string](v))
	case opBytes:
		e.EncodeBytes(*at[[]byte](v))
	case opCall: // not here
	}
	return nil
}

// decodeLeaf reads the scalar at v. After an error it has read nothing and left v as it was.
func (d *Decoder) decodeLeaf(o op, t reflect.Type, v place) (err error) {
	switch o {
	case opBool:
		err = get(d, v, (*Decoder).DecodeBool)
	case opInt8:
		return getInt[int8](d, v, t)
	case opInt16:
		return getInt[int16](d, v, t)
	case opInt32:
		return getInt[int32](d, v, t)
	case opInt64:
		err = get(d, v, (*Decoder).DecodeInt)
	case opUint8:
		return getUint[uint8](d, v, t)
	case opUint16:
		return getUint[uint16](d, v, t)
	case opUint32:
		return getUint[uint32](d, v, t)
	case opUint64:
		err = get(d, v, (*Decoder).DecodeUint)
	case opFloat32:
		err = get(d, v, (*Decoder).DecodeFloat32)
	case opFloat64:
		err = get(d, v, (*Decoder).DecodeFloat64)
	case opString:
		err = get(d, v, (*Decoder).DecodeString)
	case opBytes:
		err = get(d, v, (*Decoder).DecodeBytes)
	case opCall: // not here
	}
	if err != nil {
		return withType(err, t)
	}
	return nil
}

func get[T any](d *Decoder, v place, read func(*Decoder) (T, error)) error {
	x, err := read(d)
	if err == nil {
		*at[T](v) = x
	}
	return err
}

func getInt[T int8 | int16 | int32](d *Decoder, v place, t reflect.Type) error {
	start := d.i
	x, err := d.DecodeInt()
	if err != nil {
		return withType(err, t)
	}
	if int64(T(x)) != x {
		d.i = start
		return outOfRange(t, strconv.FormatInt(x, 10))
	}
	*at[T](v) = T(x)
	return nil
}

func getUint[T uint8 | uint16 | uint32](d *Decoder, v place, t reflect.Type) error {
	start := d.i
	x, err := d.DecodeUint()
	if err != nil {
		return withType(err, t)
	}
	if uint64(T(x)) != x {
		d.i = start
		return outOfRange(t, strconv.FormatUint(x, 10))
	}
	*at[T](v) = T(x)
	return nil
}

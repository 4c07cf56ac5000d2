package jelly

import (
	"reflect"
	"strconv"
)

// scalar makes a plan for bools, numbers and strings of any name; false for other kinds.
func (p *Plan) scalar() bool { //nolint:funlen // a case for each kind
	t := p.typ
	switch t.Kind() {
	case reflect.Bool:
		p.enc = func(e *Encoder, v reflect.Value) error {
			e.EncodeBool(v.Bool())
			return nil
		}
		p.dec = func(d *Decoder, v reflect.Value) error {
			x, err := d.DecodeBool()
			if err != nil {
				return withType(err, t)
			}
			v.SetBool(x)
			return nil
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		p.enc = func(e *Encoder, v reflect.Value) error {
			e.EncodeInt(v.Int())
			return nil
		}
		p.dec = func(d *Decoder, v reflect.Value) error {
			start := d.i
			x, err := d.DecodeInt()
			if err != nil {
				return withType(err, t)
			}
			if v.OverflowInt(x) {
				d.i = start
				return outOfRange(t, strconv.FormatInt(x, 10))
			}
			v.SetInt(x)
			return nil
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		p.enc = func(e *Encoder, v reflect.Value) error {
			e.EncodeUint(v.Uint())
			return nil
		}
		p.dec = func(d *Decoder, v reflect.Value) error {
			start := d.i
			x, err := d.DecodeUint()
			if err != nil {
				return withType(err, t)
			}
			if v.OverflowUint(x) {
				d.i = start
				return outOfRange(t, strconv.FormatUint(x, 10))
			}
			v.SetUint(x)
			return nil
		}
	case reflect.Float32:
		p.enc = func(e *Encoder, v reflect.Value) error {
			e.EncodeFloat32(float32(v.Float()))
			return nil
		}
		p.dec = func(d *Decoder, v reflect.Value) error {
			x, err := d.DecodeFloat32()
			if err != nil {
				return withType(err, t)
			}
			v.SetFloat(float64(x))
			return nil
		}
	case reflect.Float64:
		p.enc = func(e *Encoder, v reflect.Value) error {
			e.EncodeFloat64(v.Float())
			return nil
		}
		p.dec = func(d *Decoder, v reflect.Value) error {
			x, err := d.DecodeFloat64()
			if err != nil {
				return withType(err, t)
			}
			v.SetFloat(x)
			return nil
		}
	case reflect.String:
		p.enc = func(e *Encoder, v reflect.Value) error { return e.encodeText(v.String()) }
		p.dec = func(d *Decoder, v reflect.Value) error {
			x, err := d.DecodeString()
			if err != nil {
				return withType(err, t)
			}
			v.SetString(x)
			return nil
		}
	default:
		return false
	}
	p.key = true
	return true
}

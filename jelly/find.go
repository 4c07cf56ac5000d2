package jelly

import (
	"reflect"
	"strconv"
)

// EachRef calls f for every reference in a scanned message, in order, until f
// returns an error. It does not recurse.
func EachRef(scanned []byte, f func(Ref) error) error {
	var d Decoder
	d.Reset(nil, nil, scanned, nil)
	for d.i < len(d.b) {
		switch kindAt(d.b, d.i) {
		case KindRef:
			r, err := d.DecodeRef()
			if err != nil {
				return err
			}
			if err := f(r); err != nil {
				return err
			}
		case KindArray, KindMap, KindStruct:
			d.i += containerHead(d.b[d.i]) // what is inside follows
		default:
			if err := d.Skip(); err != nil {
				// the name of a registered type, which stands as a key
				_, _, end, ok := extHead(d.b, d.i)
				if !ok || end <= d.i {
					return err
				}
				d.i = end
			}
		}
	}
	return nil
}

// containerHead is the length of an array's or a map's head.
func containerHead(c byte) int {
	switch c {
	case 0xdc, 0xde:
		return 3
	case 0xdd, 0xdf:
		return 5
	}
	return 1
}

// Enter goes one step into the value that stands next: to the field of that
// name of a registered struct, or the entry of that key of a map. What then
// stands next is that value; the rest of the outer one must not be read.
func (d *Decoder) Enter(step string) error {
	if d.Peek() == KindStruct {
		return d.enterField(step)
	}
	n, err := d.DecodeMapLen()
	if err != nil {
		return err
	}
	for range n {
		if d.Peek() == KindString {
			name, err := d.DecodeName()
			if err != nil {
				return err
			}
			if string(name) == step {
				return nil
			}
		} else if err := d.Skip(); err != nil {
			return err
		}
		if err := d.Skip(); err != nil {
			return err
		}
	}
	return &TypeError{Reason: "no entry " + strconv.Quote(step)}
}

func (d *Decoder) enterField(step string) error {
	name, value, _ := d.name()
	known := d.reg.orDefault().named(name)
	if known == nil || known.typ.Kind() != reflect.Struct {
		return &TypeError{
			Reason: strconv.Quote(string(name)) + " is not the name of a registered struct",
		}
	}
	d.i = value
	n, err := d.DecodeArrayLen()
	if err != nil {
		return err
	}
	i := 0
	for f := range known.typ.Fields() {
		if !f.IsExported() || f.Tag.Get("jelly") == "-" {
			continue
		}
		if f.Name == step {
			if i >= n {
				break
			}
			for range i {
				if err := d.Skip(); err != nil {
					return err
				}
			}
			return nil
		}
		i++
	}
	return &TypeError{Type: known.typ, Reason: "no field " + strconv.Quote(step)}
}

package jelly

import (
	"reflect"
	"strconv"
	"unicode/utf8"
)

// A field is an exported field of a registered struct.
type field struct {
	offset uintptr
	op     op // that of the plan
	plan   *Plan
	name   string
}

// A structPlan is how a registered struct crosses: its name, then the array of its exported fields.
type structPlan struct {
	plan   *Plan
	known  *registered
	fields []field
	head   string // of the message: the name and the head of the array
	hidden bool   // it has fields that do not cross, which decoding makes zero
}

// fillStruct makes the plan for a struct registered as known. A field tagged `jelly:"-"` is left
// out.
func (b *builder) fillStruct(p *Plan, known *registered) error {
	s := &structPlan{plan: p, known: known}
	for f := range p.typ.Fields() {
		if !f.IsExported() || f.Tag.Get("jelly") == "-" {
			s.hidden = true
			continue
		}
		part, err := b.part(p, f.Type)
		if err != nil {
			return At("field "+f.Name, err)
		}
		p.hooked = p.hooked || part.hooked
		s.fields = append(s.fields, field{f.Offset, part.op, part, f.Name})
	}
	s.head = string(appendArrayLen(append([]byte(nil), known.head...), len(s.fields)))
	p.enc, p.dec = s.encode, s.decode
	return nil
}

func (s *structPlan) encode(e *Encoder, v place) error {
	if e.depth+2 > maxEncodedDepth {
		return tooDeep()
	}
	e.depth += 2
	b := e.b // kept out of e, where each append would have to store it
	b = append(b, s.head...)
	for i := range s.fields {
		f := &s.fields[i]
		x := inside(v, f.offset)
		switch f.op {
		case opInt64:
			b = appendInt(b, *at[int64](x))
			continue
		case opString:
			if text := *at[string](x); len(b)+len(text) <= e.room && utf8.ValidString(text) {
				b = appendString(b, text)
				continue
			}
		case opBytes:
			if bytes := *at[[]byte](x); bytes != nil && e.byReference == 0 &&
				len(b)+len(bytes) <= e.room {
				b = append(appendBytesLen(b, len(bytes)), bytes...)
				continue
			}
		case opBool:
			b = appendBool(b, *at[bool](x))
			continue
		case opInt32:
			b = appendInt(b, int64(*at[int32](x)))
			continue
		case opUint32:
			b = appendUint(b, uint64(*at[uint32](x)))
			continue
		case opUint64:
			b = appendUint(b, *at[uint64](x))
			continue
		case opFloat64:
			b = appendFloat64(b, *at[float64](x))
			continue
		default: // by its plan
		}
		e.b = b
		if err := f.plan.encode(e, x); err != nil {
			return At("field "+f.name, err)
		}
		b = e.b
	}
	e.b = b
	e.depth -= 2
	return nil
}

// decode reads scalars by the Decoder's methods, which read nothing where they return an error:
// then the field's plan has its turn, for a reference may stand there, and an error needs the type.
func (s *structPlan) decode(d *Decoder, v place) error {
	n := len(s.fields)
	if rest := d.b[d.i:]; len(rest) >= len(s.head) && string(rest[:len(s.head)]) == s.head {
		d.i += len(s.head)
	} else {
		var err error
		if n, err = s.begin(d); err != nil {
			s.plan.wipe(v)
			return err
		}
	}
	if s.hidden || n < len(s.fields) {
		s.plan.wipe(v)
	}
	fields := s.fields[:min(n, len(s.fields))]
	for i := range fields {
		f := &fields[i]
		x := inside(v, f.offset)
		switch f.op {
		case opInt64:
			if got, err := d.DecodeInt(); err == nil {
				*at[int64](x) = got
				continue
			}
		case opString:
			if got, err := d.DecodeString(); err == nil {
				*at[string](x) = got
				continue
			}
		case opBytes:
			if got, err := d.DecodeBytes(); err == nil {
				*at[[]byte](x) = got
				continue
			}
		case opBool:
			if got, err := d.DecodeBool(); err == nil {
				*at[bool](x) = got
				continue
			}
		case opInt32:
			start := d.i
			if got, err := d.DecodeInt(); err == nil && int64(int32(got)) == got {
				*at[int32](x) = int32(got)
				continue
			}
			d.i = start
		case opUint64:
			if got, err := d.DecodeUint(); err == nil {
				*at[uint64](x) = got
				continue
			}
		case opFloat64:
			if got, err := d.DecodeFloat64(); err == nil {
				*at[float64](x) = got
				continue
			}
		default: // by its plan
		}
		if err := f.plan.decode(d, x); err != nil {
			for j := range fields[i+1:] { // they still hold what stood there before
				rest := &fields[i+1+j]
				rest.plan.wipe(inside(v, rest.offset))
			}
			return At("field "+f.name, err)
		}
	}
	for range n - len(s.fields) {
		if err := d.Skip(); err != nil {
			return err
		}
	}
	return nil
}

// begin reads the name and the head of the array where they are not the same bytes as ours, and
// returns how many fields come.
func (s *structPlan) begin(d *Decoder) (int, error) {
	if err := d.expectName(s.known); err != nil {
		return 0, err
	}
	return d.arrayLen(s.plan.typ)
}

// name wraps p, which is the plan of a registered type's bare value, in the map of one entry that
// says its name.
func (p *Plan) name(known *registered) {
	bareEnc, bareDec := p.enc, p.dec
	p.op, p.key = opCall, false
	p.enc = func(e *Encoder, v place) error {
		if err := e.enter(); err != nil {
			return err
		}
		e.b = append(e.b, known.head...)
		if err := bareEnc(e, v); err != nil {
			return err
		}
		e.depth--
		return nil
	}
	p.dec = func(d *Decoder, v place) error {
		if err := d.expectName(known); err != nil {
			p.wipe(v)
			return err
		}
		return bareDec(d, v)
	}
}

// hooks puts the methods of a registered type around its plan.
func (p *Plan) hooks() {
	t, enc, dec := p.typ, p.enc, p.dec
	if implements(t, typeCopyable) {
		p.pure, p.hooked = false, true
		p.enc = func(e *Encoder, v place) error {
			v, err := copied(e, t, v)
			if err != nil {
				return err
			}
			return enc(e, v)
		}
	}
	if reflect.PointerTo(t).Implements(typeRemoteCopy) {
		p.pure, p.hooked = false, true
		p.dec = func(d *Decoder, v place) error {
			if err := dec(d, v); err != nil {
				return err
			}
			return guarded(t, "CheckCopy",
				func() error { return pointerAt(t, v).(RemoteCopy).CheckCopy() })
		}
	}
}

// name returns the registered name that stands next and where its value begins, and reads nothing.
func (d *Decoder) name() (name []byte, value int, ok bool) {
	if d.Peek() != KindStruct {
		return nil, 0, false
	}
	_, body, end, ok := extHead(d.b, d.i+1)
	return d.b[body:end], end, ok
}

// expectName reads known's name, in whatever form, before a value that is no bare reference.
func (d *Decoder) expectName(known *registered) error {
	name, value, ok := d.name()
	if !ok || string(name) != known.name {
		err := d.mismatch(known.typ, "").(*TypeError) //nolint:errorlint // made here
		err.Reason = "it is registered as " + strconv.Quote(known.name)
		return err
	}
	d.i = value
	if d.atRef() {
		return &TypeError{Type: known.typ, Reason: "a reference stands where its value should"}
	}
	return nil
}

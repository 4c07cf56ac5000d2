package jelly

import (
	"reflect"
	"unicode/utf8"
)

// Reference marks values that cross by reference. A type has it, or its pointer type has it; a type
// of which only the pointer has it cannot be passed by value.
type Reference interface{ JellyReference() }

// A RefKind says what a Ref names.
type RefKind uint8

// The kinds of references, with the form in which the wire's specification writes them. They are
// the ext types.
const (
	RefNone        RefKind = iota // no reference: a plain value stands there
	RefExport                     // ref(export, object): the sender lends an object
	RefYours                      // yours(id): an object that the receiver lent
	RefAnswer                     // answerRef(q, path): what a call will answer, to be called
	RefAnswerValue                // answerValue(q, path): what a call will answer, as a value
	RefStream                     // stream(id): a byte stream
)

// A Ref is a reference as it stands on the wire. ID is the export, the answer or the stream; Object
// belongs to RefExport alone and Path to the two answers alone.
type Ref struct {
	Kind       RefKind
	ID, Object uint64
	Path       []string
}

// Refs is how references cross; the owner of a connection implements it. An Encoder or Decoder
// without one (nil) meets each reference with a *TypeError. Its methods are called on the goroutine
// that encodes or decodes.
type Refs interface {
	// EncodeRef writes exactly one value for v, whose type has the Reference mark and which is not
	// a nil pointer.
	EncodeRef(e *Encoder, v any) error
	// DecodeRef returns what r stands for, as a value that can be assigned to want. It is called
	// for a reference met in any place, want being the type of that place (the empty interface if
	// anything goes). It is called with RefNone where want has the Reference mark and a plain value
	// stands there, not nil: then it decodes that one value from d, or returns an error.
	DecodeRef(d *Decoder, r Ref, want reflect.Type) (reflect.Value, error)
	// Viewer returns the avatar that values are encoded for; Copyable gets it. It may be nil.
	Viewer() any
}

// ErrorRefs are Refs by which errors cross as values, where an interface stands and whatever their
// types are.
type ErrorRefs interface {
	Refs
	// ErrorValue returns what crosses in the place of err: a value of a registered type whose
	// pointer is a [StandIn]. nil: err crosses as what it is, or not at all. plain says that it
	// would cross, perhaps as a plain value that is no error any more. It is not called for an err
	// whose type is registered.
	ErrorValue(err error, plain bool) any
}

// EncodeRef appends r. A path of more than 16 steps, a step of more than 255 bytes and one that is
// not UTF-8 are refused by the other side; see [Ref.Check].
func (e *Encoder) EncodeRef(r Ref) {
	var body [32]byte
	b := appendUint(body[:0], r.ID)
	switch r.Kind {
	case RefExport:
		b = appendUint(b, r.Object)
	case RefAnswer, RefAnswerValue:
		b = appendArrayLen(b, len(r.Path))
		for _, s := range r.Path {
			b = appendString(b, s)
		}
	default: // the ID is all
	}
	e.sent, e.sentAt = append(e.sent, r), append(e.sentAt, len(e.b))
	e.b = appendExt(e.b, int8(r.Kind), len(b))
	e.b = append(e.b, b...)
}

// Sent returns the references encoded since Reset that stand in the buffer, in order. By them the
// owner of the references takes back what it lent if the message is not sent after all. The slice
// is good until the next Reset or Truncate.
func (e *Encoder) Sent() []Ref { return e.sent }

// Unsent returns the references encoded since Reset that Truncate, or an encoding that failed, has
// cut off again: whatever becomes of the message, they are not in it. The slice is good until the
// next Reset or Truncate.
func (e *Encoder) Unsent() []Ref { return e.unsent }

// Check returns nil if the other side will take r.
func (r Ref) Check() error {
	if r.Kind < RefExport || r.Kind > RefStream {
		return &TypeError{Reason: "no such kind of reference"}
	}
	if len(r.Path) > maxPath {
		return &TypeError{Reason: "a path of more than 16 steps; wait for the value in between"}
	}
	for _, s := range r.Path {
		if len(s) > maxName || !utf8.ValidString(s) {
			return &TypeError{Reason: "a step of a path is not UTF-8 or longer than 255 bytes"}
		}
	}
	return nil
}

// DecodeRef reads a reference. Nothing in it shares memory with the message.
func (d *Decoder) DecodeRef() (Ref, error) {
	typ, body, end, ok := extHead(d.b, d.i)
	if !ok || typ < int8(RefExport) || typ > int8(RefStream) {
		return Ref{}, d.mismatch(nil, "a reference")
	}
	r := Ref{Kind: RefKind(typ)}
	if reason := r.parse(d.b[body:end], true); reason != "" {
		return Ref{}, &TypeError{Reason: reason}
	}
	for _, s := range r.Path {
		if err := d.charge(len(s) + 16); err != nil {
			return Ref{}, err
		}
	}
	d.i = end
	return r, nil
}

// parse reads the body of a reference of r's kind, and returns what is wrong with it. Without keep
// the path is checked and dropped, which allocates nothing.
func (r *Ref) parse(b []byte, keep bool) string {
	const bad = "malformed reference"
	var ok bool
	if r.ID, b, ok = canonicalUint(b); !ok {
		return bad
	}
	switch r.Kind {
	case RefExport:
		if r.Object, b, ok = canonicalUint(b); !ok {
			return bad
		}
	case RefAnswer, RefAnswerValue:
		if len(b) == 0 || b[0]&0xf0 != fixArray &&
			!(len(b) > 2 && b[0] == codeArray16 && be16(b[1:]) == maxPath) {
			return "malformed reference, or a path of more than 16 steps"
		}
		n := int(b[0] & 0x0f)
		if b[0] == codeArray16 {
			n, b = maxPath, b[3:]
		} else {
			b = b[1:]
		}
		for range n {
			var step []byte
			if step, b, ok = canonicalName(b); !ok {
				return bad
			}
			if keep {
				r.Path = append(r.Path, string(step))
			}
		}
	default: // the ID is all
	}
	if len(b) != 0 {
		return bad
	}
	return ""
}

// canonicalUint cuts an unsigned int in its shortest form off the front of b.
func canonicalUint(b []byte) (u uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	c := b[0]
	switch {
	case c <= posFixMax:
		return uint64(c), b[1:], true
	case c == codeUint8 && len(b) >= 2:
		return uint64(b[1]), b[2:], b[1] > posFixMax
	case c == codeUint16 && len(b) >= 3:
		u = uint64(be16(b[1:]))
		return u, b[3:], u > 0xff
	case c == codeUint32 && len(b) >= 5:
		u = uint64(be32(b[1:]))
		return u, b[5:], u > 0xffff
	case c == codeUint64 && len(b) >= 9:
		u = be64(b[1:])
		return u, b[9:], u > 0xffffffff
	}
	return 0, nil, false
}

// canonicalName cuts a UTF-8 string of at most 255 bytes, in its shortest form, off the front of b.
func canonicalName(b []byte) (name, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	var n int
	switch {
	case b[0]&0xe0 == fixStr:
		n, b = int(b[0]&0x1f), b[1:]
	case b[0] == codeStr8 && len(b) >= 2 && b[1] >= 32:
		n, b = int(b[1]), b[2:]
	default:
		return nil, nil, false
	}
	if n > len(b) || !utf8.Valid(b[:n]) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

package jelly

import (
	"fmt"
	"math"
	"reflect"

	"perspective/internal/guard"
)

// Custom is for a type that writes and reads its own wire form; its pointer has both methods.
// AppendJelly appends exactly one value that is not a bare reference, and ReadJelly reads exactly
// that value; both are checked. Without a registered name such a type crosses only where its static
// type is known. ReadJelly may be called on a value that is copied to its place afterwards, in a
// map or a slice, so it keeps no pointer into its receiver.
type Custom interface {
	AppendJelly(e *Encoder) error
	ReadJelly(d *Decoder) error
}

// Copyable is for a registered type that shows each viewer something else. CopyFor returns what
// this viewer gets, of the same type or a pointer to it, and leaves the receiver as it is. The
// viewer is what Refs.Viewer returns, nil without a connection. An error keeps the value from being
// sent.
type Copyable interface {
	CopyFor(viewer any) (any, error)
}

// RemoteCopy is for a registered type that checks what arrived before any other code sees it.
// CheckCopy is called on the pointer when all fields are in; an error fails the decoding. The value
// may be copied to its place afterwards, in a map or a slice.
type RemoteCopy interface {
	CheckCopy() error
}

// StandIn is for a registered type that crosses in the place of others: where an interface stands,
// what arrives is what StandsFor returns, which is called on the pointer when the value is in.
type StandIn interface {
	StandsFor() any
}

var (
	typeStandIn    = reflect.TypeFor[StandIn]()
	typeReference  = reflect.TypeFor[Reference]()
	typeCustom     = reflect.TypeFor[Custom]()
	typeCopyable   = reflect.TypeFor[Copyable]()
	typeRemoteCopy = reflect.TypeFor[RemoteCopy]()
)

// implements says whether t or its pointer has the methods of face.
func implements(t, face reflect.Type) bool {
	return t.Implements(face) || reflect.PointerTo(t).Implements(face)
}

// MayKeep reports whether a method of the program, one of those above, may be called on the address
// of a value of type t, or of a part of it, when it crosses. The method may keep the address, so
// the value's memory must not be used again.
func MayKeep(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Interface, reflect.Pointer: // what is in them lies elsewhere
		return false
	case reflect.Array:
		return MayKeep(t.Elem())
	case reflect.Struct:
		for f := range t.Fields() {
			if MayKeep(f.Type) {
				return true
			}
		}
	default: // has methods, perhaps
	}
	return implements(t, typeCustom) || implements(t, typeCopyable) || implements(t, typeRemoteCopy)
}

// customLimits are the widest that a receiver may have: what is over its own, it says itself.
var customLimits = Limits{MessageBytes: math.MaxInt, Items: math.MaxInt}

// custom makes p's values write and read themselves.
func (p *Plan) custom() {
	t := p.typ
	p.pure, p.hooked = false, true
	p.enc = func(e *Encoder, v place) error {
		start, depth, limit := e.Len(), e.depth, e.byReference
		e.byReference = 0 // the method may reuse its bytes, and what it wrote is looked at below
		err := guarded(t, "AppendJelly",
			func() error { return pointerAt(t, v).(Custom).AppendJelly(e) })
		e.depth, e.byReference = depth, limit
		if err != nil {
			return err
		}
		if len(e.b) <= start || skipValue(e.b, start) != len(e.b) {
			return &TypeError{Type: t, Reason: "AppendJelly must append exactly one value"}
		}
		if _, err := Scan(e.b[start:], &customLimits); err != nil {
			return &TypeError{
				Type:   t,
				Reason: "AppendJelly appended what the other side refuses",
				Err:    err,
			}
		}
		return nil
	}
	p.dec = func(d *Decoder, v place) error {
		p.wipe(v)
		end := skipValue(d.b, d.i)
		if end < 0 {
			return d.mismatch(t, "")
		}
		whole, nested := d.b, d.nested
		d.b = d.b[:end:end]
		err := guarded(t, "ReadJelly",
			func() error { return pointerAt(t, v).(Custom).ReadJelly(d) })
		d.b, d.nested = whole, nested
		if err != nil {
			return err
		}
		if d.i != end {
			return &TypeError{Type: t, Reason: "ReadJelly must read exactly one value"}
		}
		return nil
	}
}

// copied returns the place of what the viewer gets in place of the value at v, of type t.
func copied(e *Encoder, t reflect.Type, v place) (place, error) {
	var viewer, made any
	if e.refs != nil {
		viewer = e.refs.Viewer()
	}
	err := guarded(t, "CopyFor", func() (err error) {
		made, err = pointerAt(t, v).(Copyable).CopyFor(viewer)
		return err
	})
	if err != nil {
		return v, err
	}
	out := reflect.ValueOf(made)
	if out.IsValid() && out.Kind() == reflect.Pointer && out.Type().Elem() == t && !out.IsNil() {
		out = out.Elem()
	}
	if !out.IsValid() || out.Type() != t {
		return v, &TypeError{Type: t,
			Reason: fmt.Sprintf("CopyFor must return the same type, not %T", made)}
	}
	if out.CanAddr() {
		return addressOf(out), nil
	}
	s := newScratch(t)
	s.value.Set(out)
	return s.place, nil
}

// guarded calls a user's method and turns its error, and its panic, into a *TypeError: a panic here
// may be the work of what a peer sent, such as nil for an embedded pointer.
func guarded(t reflect.Type, method string, call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &TypeError{Type: t, Reason: method + " panicked", Err: guard.Recovered(p)}
		}
	}()
	if err = call(); err != nil {
		return &TypeError{Type: t, Reason: method, Err: err}
	}
	return nil
}

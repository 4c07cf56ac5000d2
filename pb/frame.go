package pb

import (
	"context"
	"fmt"
	"reflect"
	"strconv"

	"perspective/jelly"
)

// A frame holds the arguments and the result of one call of one method. Frames are used again, but only after a call
// that ended in the ordinary way: what a panic leaves behind is left to the collector.
type frame struct {
	m    *method
	on   *exported // while a call runs
	ctx  context.Context
	in   []reflect.Value // receiver, ctx, the avatar of a View method, the arguments
	ptrs []any           // pointers to the arguments
	out  reflect.Value
	send func(*jelly.Encoder) error // encodes out
}

func newFrame(m *method) *frame {
	f := &frame{m: m}
	f.in = append(f.in, reflect.Value{}, reflect.ValueOf(&f.ctx).Elem())
	if m.viewer != nil {
		f.in = append(f.in, reflect.New(m.viewer).Elem())
	}
	for _, t := range m.params {
		p := reflect.New(t)
		f.in = append(f.in, p.Elem())
		f.ptrs = append(f.ptrs, p.Interface())
	}
	f.send = f.encode
	return f
}

// args are the values of the peer's arguments.
func (f *frame) args() []reflect.Value { return f.in[len(f.in)-len(f.ptrs):] }

// drop gives f back, empty.
func (f *frame) drop() {
	for _, v := range f.args() {
		v.SetZero()
	}
	if f.m.viewer != nil {
		f.in[2].SetZero()
	}
	f.on, f.ctx, f.in[0], f.out = nil, nil, reflect.Value{}, reflect.Value{}
	f.m.frames.Put(f)
}

// decode reads the arguments' array.
func (f *frame) decode(d *jelly.Decoder) error {
	n, err := d.DecodeArrayLen()
	if err != nil {
		return fmt.Errorf("pb: arguments of %s: %w", f.m.name, err)
	}
	fixed := len(f.ptrs)
	if f.m.variadic {
		fixed--
	}
	if n < fixed || n > fixed && !f.m.variadic {
		return &ArgumentError{Method: f.m.name, Want: fixed, Got: n}
	}
	for i, p := range f.ptrs[:fixed] {
		if err := d.Decode(p); err != nil {
			return f.wrong(i, err)
		}
	}
	if !f.m.variadic || n == fixed {
		return nil
	}
	rest := f.args()[fixed]
	rest.Set(reflect.MakeSlice(rest.Type(), 0, min(n-fixed, 64)))
	for i := fixed; i < n; i++ {
		elem := reflect.New(rest.Type().Elem())
		if err := d.DecodeValue(elem.Elem()); err != nil {
			return f.wrong(i, err)
		}
		rest.Set(reflect.Append(rest, elem.Elem()))
	}
	return nil
}

func (f *frame) wrong(i int, err error) error {
	return fmt.Errorf("pb: argument %s of %s: %w", strconv.Itoa(i+1), f.m.name, err)
}

// see sets the avatar of a View method, and says whether the method takes that avatar.
func (f *frame) see(avatar any) error {
	v := reflect.ValueOf(avatar)
	if !v.IsValid() {
		return fmt.Errorf("pb: %s is for those who have logged in: %w", f.m.name, ErrNoAvatar)
	}
	if !v.Type().AssignableTo(f.m.viewer) {
		return fmt.Errorf("pb: %s is not for this kind of avatar: %w", f.m.name, ErrNoAvatar)
	}
	f.in[2].Set(v)
	return nil
}

// call runs the method. The result is invalid if there is none.
func (f *frame) call(ctx context.Context) (reflect.Value, error) {
	f.ctx, f.in[0] = ctx, f.on.obj
	var out []reflect.Value
	if f.m.variadic {
		out = f.m.fn.CallSlice(f.in)
	} else {
		out = f.m.fn.Call(f.in)
	}
	if f.m.fails {
		if last := out[len(out)-1]; !last.IsNil() {
			return reflect.Value{}, last.Interface().(error)
		}
	}
	if f.m.result == nil {
		return reflect.Value{}, nil
	}
	return out[0], nil
}

// encode writes the result. It is handed to Return.
func (f *frame) encode(e *jelly.Encoder) error { return f.on.encodeResult(e, f.m, f.out) }

// encodeResult writes what m returned. What the encoding of a user's type panics with is an error of the call.
func (x *exported) encodeResult(e *jelly.Encoder, m *method, out reflect.Value) (err error) {
	if !out.IsValid() {
		e.EncodeNil()
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = x.with.panicked(m, r)
		}
	}()
	if err := e.EncodeValue(out); err != nil {
		return fmt.Errorf("pb: result of %s: %w", m.name, err)
	}
	return nil
}

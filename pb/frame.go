package pb

import (
	"context"
	"reflect"
	"strconv"

	"perspective/internal/prefix"
	"perspective/jelly"
)

// A frame holds the arguments and the result of one call of one method. Frames are used again, but
// only after a call that ended in the ordinary way: what a panic leaves behind is left to the
// collector.
type frame interface {
	// prepare takes the object in, the avatar if it is a View method, and the arguments.
	prepare(ctx context.Context, on *exported, args *jelly.Decoder) error
	// call runs the method and keeps its result.
	call(ctx context.Context) error
	// promised returns the Deferred that the method returned, which may be nil; false if it
	// returned something else.
	promised() (p promise, ok bool)
	// sender returns what encodes the result, for Return.
	sender() func(*jelly.Encoder) error
	// drop gives the frame back, empty.
	drop()

	// arguments and result are for interceptors, which see any.
	arguments() []any
	result() any
}

// A reflectFrame calls by reflection, and so any method.
type reflectFrame struct {
	m    *method
	on   *exported       // while a call runs
	ctx  context.Context //nolint:containedctx // what in refers to
	in   []reflect.Value // receiver, ctx, the avatar of a View method, the arguments
	ptrs []any           // pointers to the arguments
	out  reflect.Value   // invalid if there is no result
	send func(*jelly.Encoder) error
}

func newFrame(m *method) *reflectFrame {
	f := &reflectFrame{m: m}
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
func (f *reflectFrame) args() []reflect.Value { return f.in[len(f.in)-len(f.ptrs):] }

func (f *reflectFrame) drop() {
	if f.m.kept {
		return
	}
	for _, v := range f.args() {
		v.SetZero()
	}
	if f.m.viewer != nil {
		f.in[2].SetZero()
	}
	f.on, f.ctx, f.in[0], f.out = nil, nil, reflect.Value{}, reflect.Value{}
	f.m.frames.Put(f)
}

func (f *reflectFrame) prepare(ctx context.Context, on *exported, args *jelly.Decoder) error {
	f.on = on
	if f.m.viewer != nil {
		if err := f.see(callerAvatar(ctx)); err != nil {
			return err
		}
	}
	return f.decode(args)
}

// decode reads the arguments' array.
func (f *reflectFrame) decode(d *jelly.Decoder) error {
	fixed := len(f.ptrs)
	if f.m.variadic {
		fixed--
	}
	n, err := f.m.countArgs(d, fixed)
	if err != nil {
		return err
	}
	for i, p := range f.ptrs[:fixed] {
		if err := d.Decode(p); err != nil {
			return f.m.wrongArg(i, err)
		}
	}
	if !f.m.variadic || n == fixed {
		return nil
	}
	rest := f.args()[fixed]
	rest.SetZero() // and grows with what really comes
	for i := fixed; i < n; i++ {
		elem := reflect.New(rest.Type().Elem())
		if err := d.DecodeValue(elem.Elem()); err != nil {
			return f.m.wrongArg(i, err)
		}
		rest.Set(reflect.Append(rest, elem.Elem()))
	}
	return nil
}

// countArgs reads how many arguments there are, fixed of which the method must have.
func (m *method) countArgs(d *jelly.Decoder, fixed int) (int, error) {
	n, err := d.DecodeArrayLen()
	if err != nil {
		return 0, prefix.Errorf("pb: arguments of %s: %w", m.name, err)
	}
	if n < fixed || n > fixed && !m.variadic {
		return 0, &ArgumentError{Method: m.name, Want: fixed, Got: n}
	}
	return n, nil
}

func (m *method) wrongArg(i int, err error) error {
	return prefix.Errorf("pb: argument %s of %s: %w", strconv.Itoa(i+1), m.name, err)
}

// see sets the avatar of a View method, and says whether the method takes that avatar.
func (f *reflectFrame) see(avatar any) error {
	v := reflect.ValueOf(avatar)
	if !v.IsValid() || !v.Type().AssignableTo(f.m.viewer) {
		return f.m.wrongAvatar(avatar)
	}
	f.in[2].Set(v)
	return nil
}

func (m *method) wrongAvatar(avatar any) error {
	if avatar == nil {
		return prefix.Errorf("pb: %s is for those who have logged in: %w", m.name, ErrNoAvatar)
	}
	return prefix.Errorf("pb: %s is not for this kind of avatar: %w", m.name, ErrNoAvatar)
}

func (f *reflectFrame) call(ctx context.Context) error {
	f.ctx, f.in[0], f.out = ctx, f.on.obj, reflect.Value{}
	var out []reflect.Value
	if f.m.variadic {
		out = f.m.fn.CallSlice(f.in)
	} else {
		out = f.m.fn.Call(f.in)
	}
	if f.m.fails {
		if last := out[len(out)-1]; !last.IsNil() {
			return last.Interface().(error)
		}
	}
	if f.m.result != nil {
		f.out = out[0]
	}
	return nil
}

func (f *reflectFrame) promised() (p promise, ok bool) {
	if !f.m.mayPromise() {
		return nil, false
	}
	return promiseIn(f.out.Interface())
}

func (f *reflectFrame) sender() func(*jelly.Encoder) error { return f.send }

func (f *reflectFrame) encode(e *jelly.Encoder) error { return f.on.encodeResult(e, f.m, f.out) }

func (f *reflectFrame) arguments() []any {
	args := f.args()
	out := make([]any, len(args))
	for i, a := range args {
		out[i] = a.Interface()
	}
	return out
}

func (f *reflectFrame) result() any {
	if !f.out.IsValid() {
		return nil
	}
	return f.out.Interface()
}

// mayPromise says whether what m returns can be a Deferred: its type is one, or an interface in
// which one may stand.
func (m *method) mayPromise() bool {
	return m.result != nil && (m.deferred || m.result.Kind() == reflect.Interface)
}

// promiseIn returns the Deferred that v is, nil if it is a nil one; false if v is something else.
func promiseIn(v any) (p promise, ok bool) {
	p, ok = v.(promise)
	if ok && reflect.ValueOf(p).IsNil() {
		p = nil
	}
	return p, ok
}

// encodeResult writes what m returned. What the encoding of a user's type panics with is an error
// of the call.
func (x *exported) encodeResult(e *jelly.Encoder, m *method, out reflect.Value) (err error) {
	if !out.IsValid() {
		e.EncodeNil()
		return nil
	}
	defer x.recovered(m, &err)
	if err := e.EncodeValue(out); err != nil {
		x.with.dropUnsent(out.Interface(), err) // what stands behind what can not cross
		return x.wrongResult(m, err)
	}
	return nil
}

// wrongResult is the call's error for err. A panic of a hook is logged, for the caller gets only
// its id.
func (x *exported) wrongResult(m *method, err error) error {
	if p := panicIn(err); p != nil {
		x.with.logPanic(m, p)
	}
	return prefix.Errorf("pb: result of %s: %w", m.name, err)
}

// recovered is deferred around what runs a user's code: a panic becomes the call's error.
func (x *exported) recovered(m *method, err *error) {
	if r := recover(); r != nil {
		*err = x.with.panicked(m, r)
	}
}

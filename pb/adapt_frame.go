package pb

import (
	"context"
	"reflect"

	"perspective/jelly"
)

// A typedFrame calls a method of O that gives an R, and knows both.
type typedFrame[O, R any] struct {
	m     *method
	on    *exported // while a call runs
	seat  seat      // of a View method
	args  []place
	run   func(O, context.Context) (R, error) // takes what lies in seat and args
	out   R
	codec *jelly.Codec[R]
	send  func(*jelly.Encoder) error
}

// A place is where one argument lies during a call.
type place interface {
	decode(d *jelly.Decoder, types *jelly.Registry) error
	typ() reflect.Type
	value() any
	empty()
}

// A seat is where the avatar lies during a call of a View method.
type seat interface {
	take(avatar any) bool
	typ() reflect.Type
	empty()
}

func (f *typedFrame[O, R]) prepare(ctx context.Context, on *exported, args *jelly.Decoder) error {
	f.on = on
	if f.seat != nil {
		if avatar := callerAvatar(ctx); avatar == nil || !f.seat.take(avatar) {
			return f.m.wrongAvatar(avatar)
		}
	}
	if _, err := f.m.countArgs(args, len(f.args)); err != nil {
		return err
	}
	for i, a := range f.args {
		if err := a.decode(args, on.with.types); err != nil {
			return f.m.wrongArg(i, err)
		}
	}
	return nil
}

func (f *typedFrame[O, R]) call(ctx context.Context) (err error) {
	f.out, err = f.run(f.on.obj.Interface().(O), ctx)
	return err
}

func (f *typedFrame[O, R]) promised() (p promise, ok bool) {
	if !f.m.mayPromise() {
		return nil, false
	}
	return promiseIn(f.out)
}

func (f *typedFrame[O, R]) sender() func(*jelly.Encoder) error { return f.send }

func (f *typedFrame[O, R]) encode(e *jelly.Encoder) (err error) {
	if f.m.result == nil {
		e.EncodeNil()
		return nil
	}
	defer f.on.recovered(f.m, &err)
	if f.on.with.types != nil {
		err = e.EncodeValue(reflect.ValueOf(&f.out).Elem())
	} else {
		err = f.codec.Encode(e, &f.out)
	}
	if err != nil {
		return f.on.wrongResult(f.m, err)
	}
	return nil
}

func (f *typedFrame[O, R]) arguments() []any {
	out := make([]any, len(f.args))
	for i, a := range f.args {
		out[i] = a.value()
	}
	return out
}

func (f *typedFrame[O, R]) result() any {
	if f.m.result == nil {
		return nil
	}
	return f.out
}

func (f *typedFrame[O, R]) drop() {
	if f.m.kept {
		return
	}
	if f.seat != nil {
		f.seat.empty()
	}
	for _, a := range f.args {
		a.empty()
	}
	f.on, f.out = nil, *new(R)
	f.m.frames.Put(f)
}

// An arg is the place of an argument of type T.
type arg[T any] struct {
	v     T
	codec *jelly.Codec[T] // of the default registry; that of all calls
}

func (a *arg[T]) decode(d *jelly.Decoder, types *jelly.Registry) error {
	if types != nil {
		return d.Decode(&a.v)
	}
	return a.codec.Decode(d, &a.v)
}

func (a *arg[T]) typ() reflect.Type { return reflect.TypeFor[T]() }
func (a *arg[T]) value() any        { return a.v }
func (a *arg[T]) empty()            { a.v = *new(T) }

// An avatarSeat is the seat of an avatar of type V.
type avatarSeat[V any] struct{ v V }

func (s *avatarSeat[V]) take(avatar any) (ok bool) {
	s.v, ok = avatar.(V)
	return ok
}

func (s *avatarSeat[V]) typ() reflect.Type { return reflect.TypeFor[V]() }

func (s *avatarSeat[V]) empty() { s.v = *new(V) }

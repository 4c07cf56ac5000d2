package pb

import (
	"context"
	"reflect"

	"perspective/jelly"
)

// The adaptors differ in how many arguments a peer gives, 0 to 4; more are for reflection. A method without an error
// among its results, or a View method without a value, is adapted by a function around it.

// newAdaptor describes a method that gives an R; struct{} is no value. f is what the user gave for it. ready gives a frame its
// places and what runs the method with what lies in them.
func newAdaptor[O, R any](goName string, f any, ready func(*typedFrame[O, R])) Adaptor[O] {
	codec := jelly.For[R](nil)
	newFrame := func(m *method) *typedFrame[O, R] {
		f := &typedFrame[O, R]{m: m, codec: codec}
		f.send = f.encode
		ready(f)
		return f
	}
	a := adaptor{goName: goName, of: methodOf(f, reflect.TypeFor[O]()), value: reflect.TypeFor[R]()}
	a.newFrame = func(m *method) frame { return newFrame(m) }
	sample := newFrame(nil)
	if sample.seat != nil {
		a.viewer = sample.seat.typ()
	}
	for _, arg := range sample.args {
		a.params = append(a.params, arg.typ())
	}
	return Adaptor[O]{a}
}

// around has a, which calls f by a function around it, know what f is.
func (a Adaptor[O]) around(f any) Adaptor[O] {
	a.of = methodOf(f, reflect.TypeFor[O]())
	return a
}

// Func0 adapts the method of O that Go calls name and that takes no argument and gives a value or a *Deferred.
func Func0[O, R any](name string, f func(o O, ctx context.Context) (R, error)) Adaptor[O] {
	return newAdaptor(name, f, func(t *typedFrame[O, R]) {
		t.run = func(o O, ctx context.Context) (R, error) { return f(o, ctx) }
	})
}

// Func1 adapts the method of O that Go calls name and that takes one argument and gives a value or a *Deferred.
func Func1[O, A, R any](name string, f func(o O, ctx context.Context, a A) (R, error)) Adaptor[O] {
	ca := jelly.For[A](nil)
	return newAdaptor(name, f, func(t *typedFrame[O, R]) {
		a := &arg[A]{codec: ca}
		t.args = []place{a}
		t.run = func(o O, ctx context.Context) (R, error) { return f(o, ctx, a.v) }
	})
}

// Func2 adapts the method of O that Go calls name and that takes two arguments and gives a value or a *Deferred.
func Func2[O, A, B, R any](name string, f func(o O, ctx context.Context, a A, b B) (R, error)) Adaptor[O] {
	ca, cb := jelly.For[A](nil), jelly.For[B](nil)
	return newAdaptor(name, f, func(t *typedFrame[O, R]) {
		a, b := &arg[A]{codec: ca}, &arg[B]{codec: cb}
		t.args = []place{a, b}
		t.run = func(o O, ctx context.Context) (R, error) { return f(o, ctx, a.v, b.v) }
	})
}

// Func3 adapts the method of O that Go calls name and that takes three arguments and gives a value or a *Deferred.
func Func3[O, A, B, C, R any](name string, f func(o O, ctx context.Context, a A, b B, c C) (R, error)) Adaptor[O] {
	ca, cb, cc := jelly.For[A](nil), jelly.For[B](nil), jelly.For[C](nil)
	return newAdaptor(name, f, func(t *typedFrame[O, R]) {
		a, b := &arg[A]{codec: ca}, &arg[B]{codec: cb}
		c := &arg[C]{codec: cc}
		t.args = []place{a, b, c}
		t.run = func(o O, ctx context.Context) (R, error) { return f(o, ctx, a.v, b.v, c.v) }
	})
}

// Func4 adapts the method of O that Go calls name and that takes four arguments and gives a value or a *Deferred.
func Func4[O, A, B, C, D, R any](name string, f func(o O, ctx context.Context, a A, b B, c C, d D) (R, error)) Adaptor[O] {
	ca, cb, cc, cd := jelly.For[A](nil), jelly.For[B](nil), jelly.For[C](nil), jelly.For[D](nil)
	return newAdaptor(name, f, func(t *typedFrame[O, R]) {
		a, b := &arg[A]{codec: ca}, &arg[B]{codec: cb}
		c, d := &arg[C]{codec: cc}, &arg[D]{codec: cd}
		t.args = []place{a, b, c, d}
		t.run = func(o O, ctx context.Context) (R, error) { return f(o, ctx, a.v, b.v, c.v, d.v) }
	})
}

// Proc0 adapts the method of O that Go calls name and that takes no argument and gives only an error.
func Proc0[O any](name string, f func(o O, ctx context.Context) error) Adaptor[O] {
	return Func0(name, func(o O, ctx context.Context) (struct{}, error) { return struct{}{}, f(o, ctx) }).around(f)
}

// Proc1 adapts the method of O that Go calls name and that takes one argument and gives only an error.
func Proc1[O, A any](name string, f func(o O, ctx context.Context, a A) error) Adaptor[O] {
	return Func1(name, func(o O, ctx context.Context, a A) (struct{}, error) { return struct{}{}, f(o, ctx, a) }).around(f)
}

// Proc2 adapts the method of O that Go calls name and that takes two arguments and gives only an error.
func Proc2[O, A, B any](name string, f func(o O, ctx context.Context, a A, b B) error) Adaptor[O] {
	return Func2(name, func(o O, ctx context.Context, a A, b B) (struct{}, error) { return struct{}{}, f(o, ctx, a, b) }).around(f)
}

// Proc3 adapts the method of O that Go calls name and that takes three arguments and gives only an error.
func Proc3[O, A, B, C any](name string, f func(o O, ctx context.Context, a A, b B, c C) error) Adaptor[O] {
	return Func3(name, func(o O, ctx context.Context, a A, b B, c C) (struct{}, error) { return struct{}{}, f(o, ctx, a, b, c) }).around(f)
}

// Proc4 adapts the method of O that Go calls name and that takes four arguments and gives only an error.
func Proc4[O, A, B, C, D any](name string, f func(o O, ctx context.Context, a A, b B, c C, d D) error) Adaptor[O] {
	return Func4(name, func(o O, ctx context.Context, a A, b B, c C, d D) (struct{}, error) {
		return struct{}{}, f(o, ctx, a, b, c, d)
	}).around(f)
}

// View0 adapts the View method of O that Go calls name and that takes, behind the avatar, no argument and gives a
// value or a *Deferred.
func View0[O, V, R any](name string, f func(o O, ctx context.Context, viewer V) (R, error)) Adaptor[O] {
	return newAdaptor(name, f, func(t *typedFrame[O, R]) {
		seat := &avatarSeat[V]{}
		t.seat = seat
		t.run = func(o O, ctx context.Context) (R, error) { return f(o, ctx, seat.v) }
	})
}

// View1 adapts the View method of O that Go calls name and that takes, behind the avatar, one argument and gives a
// value or a *Deferred.
func View1[O, V, A, R any](name string, f func(o O, ctx context.Context, viewer V, a A) (R, error)) Adaptor[O] {
	ca := jelly.For[A](nil)
	return newAdaptor(name, f, func(t *typedFrame[O, R]) {
		seat, a := &avatarSeat[V]{}, &arg[A]{codec: ca}
		t.seat, t.args = seat, []place{a}
		t.run = func(o O, ctx context.Context) (R, error) { return f(o, ctx, seat.v, a.v) }
	})
}

// View2 adapts the View method of O that Go calls name and that takes, behind the avatar, two arguments and gives a
// value or a *Deferred.
func View2[O, V, A, B, R any](name string, f func(o O, ctx context.Context, viewer V, a A, b B) (R, error)) Adaptor[O] {
	ca, cb := jelly.For[A](nil), jelly.For[B](nil)
	return newAdaptor(name, f, func(t *typedFrame[O, R]) {
		seat, a := &avatarSeat[V]{}, &arg[A]{codec: ca}
		b := &arg[B]{codec: cb}
		t.seat, t.args = seat, []place{a, b}
		t.run = func(o O, ctx context.Context) (R, error) { return f(o, ctx, seat.v, a.v, b.v) }
	})
}

// View3 adapts the View method of O that Go calls name and that takes, behind the avatar, three arguments and gives a
// value or a *Deferred.
func View3[O, V, A, B, C, R any](name string, f func(o O, ctx context.Context, viewer V, a A, b B, c C) (R, error)) Adaptor[O] {
	ca, cb, cc := jelly.For[A](nil), jelly.For[B](nil), jelly.For[C](nil)
	return newAdaptor(name, f, func(t *typedFrame[O, R]) {
		seat, a := &avatarSeat[V]{}, &arg[A]{codec: ca}
		b, c := &arg[B]{codec: cb}, &arg[C]{codec: cc}
		t.seat, t.args = seat, []place{a, b, c}
		t.run = func(o O, ctx context.Context) (R, error) { return f(o, ctx, seat.v, a.v, b.v, c.v) }
	})
}

// View4 adapts the View method of O that Go calls name and that takes, behind the avatar, four arguments and gives a
// value or a *Deferred.
func View4[O, V, A, B, C, D, R any](name string, f func(o O, ctx context.Context, viewer V, a A, b B, c C, d D) (R, error)) Adaptor[O] {
	ca, cb, cc, cd := jelly.For[A](nil), jelly.For[B](nil), jelly.For[C](nil), jelly.For[D](nil)
	return newAdaptor(name, f, func(t *typedFrame[O, R]) {
		seat, a := &avatarSeat[V]{}, &arg[A]{codec: ca}
		b, c := &arg[B]{codec: cb}, &arg[C]{codec: cc}
		d := &arg[D]{codec: cd}
		t.seat, t.args = seat, []place{a, b, c, d}
		t.run = func(o O, ctx context.Context) (R, error) { return f(o, ctx, seat.v, a.v, b.v, c.v, d.v) }
	})
}

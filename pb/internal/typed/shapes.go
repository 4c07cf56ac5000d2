package typed

import (
	"context"

	"perspective/jelly"
)

// The shapes differ in how many arguments a peer gives, 0 to 4; more are for reflection. Package
// adapt says of each what it is for.

// Func0 is adapt.Func0.
func Func0[O, R any](name string, f func(o O, ctx context.Context) (R, error)) Method[O] {
	return newMethod(name, f, func(call *Call) func(O, context.Context) (R, error) {
		return f
	})
}

// Func1 is adapt.Func1.
func Func1[O, A, R any](name string, f func(o O, ctx context.Context, a A) (R, error)) Method[O] {
	ca := jelly.For[A](nil)
	return newMethod(name, f, func(call *Call) func(O, context.Context) (R, error) {
		a := &arg[A]{codec: ca}
		call.Args = []Place{a}
		return func(o O, ctx context.Context) (R, error) { return f(o, ctx, a.v) }
	})
}

// Func2 is adapt.Func2.
func Func2[O, A, B, R any](
	name string, f func(o O, ctx context.Context, a A, b B) (R, error),
) Method[O] {
	ca, cb := jelly.For[A](nil), jelly.For[B](nil)
	return newMethod(name, f, func(call *Call) func(O, context.Context) (R, error) {
		a := &arg[A]{codec: ca}
		b := &arg[B]{codec: cb}
		call.Args = []Place{a, b}
		return func(o O, ctx context.Context) (R, error) { return f(o, ctx, a.v, b.v) }
	})
}

// Func3 is adapt.Func3.
func Func3[O, A, B, C, R any](
	name string, f func(o O, ctx context.Context, a A, b B, c C) (R, error),
) Method[O] {
	ca, cb, cc := jelly.For[A](nil), jelly.For[B](nil), jelly.For[C](nil)
	return newMethod(name, f, func(call *Call) func(O, context.Context) (R, error) {
		a := &arg[A]{codec: ca}
		b := &arg[B]{codec: cb}
		c := &arg[C]{codec: cc}
		call.Args = []Place{a, b, c}
		return func(o O, ctx context.Context) (R, error) { return f(o, ctx, a.v, b.v, c.v) }
	})
}

// Func4 is adapt.Func4.
func Func4[O, A, B, C, D, R any](
	name string, f func(o O, ctx context.Context, a A, b B, c C, d D) (R, error),
) Method[O] {
	ca, cb, cc, cd := jelly.For[A](nil), jelly.For[B](nil), jelly.For[C](nil), jelly.For[D](nil)
	return newMethod(name, f, func(call *Call) func(O, context.Context) (R, error) {
		a := &arg[A]{codec: ca}
		b := &arg[B]{codec: cb}
		c := &arg[C]{codec: cc}
		d := &arg[D]{codec: cd}
		call.Args = []Place{a, b, c, d}
		return func(o O, ctx context.Context) (R, error) { return f(o, ctx, a.v, b.v, c.v, d.v) }
	})
}

// Proc0 is adapt.Proc0.
func Proc0[O any](name string, f func(o O, ctx context.Context) error) Method[O] {
	return Func0(name, func(o O, ctx context.Context) (struct{}, error) {
		return struct{}{}, f(o, ctx)
	}).around(f)
}

// Proc1 is adapt.Proc1.
func Proc1[O, A any](name string, f func(o O, ctx context.Context, a A) error) Method[O] {
	return Func1(name, func(o O, ctx context.Context, a A) (struct{}, error) {
		return struct{}{}, f(o, ctx, a)
	}).around(f)
}

// Proc2 is adapt.Proc2.
func Proc2[O, A, B any](name string, f func(o O, ctx context.Context, a A, b B) error) Method[O] {
	return Func2(name, func(o O, ctx context.Context, a A, b B) (struct{}, error) {
		return struct{}{}, f(o, ctx, a, b)
	}).around(f)
}

// Proc3 is adapt.Proc3.
func Proc3[O, A, B, C any](
	name string, f func(o O, ctx context.Context, a A, b B, c C) error,
) Method[O] {
	return Func3(name, func(o O, ctx context.Context, a A, b B, c C) (struct{}, error) {
		return struct{}{}, f(o, ctx, a, b, c)
	}).around(f)
}

// Proc4 is adapt.Proc4.
func Proc4[O, A, B, C, D any](
	name string, f func(o O, ctx context.Context, a A, b B, c C, d D) error,
) Method[O] {
	return Func4(name, func(o O, ctx context.Context, a A, b B, c C, d D) (struct{}, error) {
		return struct{}{}, f(o, ctx, a, b, c, d)
	}).around(f)
}

// View0 is adapt.View0.
func View0[O, V, R any](
	name string, f func(o O, ctx context.Context, viewer V) (R, error),
) Method[O] {
	return newMethod(name, f, func(call *Call) func(O, context.Context) (R, error) {
		viewer := &seat[V]{}
		call.Seat = viewer
		return func(o O, ctx context.Context) (R, error) { return f(o, ctx, viewer.v) }
	})
}

// View1 is adapt.View1.
func View1[O, V, A, R any](
	name string, f func(o O, ctx context.Context, viewer V, a A) (R, error),
) Method[O] {
	ca := jelly.For[A](nil)
	return newMethod(name, f, func(call *Call) func(O, context.Context) (R, error) {
		viewer := &seat[V]{}
		a := &arg[A]{codec: ca}
		call.Seat = viewer
		call.Args = []Place{a}
		return func(o O, ctx context.Context) (R, error) { return f(o, ctx, viewer.v, a.v) }
	})
}

// View2 is adapt.View2.
func View2[O, V, A, B, R any](
	name string, f func(o O, ctx context.Context, viewer V, a A, b B) (R, error),
) Method[O] {
	ca, cb := jelly.For[A](nil), jelly.For[B](nil)
	return newMethod(name, f, func(call *Call) func(O, context.Context) (R, error) {
		viewer := &seat[V]{}
		a := &arg[A]{codec: ca}
		b := &arg[B]{codec: cb}
		call.Seat = viewer
		call.Args = []Place{a, b}
		return func(o O, ctx context.Context) (R, error) { return f(o, ctx, viewer.v, a.v, b.v) }
	})
}

// View3 is adapt.View3.
func View3[O, V, A, B, C, R any](
	name string, f func(o O, ctx context.Context, viewer V, a A, b B, c C) (R, error),
) Method[O] {
	ca, cb, cc := jelly.For[A](nil), jelly.For[B](nil), jelly.For[C](nil)
	return newMethod(name, f, func(call *Call) func(O, context.Context) (R, error) {
		viewer := &seat[V]{}
		a := &arg[A]{codec: ca}
		b := &arg[B]{codec: cb}
		c := &arg[C]{codec: cc}
		call.Seat = viewer
		call.Args = []Place{a, b, c}
		return func(o O, ctx context.Context) (R, error) {
			return f(o, ctx, viewer.v, a.v, b.v, c.v)
		}
	})
}

// View4 is adapt.View4.
func View4[O, V, A, B, C, D, R any](
	name string, f func(o O, ctx context.Context, viewer V, a A, b B, c C, d D) (R, error),
) Method[O] {
	ca, cb, cc, cd := jelly.For[A](nil), jelly.For[B](nil), jelly.For[C](nil), jelly.For[D](nil)
	return newMethod(name, f, func(call *Call) func(O, context.Context) (R, error) {
		viewer := &seat[V]{}
		a := &arg[A]{codec: ca}
		b := &arg[B]{codec: cb}
		c := &arg[C]{codec: cc}
		d := &arg[D]{codec: cd}
		call.Seat = viewer
		call.Args = []Place{a, b, c, d}
		return func(o O, ctx context.Context) (R, error) {
			return f(o, ctx, viewer.v, a.v, b.v, c.v, d.v)
		}
	})
}

package adapt

import (
	"context"

	"perspective/pb/internal/typed"
)

// A Method is one method of O as the compiler knows it. It comes from Func0 to Func4, Proc0 to
// Proc4 and View0 to View4, and is handed to Methods. It holds no object. O is a pointer to a
// type that is exported to peers, or an interface by which objects are lent.
//
// The digit is how many arguments a peer gives. A method without an error among its results, or
// a View method without a value, is adapted by a function around it.
type Method[O any] struct{ typed typed.Method[O] }

// Func0 adapts the method that Go calls name, which takes no argument and gives a value or a
// *pb.Deferred.
func Func0[O, R any](name string, f func(o O, ctx context.Context) (R, error)) Method[O] {
	return Method[O]{typed.Func0(name, f)}
}

// Func1 adapts the method that Go calls name, which takes one argument and gives a value or a
// *pb.Deferred.
func Func1[O, A, R any](name string, f func(o O, ctx context.Context, a A) (R, error)) Method[O] {
	return Method[O]{typed.Func1(name, f)}
}

// Func2 adapts the method that Go calls name, which takes two arguments and gives a value or a
// *pb.Deferred.
func Func2[O, A, B, R any](
	name string, f func(o O, ctx context.Context, a A, b B) (R, error),
) Method[O] {
	return Method[O]{typed.Func2(name, f)}
}

// Func3 adapts the method that Go calls name, which takes three arguments and gives a value or a
// *pb.Deferred.
func Func3[O, A, B, C, R any](
	name string, f func(o O, ctx context.Context, a A, b B, c C) (R, error),
) Method[O] {
	return Method[O]{typed.Func3(name, f)}
}

// Func4 adapts the method that Go calls name, which takes four arguments and gives a value or a
// *pb.Deferred.
func Func4[O, A, B, C, D, R any](
	name string, f func(o O, ctx context.Context, a A, b B, c C, d D) (R, error),
) Method[O] {
	return Method[O]{typed.Func4(name, f)}
}

// Proc0 adapts the method that Go calls name, which takes no argument and gives only an error.
func Proc0[O any](name string, f func(o O, ctx context.Context) error) Method[O] {
	return Method[O]{typed.Proc0(name, f)}
}

// Proc1 adapts the method that Go calls name, which takes one argument and gives only an error.
func Proc1[O, A any](name string, f func(o O, ctx context.Context, a A) error) Method[O] {
	return Method[O]{typed.Proc1(name, f)}
}

// Proc2 adapts the method that Go calls name, which takes two arguments and gives only an error.
func Proc2[O, A, B any](name string, f func(o O, ctx context.Context, a A, b B) error) Method[O] {
	return Method[O]{typed.Proc2(name, f)}
}

// Proc3 adapts the method that Go calls name, which takes three arguments and gives only an error.
func Proc3[O, A, B, C any](
	name string, f func(o O, ctx context.Context, a A, b B, c C) error,
) Method[O] {
	return Method[O]{typed.Proc3(name, f)}
}

// Proc4 adapts the method that Go calls name, which takes four arguments and gives only an error.
func Proc4[O, A, B, C, D any](
	name string, f func(o O, ctx context.Context, a A, b B, c C, d D) error,
) Method[O] {
	return Method[O]{typed.Proc4(name, f)}
}

// View0 adapts the View method that Go calls name, which takes no argument behind the avatar.
func View0[O, V, R any](
	name string, f func(o O, ctx context.Context, viewer V) (R, error),
) Method[O] {
	return Method[O]{typed.View0(name, f)}
}

// View1 adapts the View method that Go calls name, which takes one argument behind the avatar.
func View1[O, V, A, R any](
	name string, f func(o O, ctx context.Context, viewer V, a A) (R, error),
) Method[O] {
	return Method[O]{typed.View1(name, f)}
}

// View2 adapts the View method that Go calls name, which takes two arguments behind the avatar.
func View2[O, V, A, B, R any](
	name string, f func(o O, ctx context.Context, viewer V, a A, b B) (R, error),
) Method[O] {
	return Method[O]{typed.View2(name, f)}
}

// View3 adapts the View method that Go calls name, which takes three arguments behind the avatar.
func View3[O, V, A, B, C, R any](
	name string, f func(o O, ctx context.Context, viewer V, a A, b B, c C) (R, error),
) Method[O] {
	return Method[O]{typed.View3(name, f)}
}

// View4 adapts the View method that Go calls name, which takes four arguments behind the avatar.
func View4[O, V, A, B, C, D, R any](
	name string, f func(o O, ctx context.Context, viewer V, a A, b B, c C, d D) (R, error),
) Method[O] {
	return Method[O]{typed.View4(name, f)}
}

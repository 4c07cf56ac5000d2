package adapt

import (
	"context"

	"perspective/pb"
	"perspective/pb/internal/typed"
)

// Do1 is pb.Do with one argument whose type the compiler knows, which saves the allocations of
// handing it on as any. For its type the same holds as there.
func Do1[R, A any](ctx context.Context, on pb.Target, method string, a A) (R, error) {
	return pb.Typed[R, typed.Args1[A], *typed.Args1[A]]{}.Do(ctx, on, method, typed.Of1(a))
}

// Do2 is Do1 with two arguments.
func Do2[R, A, B any](ctx context.Context, on pb.Target, method string, a A, b B) (R, error) {
	return pb.Typed[R, typed.Args2[A, B], *typed.Args2[A, B]]{}.Do(ctx, on, method, typed.Of2(a, b))
}

// Do3 is Do1 with three arguments.
func Do3[R, A, B, C any](
	ctx context.Context, on pb.Target, method string, a A, b B, c C,
) (R, error) {
	return pb.Typed[R, typed.Args3[A, B, C], *typed.Args3[A, B, C]]{}.Do(ctx, on, method,
		typed.Of3(a, b, c))
}

// Do4 is Do1 with four arguments.
func Do4[R, A, B, C, D any](
	ctx context.Context, on pb.Target, method string, a A, b B, c C, d D,
) (R, error) {
	return pb.Typed[R, typed.Args4[A, B, C, D], *typed.Args4[A, B, C, D]]{}.Do(ctx, on, method,
		typed.Of4(a, b, c, d))
}

// Call1 is pb.Call with one argument whose type the compiler knows, as Do1 is pb.Do.
func Call1[R, A any](ctx context.Context, on pb.Target, method string, a A) *pb.Deferred[R] {
	return pb.Typed[R, typed.Args1[A], *typed.Args1[A]]{}.Call(ctx, on, method, typed.Of1(a))
}

// Call2 is Call1 with two arguments.
func Call2[R, A, B any](
	ctx context.Context, on pb.Target, method string, a A, b B,
) *pb.Deferred[R] {
	return pb.Typed[R, typed.Args2[A, B], *typed.Args2[A, B]]{}.Call(ctx, on, method,
		typed.Of2(a, b))
}

// Call3 is Call1 with three arguments.
func Call3[R, A, B, C any](
	ctx context.Context, on pb.Target, method string, a A, b B, c C,
) *pb.Deferred[R] {
	return pb.Typed[R, typed.Args3[A, B, C], *typed.Args3[A, B, C]]{}.Call(ctx, on, method,
		typed.Of3(a, b, c))
}

// Call4 is Call1 with four arguments.
func Call4[R, A, B, C, D any](
	ctx context.Context, on pb.Target, method string, a A, b B, c C, d D,
) *pb.Deferred[R] {
	return pb.Typed[R, typed.Args4[A, B, C, D], *typed.Args4[A, B, C, D]]{}.Call(ctx, on, method,
		typed.Of4(a, b, c, d))
}

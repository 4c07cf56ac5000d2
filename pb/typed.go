package pb

import (
	"context"

	"perspective/pb/internal/typed"
)

// Typed makes calls whose arguments keep their types, which nothing but package adapt can give
// it: use adapt.Do1 and its like. The zero value is ready.
type Typed[R, P any, Q interface {
	*P
	typed.Fixed
}] struct{}

// Do is [Do].
func (Typed[R, P, Q]) Do(ctx context.Context, on Target, method string, args P) (R, error) {
	return do[R, P, Q](ctx, on, method, args)
}

// Call is [Call].
func (Typed[R, P, Q]) Call(ctx context.Context, on Target, method string, args P) *Deferred[R] {
	return start[R, P, Q](ctx, on, method, args)
}

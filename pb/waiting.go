package pb

import "context"

// leaveTurn is called by everything in this package that is about to block
// with ctx. The function it returns, never nil, is called after the wait.
func leaveTurn(ctx context.Context) (back func()) { return func() {} }

// withoutTurn returns a context with the values, deadline and end of ctx that
// holds no turn.
func withoutTurn(ctx context.Context) context.Context { return ctx }

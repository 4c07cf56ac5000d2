package pb

import (
	"context"

	"perspective/broker"
	"perspective/jelly"
)

// Reply answers the call that ctx, a method's, belongs to before the method
// returns: what it returns afterwards is dropped. The method's ctx ends with
// the answer. The error says that the call has been answered already or given
// up, or that there is no call; what can not cross is answered as an error.
func Reply(ctx context.Context, v any) error {
	in := broker.IncomingFrom(ctx)
	if in == nil || in.Err() != nil {
		return broker.ErrCancelled
	}
	in.Return(func(e *jelly.Encoder) error { return e.Encode(v) })
	return nil
}

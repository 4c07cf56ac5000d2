package pb

import (
	"context"
	"fmt"

	"perspective/broker"
	"perspective/jelly"
)

func outsideMethod(what string) error { return fmt.Errorf("%w (%s)", ErrOutsideMethod, what) }

// tooLate is the error of what comes after the answer.
func tooLate(what string) error {
	return fmt.Errorf("%w: %s: the call has been answered or given up", ErrCancelled, what)
}

// Reply answers the call that ctx, a method's, belongs to before the method
// returns: what it returns afterwards is dropped. The method's ctx ends with
// the answer. What can not cross is answered as an error. Reply fails with
// ErrOutsideMethod if ctx is not a method's, and with ErrCancelled if the call has
// been answered already or given up.
func Reply(ctx context.Context, v any) error {
	in := broker.IncomingFrom(ctx)
	if in == nil {
		return outsideMethod("Reply")
	}
	if in.Err() != nil {
		return tooLate("Reply")
	}
	var with *surroundings
	if in.Oneway() {
		with.dropUnsent(v, errOneway)
	}
	in.Return(func(e *jelly.Encoder) error {
		err := e.Encode(v)
		if err != nil {
			with.dropUnsent(v, err)
		}
		return err
	})
	return nil
}

package pb

import (
	"context"

	"perspective/broker"
	"perspective/internal/prefix"
	"perspective/jelly"
)

// forwarder is another peer's object as this process lends it on: calls are
// passed to where it is, and answers back. Arguments and results are read and
// written again on the way, so registered types must be known here too.
type forwarder struct{ to *RemoteReference }

// Discipline is that of a queue: the order of the calls is kept on the way.
func (f forwarder) Discipline() broker.Discipline { return broker.Queued }

// Method takes any name: the object itself knows its methods.
func (f forwarder) Method(name []byte) (broker.Method, error) {
	return forwarded{f.to, string(name)}, nil
}

type forwarded struct {
	to   *RemoteReference
	name string
}

func (f forwarded) Invoke(in *broker.Incoming) {
	ctx := in.Context()
	if c := ConnFrom(ctx); c != nil && c.node.Observe != nil {
		ctx = c.observeIncoming(ctx, in, f.name, f.to)
	}
	args, err := decodeArgs(in.Args())
	if err != nil {
		in.Refuse(err)
		return
	}
	if !in.Begin() {
		return
	}
	if in.Oneway() {
		if err := f.to.Send(ctx, f.name, args...); err != nil {
			in.Fail(err)
			return
		}
		in.Return(func(e *jelly.Encoder) error { e.EncodeNil(); return nil })
		return
	}
	d := Call[any](ctx, f.to, f.name, args...)
	d.onDone(func() {
		go func() { // ends when the answer is written
			v, err, _ := d.settled()
			if err != nil {
				in.Fail(err)
				return
			}
			in.Return(func(e *jelly.Encoder) error { return e.Encode(v) })
		}()
	})
}

// forward is the broker's way to an object of the peer's own that it calls by
// way of an answer of ours.
func (c *Conn) forward(id uint64) broker.Object {
	r, err := c.reference(id)
	if err != nil {
		return nil
	}
	return forwarder{r}
}

// decodeArgs reads arguments of any types.
func decodeArgs(d *jelly.Decoder) ([]any, error) {
	n, err := d.DecodeArrayLen()
	if err != nil {
		return nil, err
	}
	args := make([]any, n)
	for i := range args {
		if args[i], err = d.DecodeAny(); err != nil {
			return nil, prefix.Errorf("pb: argument %d: %w", i+1, err)
		}
	}
	return args, nil
}

var _ context.Context = (*broker.Incoming)(nil)

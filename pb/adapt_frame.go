package pb

import (
	"context"

	"perspective/jelly"
	"perspective/pb/internal/typed"
)

// A typedFrame calls a method by what the compiler knows of it.
type typedFrame struct {
	m  *method
	on *exported // while a call runs
	*typed.Call
	send func(*jelly.Encoder) error
}

func newTypedFrame(m *method, p *typed.Plan) *typedFrame {
	f := &typedFrame{m: m, Call: p.New()}
	f.send = f.encode
	return f
}

func (f *typedFrame) prepare(ctx context.Context, on *exported, args *jelly.Decoder) error {
	f.on = on
	if f.Seat != nil {
		if avatar := callerAvatar(ctx); avatar == nil || !f.Seat.Take(avatar) {
			return f.m.wrongAvatar(avatar)
		}
	}
	if _, err := f.m.countArgs(args, len(f.Args)); err != nil {
		return err
	}
	for i, a := range f.Args {
		if err := a.Decode(args, on.with.types); err != nil {
			return f.m.wrongArg(i, err)
		}
	}
	return nil
}

func (f *typedFrame) call(ctx context.Context) error { return f.Run(f.on.obj.Interface(), ctx) }

func (f *typedFrame) promised() (p promise, ok bool) {
	if !f.m.mayPromise() {
		return nil, false
	}
	return promiseIn(f.Result.Value())
}

func (f *typedFrame) sender() func(*jelly.Encoder) error { return f.send }

func (f *typedFrame) encode(e *jelly.Encoder) (err error) {
	if f.m.result == nil {
		e.EncodeNil()
		return nil
	}
	defer f.on.recovered(f.m, &err)
	if err := f.Result.Encode(e, f.on.with.types); err != nil {
		return f.on.wrongResult(f.m, err)
	}
	return nil
}

func (f *typedFrame) arguments() []any {
	out := make([]any, len(f.Args))
	for i, a := range f.Args {
		out[i] = a.Value()
	}
	return out
}

func (f *typedFrame) result() any {
	if f.m.result == nil {
		return nil
	}
	return f.Result.Value()
}

func (f *typedFrame) drop() {
	if f.m.kept {
		return
	}
	if f.Seat != nil {
		f.Seat.Empty()
	}
	for _, a := range f.Args {
		a.Empty()
	}
	f.on = nil
	f.Result.Empty()
	f.m.frames.Put(f)
}

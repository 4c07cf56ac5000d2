package pb

import (
	"context"
	"fmt"
	"reflect"
	"sync/atomic"

	"perspective/broker"
	"perspective/internal/guard"
	"perspective/internal/prefix"
	"perspective/jelly"
)

// asked is what a call knows that does not depend on the type of its result: half of a broker.Question.
type asked struct {
	wire   broker.Call
	method string
	flags  uint64
	args   arguments
	notes  func(any)
	whole  interface{ notesFailed(error) } // the call that this is half of; set with notes
	noting atomic.Bool                     // the reader is about to call Note, or in it
}

// noted has whole get the notes that are asked for by ctx, if any are.
func (c *asked) noted(ctx context.Context, whole interface{ notesFailed(error) }) {
	if f := notesOf(ctx); f != nil {
		c.notes, c.whole = f, whole
	}
}

// arguments of a call, in the types that the caller knows them by. They lie in one piece of memory with the call.
type arguments interface {
	// encode writes the array of the arguments.
	encode(e *jelly.Encoder, method string) error
	// boxed gives the arguments as any, or nil if none of them has to be looked at before the call is sent.
	boxed() []any
	// each calls f with each argument.
	each(f func(any))
	// forget lets go of what the arguments hold.
	forget()
}

// EncodeArgs writes the arguments.
func (c *asked) EncodeArgs(e *jelly.Encoder) error { return c.args.encode(e, c.method) }

// BeforeNote says that the reader has the call.
func (c *asked) BeforeNote() { c.noting.Store(true) }

// Note hands on a note that the method sent before its answer.
func (c *asked) Note(d *jelly.Decoder) {
	defer c.noting.Store(false)
	if c.notes == nil {
		return
	}
	// On the connection's reader, which must go on whatever the function and the hooks of the note's type do.
	err := guard.Run(func() error {
		v, err := d.DecodeAny()
		if err == nil {
			c.notes(v)
		}
		return nil
	})
	if err != nil {
		c.notes = nil
		c.whole.notesFailed(err)
	}
}

// logNotes logs that the function for the notes failed.
func (c *Conn) logNotes(err error) { c.around.logHook("the function given to WithNotes", err) }

// dropUnsent ends the streams among the arguments of a call that is not sent.
func (c *asked) dropUnsent(conn *Conn, cause error) {
	var with *surroundings
	if conn != nil {
		with = conn.around
	}
	c.args.each(func(a any) { with.dropUnsent(a, cause) })
}

// broken is the call's error if its result can not be read.
func (c *asked) broken(conn *Conn, err error) error {
	conn.around.logHook("decoding a result", err)
	return wrapCall(c.method, conn.name, Executed, fmt.Errorf("the result: %w", err))
}

// decodeResult reads a result; who wants a struct{} wants none.
func decodeResult[T any](d *jelly.Decoder, into *T) error {
	if _, unwanted := any(into).(*struct{}); unwanted {
		return d.Skip()
	}
	return d.Decode(into)
}

// anyArgs are arguments of any types.
type anyArgs []any

func (p *anyArgs) encode(e *jelly.Encoder, method string) error {
	e.EncodeArrayLen(len(*p))
	for i, a := range *p {
		if err := e.Encode(a); err != nil {
			return wrongArgument(method, i+1, err)
		}
	}
	return nil
}

func (p *anyArgs) boxed() []any {
	for _, a := range *p {
		if _, ok := a.(promise); ok {
			return *p
		}
	}
	return nil
}

func (p *anyArgs) each(f func(any)) {
	for _, a := range *p {
		f(a)
	}
}

func (p *anyArgs) forget() { *p = nil }

// valueArgs are arguments that only reflection knows: Bind's.
type valueArgs []reflect.Value

func (p *valueArgs) encode(e *jelly.Encoder, method string) error {
	e.EncodeArrayLen(len(*p))
	for i, v := range *p {
		if err := e.EncodeValue(v); err != nil {
			return wrongArgument(method, i+1, err)
		}
	}
	return nil
}

func (p *valueArgs) boxed() []any {
	for _, v := range *p {
		if a, ok := reflect.TypeAssert[promise](v); !ok || a == nil {
			continue
		}
		boxed := make([]any, len(*p))
		for i, v := range *p {
			boxed[i] = v.Interface()
		}
		return boxed
	}
	return nil
}

func (p *valueArgs) each(f func(any)) {
	for _, v := range *p {
		f(v.Interface())
	}
}

func (p *valueArgs) forget() { *p = nil }

func wrongArgument(method string, n int, err error) error {
	return prefix.Errorf("pb: argument %d of %s: %w", n, method, err)
}

// do makes a call and waits for its answer.
func do[R, P any, Q interface {
	*P
	arguments
}](ctx context.Context, on Target, method string, args P) (R, error) {
	if r, ok := on.(*RemoteReference); ok && r != nil {
		if v, ok, err := doDirect[R, P, Q](ctx, r, method, args); ok {
			return v, err
		}
	}
	c := newCall[R, P, Q](method, args)
	c.flags = broker.FlagFinal
	c.begin(ctx, on, waitCtx)
	return c.wait(ctx)
}

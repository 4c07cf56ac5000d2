package pb

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"

	"perspective/broker"
	"perspective/internal/guard"
	"perspective/internal/prefix"
	"perspective/jelly"
	"perspective/pb/internal/typed"
)

// asked is what a call knows that does not depend on the type of its result: half of a
// broker.Question.
type asked struct {
	wire   broker.Call
	method string
	flags  uint64
	args   typed.Args
	notes  *noteTaker  // nil: there is none
	noting atomic.Bool // the reader is about to call Note, or in it
}

// A noteTaker gets the notes of one call.
type noteTaker struct {
	take  func(any)
	whole interface{ notesFailed(error) } // the call, if one could not be taken
}

// noted has whole get the notes that are asked for by ctx, if any are.
func (c *asked) noted(ctx context.Context, whole interface{ notesFailed(error) }) {
	if f := notesOf(ctx); f != nil {
		c.notes = &noteTaker{f, whole}
	}
}

// EncodeArgs writes the arguments.
func (c *asked) EncodeArgs(e *jelly.Encoder) error {
	if n, err := c.args.Encode(e); err != nil {
		return prefix.Errorf("pb: argument %d of %s: %w", n, c.method, err)
	}
	return nil
}

// BeforeNote says that the reader has the call.
func (c *asked) BeforeNote() { c.noting.Store(true) }

// Note hands on a note that the method sent before its answer.
func (c *asked) Note(d *jelly.Decoder) {
	defer c.noting.Store(false)
	to := c.notes
	if to == nil {
		return
	}
	// On the connection's reader, which must go on whatever the function and the hooks of the
	// note's type do.
	err := guard.Run(func() error {
		v, err := d.DecodeAny()
		if err == nil {
			to.take(v)
		}
		return nil
	})
	if err != nil {
		c.notes = nil
		to.whole.notesFailed(err)
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
	c.args.Each(func(a any) { with.dropUnsent(a, cause) })
}

// broken is the call's error if its result can not be read.
func (c *asked) broken(conn *Conn, err error) error {
	conn.around.logHook("decoding a result", err)
	return wrapCall(c.method, conn.name, Executed, fmt.Errorf("the result: %w", err))
}

// decodeResult reads a result; a caller that wants a struct{} wants none.
func decodeResult[T any](d *jelly.Decoder, into *T) error {
	if _, unwanted := any(into).(*struct{}); unwanted {
		return d.Skip()
	}
	return d.Decode(into)
}

// anyArgs are arguments of any types.
type anyArgs []any

func (p *anyArgs) Encode(e *jelly.Encoder) (n int, err error) {
	e.EncodeArrayLen(len(*p))
	for i, a := range *p {
		if err := e.Encode(a); err != nil {
			return i + 1, err
		}
	}
	return 0, nil
}

func (p *anyArgs) Boxed(look func(any) bool) []any {
	if slices.ContainsFunc(*p, look) {
		return *p
	}
	return nil
}

func (p *anyArgs) Each(f func(any)) {
	for _, a := range *p {
		f(a)
	}
}

func (p *anyArgs) Forget() { *p = nil }

// valueArgs are arguments that only reflection knows: Bind's.
type valueArgs []reflect.Value

func (p *valueArgs) Encode(e *jelly.Encoder) (n int, err error) {
	e.EncodeArrayLen(len(*p))
	for i, v := range *p {
		if err := e.EncodeValue(v); err != nil {
			return i + 1, err
		}
	}
	return 0, nil
}

func (p *valueArgs) Boxed(func(any) bool) []any {
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

func (p *valueArgs) Each(f func(any)) {
	for _, v := range *p {
		f(v.Interface())
	}
}

func (p *valueArgs) Forget() { *p = nil }

// isPromise reports whether a is a Deferred: those are looked at before a call is sent.
func isPromise(a any) bool {
	_, ok := a.(promise)
	return ok
}

// do makes a call and waits for its answer.
func do[R, P any, Q interface {
	*P
	typed.Args
}](ctx context.Context, on Target, method string, args P) (R, error) {
	if r, ok := on.(*RemoteReference); ok && r != nil && r.conn.node.Observe == nil {
		if v, ok, err := doDirect[R, P, Q](ctx, r, method, args); ok {
			return v, err
		}
	}
	c := newCall[R, P, Q](method, args)
	c.flags = broker.FlagFinal
	c.begin(ctx, on, waitCtx)
	return c.wait(ctx)
}

package pb

import (
	"context"
	"reflect"

	"perspective/jelly"
)

// Do1 is [Do] with one argument whose type the compiler knows, which saves the allocations of handing it on as any. For
// its type the same holds as there.
func Do1[R, A any](ctx context.Context, on Target, method string, a A) (R, error) {
	return do[R](ctx, on, method, args1[A]{a})
}

// Do2 is Do1 with two arguments.
func Do2[R, A, B any](ctx context.Context, on Target, method string, a A, b B) (R, error) {
	return do[R](ctx, on, method, args2[A, B]{a, b})
}

// Do3 is Do1 with three arguments.
func Do3[R, A, B, C any](ctx context.Context, on Target, method string, a A, b B, c C) (R, error) {
	return do[R](ctx, on, method, args3[A, B, C]{a, b, c})
}

// Do4 is Do1 with four arguments.
func Do4[R, A, B, C, D any](ctx context.Context, on Target, method string, a A, b B, c C, d D) (R, error) {
	return do[R](ctx, on, method, args4[A, B, C, D]{a, b, c, d})
}

// Call1 is [Call] with one argument whose type the compiler knows, as [Do1] is Do.
func Call1[R, A any](ctx context.Context, on Target, method string, a A) *Deferred[R] {
	return start[R](ctx, on, method, args1[A]{a})
}

// Call2 is Call1 with two arguments.
func Call2[R, A, B any](ctx context.Context, on Target, method string, a A, b B) *Deferred[R] {
	return start[R](ctx, on, method, args2[A, B]{a, b})
}

// Call3 is Call1 with three arguments.
func Call3[R, A, B, C any](ctx context.Context, on Target, method string, a A, b B, c C) *Deferred[R] {
	return start[R](ctx, on, method, args3[A, B, C]{a, b, c})
}

// Call4 is Call1 with four arguments.
func Call4[R, A, B, C, D any](ctx context.Context, on Target, method string, a A, b B, c C, d D) *Deferred[R] {
	return start[R](ctx, on, method, args4[A, B, C, D]{a, b, c, d})
}

// seen reports whether an argument is one that a call has to look at: a Deferred.
func seen[T any](v *T) bool {
	switch reflect.TypeFor[T]().Kind() {
	case reflect.Pointer, reflect.Interface: // the kinds that any holds without an allocation
		_, ok := any(*v).(promise)
		return ok
	}
	return false
}

func encodeArg[T any](e *jelly.Encoder, method string, n int, v *T) error {
	if err := e.EncodeValue(reflect.ValueOf(v).Elem()); err != nil {
		return wrongArgument(method, n, err)
	}
	return nil
}

type args1[A any] struct{ a A }

func (p *args1[A]) encode(e *jelly.Encoder, method string) error {
	e.EncodeArrayLen(1)
	return encodeArg(e, method, 1, &p.a)
}

func (p *args1[A]) boxed() []any {
	if seen(&p.a) {
		return []any{p.a}
	}
	return nil
}

func (p *args1[A]) each(f func(any)) {
	f(p.a)
}

func (p *args1[A]) forget() { *p = args1[A]{} }

type args2[A, B any] struct {
	a A
	b B
}

func (p *args2[A, B]) encode(e *jelly.Encoder, method string) error {
	e.EncodeArrayLen(2)
	if err := encodeArg(e, method, 1, &p.a); err != nil {
		return err
	}
	return encodeArg(e, method, 2, &p.b)
}

func (p *args2[A, B]) boxed() []any {
	if seen(&p.a) || seen(&p.b) {
		return []any{p.a, p.b}
	}
	return nil
}

func (p *args2[A, B]) each(f func(any)) {
	f(p.a)
	f(p.b)
}

func (p *args2[A, B]) forget() { *p = args2[A, B]{} }

type args3[A, B, C any] struct {
	a A
	b B
	c C
}

func (p *args3[A, B, C]) encode(e *jelly.Encoder, method string) error {
	e.EncodeArrayLen(3)
	if err := encodeArg(e, method, 1, &p.a); err != nil {
		return err
	}
	if err := encodeArg(e, method, 2, &p.b); err != nil {
		return err
	}
	return encodeArg(e, method, 3, &p.c)
}

func (p *args3[A, B, C]) boxed() []any {
	if seen(&p.a) || seen(&p.b) || seen(&p.c) {
		return []any{p.a, p.b, p.c}
	}
	return nil
}

func (p *args3[A, B, C]) each(f func(any)) {
	f(p.a)
	f(p.b)
	f(p.c)
}

func (p *args3[A, B, C]) forget() { *p = args3[A, B, C]{} }

type args4[A, B, C, D any] struct {
	a A
	b B
	c C
	d D
}

func (p *args4[A, B, C, D]) encode(e *jelly.Encoder, method string) error {
	e.EncodeArrayLen(4)
	if err := encodeArg(e, method, 1, &p.a); err != nil {
		return err
	}
	if err := encodeArg(e, method, 2, &p.b); err != nil {
		return err
	}
	if err := encodeArg(e, method, 3, &p.c); err != nil {
		return err
	}
	return encodeArg(e, method, 4, &p.d)
}

func (p *args4[A, B, C, D]) boxed() []any {
	if seen(&p.a) || seen(&p.b) || seen(&p.c) || seen(&p.d) {
		return []any{p.a, p.b, p.c, p.d}
	}
	return nil
}

func (p *args4[A, B, C, D]) each(f func(any)) {
	f(p.a)
	f(p.b)
	f(p.c)
	f(p.d)
}

func (p *args4[A, B, C, D]) forget() { *p = args4[A, B, C, D]{} }

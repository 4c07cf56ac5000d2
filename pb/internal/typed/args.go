// Package typed has what package pb and package adapt share and no program may use: arguments
// and methods in the types that the compiler knows.
package typed

import (
	"reflect"

	"perspective/jelly"
)

// Args are the arguments of a call. They lie in one piece of memory with the call.
type Args interface {
	// Encode writes the array of the arguments. n says which one, from 1, an error is about.
	Encode(e *jelly.Encoder) (n int, err error)
	// Boxed gives the arguments as any, or nil if look finds none that has to be looked at
	// before the call is sent.
	Boxed(look func(any) bool) []any
	// Each calls f with each argument.
	Each(f func(any))
	// Forget lets go of what the arguments hold.
	Forget()
}

// Fixed are the Args of this package: a program can make no others.
type Fixed interface {
	Args
	fixed()
}

// seen reports whether look finds v. Only what any holds without an allocation is looked at.
func seen[T any](v *T, look func(any) bool) bool {
	switch reflect.TypeFor[T]().Kind() {
	case reflect.Pointer, reflect.Interface:
		return look(*v)
	}
	return false
}

func encode[T any](e *jelly.Encoder, v *T) error { return e.EncodeValue(reflect.ValueOf(v).Elem()) }

// Args1 is one argument.
type Args1[A any] struct{ a A }

// Of1 makes Args1.
func Of1[A any](a A) Args1[A] { return Args1[A]{a} }

func (*Args1[A]) fixed() {}

// Encode writes the array.
func (p *Args1[A]) Encode(e *jelly.Encoder) (n int, err error) {
	e.EncodeArrayLen(1)
	return 1, encode(e, &p.a)
}

// Boxed asks look.
func (p *Args1[A]) Boxed(look func(any) bool) []any {
	if seen(&p.a, look) {
		return []any{p.a}
	}
	return nil
}

// Each calls f.
func (p *Args1[A]) Each(f func(any)) {
	f(p.a)
}

// Forget empties p.
func (p *Args1[A]) Forget() { *p = Args1[A]{} }

// Args2 are two arguments.
type Args2[A, B any] struct {
	a A
	b B
}

// Of2 makes Args2.
func Of2[A, B any](a A, b B) Args2[A, B] { return Args2[A, B]{a, b} }

func (*Args2[A, B]) fixed() {}

// Encode writes the array.
func (p *Args2[A, B]) Encode(e *jelly.Encoder) (n int, err error) {
	e.EncodeArrayLen(2)
	if err := encode(e, &p.a); err != nil {
		return 1, err
	}
	return 2, encode(e, &p.b)
}

// Boxed asks look.
func (p *Args2[A, B]) Boxed(look func(any) bool) []any {
	if seen(&p.a, look) || seen(&p.b, look) {
		return []any{p.a, p.b}
	}
	return nil
}

// Each calls f.
func (p *Args2[A, B]) Each(f func(any)) {
	f(p.a)
	f(p.b)
}

// Forget empties p.
func (p *Args2[A, B]) Forget() { *p = Args2[A, B]{} }

// Args3 are three arguments.
type Args3[A, B, C any] struct {
	a A
	b B
	c C
}

// Of3 makes Args3.
func Of3[A, B, C any](a A, b B, c C) Args3[A, B, C] { return Args3[A, B, C]{a, b, c} }

func (*Args3[A, B, C]) fixed() {}

// Encode writes the array.
func (p *Args3[A, B, C]) Encode(e *jelly.Encoder) (n int, err error) {
	e.EncodeArrayLen(3)
	if err := encode(e, &p.a); err != nil {
		return 1, err
	}
	if err := encode(e, &p.b); err != nil {
		return 2, err
	}
	return 3, encode(e, &p.c)
}

// Boxed asks look.
func (p *Args3[A, B, C]) Boxed(look func(any) bool) []any {
	if seen(&p.a, look) || seen(&p.b, look) || seen(&p.c, look) {
		return []any{p.a, p.b, p.c}
	}
	return nil
}

// Each calls f.
func (p *Args3[A, B, C]) Each(f func(any)) {
	f(p.a)
	f(p.b)
	f(p.c)
}

// Forget empties p.
func (p *Args3[A, B, C]) Forget() { *p = Args3[A, B, C]{} }

// Args4 are four arguments.
type Args4[A, B, C, D any] struct {
	a A
	b B
	c C
	d D
}

// Of4 makes Args4.
func Of4[A, B, C, D any](a A, b B, c C, d D) Args4[A, B, C, D] {
	return Args4[A, B, C, D]{a, b, c, d}
}

func (*Args4[A, B, C, D]) fixed() {}

// Encode writes the array.
func (p *Args4[A, B, C, D]) Encode(e *jelly.Encoder) (n int, err error) {
	e.EncodeArrayLen(4)
	if err := encode(e, &p.a); err != nil {
		return 1, err
	}
	if err := encode(e, &p.b); err != nil {
		return 2, err
	}
	if err := encode(e, &p.c); err != nil {
		return 3, err
	}
	return 4, encode(e, &p.d)
}

// Boxed asks look.
func (p *Args4[A, B, C, D]) Boxed(look func(any) bool) []any {
	if seen(&p.a, look) || seen(&p.b, look) || seen(&p.c, look) || seen(&p.d, look) {
		return []any{p.a, p.b, p.c, p.d}
	}
	return nil
}

// Each calls f.
func (p *Args4[A, B, C, D]) Each(f func(any)) {
	f(p.a)
	f(p.b)
	f(p.c)
	f(p.d)
}

// Forget empties p.
func (p *Args4[A, B, C, D]) Forget() { *p = Args4[A, B, C, D]{} }

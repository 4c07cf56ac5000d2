package typed

import (
	"context"
	"reflect"
	"runtime"
	"strings"

	"perspective/jelly"
)

// A Method is one method of O as the compiler knows it. It holds no object.
type Method[O any] struct{ Plan }

// A Plan is a Method of any type.
type Plan struct {
	Name   string       // in Go
	Of     string       // the method that it calls, if that can be told
	Viewer reflect.Type // of a View method
	Params []reflect.Type
	Value  reflect.Type // NoValue: the method gives only an error
	// New makes the memory of one call. It may be used for many, one after another.
	New func() *Call
}

// NoValue is what a method gives that gives no value.
var NoValue = reflect.TypeFor[struct{}]()

// Adapt is package pb's: it has the methods of t called by these plans. name and where say what
// was called for that, for its panics.
var Adapt func(t reflect.Type, name, where string, plans []*Plan)

// A Call is where what a method takes and gives lies during a call.
type Call struct {
	Seat Seat // of a View method
	Args []Place
	// Run takes what lies in Seat and Args, and fills Result.
	Run    func(obj any, ctx context.Context) error
	Result Result
}

// A Place is where one argument lies during a call.
type Place interface {
	Decode(d *jelly.Decoder, types *jelly.Registry) error
	Value() any
	Empty()
	typ() reflect.Type
}

// A Seat is where the avatar lies during a call of a View method.
type Seat interface {
	Take(avatar any) bool
	Empty()
	typ() reflect.Type
}

// A Result is where what the method gave lies.
type Result interface {
	Encode(e *jelly.Encoder, types *jelly.Registry) error
	Value() any
	Empty()
}

// An arg is the place of an argument of type T.
type arg[T any] struct {
	v     T
	codec *jelly.Codec[T] // of the default registry; that of all calls
}

func (a *arg[T]) Decode(d *jelly.Decoder, types *jelly.Registry) error {
	if types != nil {
		return d.Decode(&a.v)
	}
	return a.codec.Decode(d, &a.v)
}

func (a *arg[T]) Value() any        { return a.v }
func (a *arg[T]) Empty()            { a.v = *new(T) }
func (a *arg[T]) typ() reflect.Type { return reflect.TypeFor[T]() }

// A result is the place of a result of type T.
type result[T any] struct {
	v     T
	codec *jelly.Codec[T] // as that of an arg
}

func (r *result[T]) Encode(e *jelly.Encoder, types *jelly.Registry) error {
	if types != nil {
		return e.EncodeValue(reflect.ValueOf(&r.v).Elem())
	}
	return r.codec.Encode(e, &r.v)
}

func (r *result[T]) Value() any { return r.v }
func (r *result[T]) Empty()     { r.v = *new(T) }

// A seat is the seat of an avatar of type V.
type seat[V any] struct{ v V }

func (s *seat[V]) Take(avatar any) (ok bool) {
	s.v, ok = avatar.(V)
	return ok
}

func (s *seat[V]) Empty()            { s.v = *new(V) }
func (s *seat[V]) typ() reflect.Type { return reflect.TypeFor[V]() }

// newMethod describes a method that gives an R; struct{} is no value. f is what the program gave
// for it. ready gives a call its places, and returns what runs the method with what lies in them.
func newMethod[O, R any](
	name string, f any, ready func(*Call) func(O, context.Context) (R, error),
) Method[O] {
	codec := jelly.For[R](nil)
	p := Plan{Name: name, Of: methodOf(f, reflect.TypeFor[O]()), Value: reflect.TypeFor[R]()}
	p.New = func() *Call {
		c, out := &Call{}, &result[R]{codec: codec}
		run := ready(c)
		c.Result = out
		c.Run = func(obj any, ctx context.Context) (err error) {
			out.v, err = run(obj.(O), ctx)
			return err
		}
		return c
	}
	sample := p.New()
	if sample.Seat != nil {
		p.Viewer = sample.Seat.typ()
	}
	for _, a := range sample.Args {
		p.Params = append(p.Params, a.typ())
	}
	return Method[O]{p}
}

// around has m, which calls f by a function around it, know what f is.
func (m Method[O]) around(f any) Method[O] {
	m.Of = methodOf(f, reflect.TypeFor[O]())
	return m
}

// methodOf gives the name of the method of t that f is, written as an expression such as
// (*Board).RemotePost. It gives none for other functions, and for a method that the compiler begins
// with another's code.
func methodOf(f any, t reflect.Type) string {
	at, _ := runtime.CallersFrames([]uintptr{reflect.ValueOf(f).Pointer()}).Next()
	if at.Func == nil { // the name would be the other's
		return ""
	}
	// without the package
	_, name, _ := strings.Cut(at.Function[strings.LastIndexByte(at.Function, '/')+1:], ".")
	receiver := t.Name()
	if t.Kind() == reflect.Pointer {
		receiver = "(*" + t.Elem().Name() + ")"
	}
	name, ok := strings.CutPrefix(name, receiver+".")
	if !ok || strings.Contains(name, ".") { // a function inside a method
		return ""
	}
	return name
}

package pb

import (
	"context"
	"fmt"
	"reflect"
	"sync"
)

// Bind returns an S whose functions call methods on on. S is a struct of exported fields, each a
// function of one of these forms, with any number of arguments, of which the last may be variadic:
//
//	func(ctx context.Context, args...) error
//	func(ctx context.Context, args...) (T, error)
//	func(ctx context.Context, args...) *pb.Deferred[T]
//
// The first two wait, as Do does; the third returns at once, as Call does. The method's name is
// that of the field, or what the field's tag says: `pb:"getUsers"`. Nothing is sent by Bind itself,
// and whether the object has the methods shows when they are called. The functions may be called by
// many goroutines.
//
//	type Board struct {
//		Post  func(ctx context.Context, author, text string) error
//		Count func(ctx context.Context) (int, error)
//	}
//	board := pb.Bind[Board](ref)
//
// Bind panics if S has another form, or on is nil.
func Bind[S any](on Target) *S {
	if on == nil {
		panic("pb: Bind: the target is nil")
	}
	s := new(S)
	v := reflect.ValueOf(s).Elem()
	for i, f := range boundFields(v.Type()) {
		v.Field(i).Set(f.bind(on, callReflect))
	}
	return s
}

// A deferredMaker starts a call that fires a Deferred. *Deferred[T] is one, also when it is nil: it
// makes another.
type deferredMaker interface {
	newCall(ctx context.Context, on Target, method string, args []any) any
}

// A boundField says how one field of a bound struct calls.
type boundField struct {
	typ    reflect.Type
	method string
	result reflect.Type  // what is waited for; nil: nothing but the error
	maker  deferredMaker // not nil: the result is a Deferred
}

var boundStructs sync.Map // reflect.Type -> []boundField

func boundFields(t reflect.Type) []boundField {
	if kept, ok := boundStructs.Load(t); ok {
		return kept.([]boundField)
	}
	if t.Kind() != reflect.Struct || t.NumField() == 0 {
		panic(fmt.Sprintf("pb: Bind[%s]: not a struct of functions", t))
	}
	fields := make([]boundField, t.NumField())
	for i := range fields {
		f, why := newBoundField(t.Field(i))
		if why != "" {
			panic(fmt.Sprintf("pb: Bind[%s]: field %s %s", t, t.Field(i).Name, why))
		}
		fields[i] = f
	}
	boundStructs.Store(t, fields)
	return fields
}

// newBoundField returns how sf calls, or what is wrong with it.
func newBoundField(sf reflect.StructField) (boundField, string) {
	f := boundField{typ: sf.Type, method: sf.Name}
	if tag, ok := sf.Tag.Lookup("pb"); ok {
		f.method = tag
	}
	ft := sf.Type
	switch {
	case !sf.IsExported() || sf.Anonymous:
		return f, "is not an exported field of its own"
	case f.method == "" || len(f.method) > maxMethodName:
		return f, fmt.Sprintf("has a tag that is no method's name: 1 to %d bytes", maxMethodName)
	case ft.Kind() != reflect.Func:
		return f, "is not a function"
	case ft.NumIn() == 0 || ft.In(0) != contextType || ft.IsVariadic() && ft.NumIn() == 1:
		return f, "does not take a context.Context first"
	}
	for i := 1; i < ft.NumIn(); i++ {
		p := ft.In(i)
		if ft.IsVariadic() && i == ft.NumIn()-1 {
			p = p.Elem()
		}
		if why := uncrossable(p); why != "" {
			return f, fmt.Sprintf("takes a %s, which %s", p, why)
		}
	}
	switch n := ft.NumOut(); {
	case n == 1 && ft.Out(0) == errorType:
	case n == 2 && ft.Out(1) == errorType:
		f.result = ft.Out(0)
		if why := uncrossable(f.result); why != "" {
			return f, fmt.Sprintf("returns a %s, which %s", f.result, why)
		}
	case n == 1:
		f.maker, _ = reflect.TypeAssert[deferredMaker](reflect.Zero(ft.Out(0)))
		if f.maker == nil {
			return f, "must return an error, a value and an error, or a *pb.Deferred"
		}
	default:
		return f, "must return an error, a value and an error, or a *pb.Deferred"
	}
	return f, ""
}

// A waitingCall calls a method and waits for the answer. result is nil if only the error is wanted.
type waitingCall func(
	ctx context.Context, on Target, method string, args []reflect.Value, result reflect.Type,
) (reflect.Value, error)

// bind returns a function of f's type that calls on on, by way of call where it waits.
func (f boundField) bind(on Target, call waitingCall) reflect.Value {
	return reflect.MakeFunc(f.typ, func(in []reflect.Value) []reflect.Value {
		ctx, _ := reflect.TypeAssert[context.Context](in[0])
		args := f.arguments(in[1:])
		if f.maker != nil {
			plain := make([]any, len(args))
			for i, a := range args {
				plain[i] = a.Interface()
			}
			return []reflect.Value{reflect.ValueOf(f.maker.newCall(ctx, on, f.method, plain))}
		}
		v, err := call(ctx, on, f.method, args, f.result)
		failed := reflect.New(errorType).Elem()
		if err != nil {
			failed.Set(reflect.ValueOf(err))
		}
		switch {
		case f.result == nil:
			return []reflect.Value{failed}
		case err != nil || !v.IsValid():
			v = reflect.Zero(f.result)
		}
		return []reflect.Value{v, failed}
	})
}

// arguments returns in with the values of a variadic parameter one by one.
func (f boundField) arguments(in []reflect.Value) []reflect.Value {
	if !f.typ.IsVariadic() {
		return in
	}
	last := in[len(in)-1]
	args := in[: len(in)-1 : len(in)-1]
	for i := range last.Len() {
		args = append(args, last.Index(i))
	}
	return args
}

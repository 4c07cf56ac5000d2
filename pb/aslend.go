package pb

import (
	"fmt"
	"reflect"
)

// A lent object is one that its program did not write for peers, seen through an interface.
type lent struct {
	obj reflect.Value
	as  reflect.Type
}

// JellyReference marks a lent object as a value that crosses by reference.
func (*lent) JellyReference() {}

// AsReferenceable returns a value that crosses by reference in obj's place, so that peers may call
// the methods of the interface I on it, under their own names, and no others:
//
//	type Clock interface{ Now(ctx context.Context) (time.Time, error) }
//	root := pb.AsReferenceable[Clock](clock)
//
// Methods of I have the shape that every method for peers has: a context.Context first, an error
// last. If obj is a pointer, lending it twice by the same interface is lending one object: a peer
// gets the same reference. Embedding Concurrent or Serial in obj counts.
//
// AsReferenceable panics if I is not an interface with exported methods, if one of them has another
// shape or if obj is nil.
func AsReferenceable[I any](obj I) any {
	as := reflect.TypeFor[I]()
	if as.Kind() != reflect.Interface {
		panic(fmt.Sprintf("pb: AsReferenceable[%s]: not an interface; name one with just the "+
			"methods that peers may call", as))
	}
	if !hasExportedMethod(as) {
		panic(fmt.Sprintf("pb: AsReferenceable[%s]: the interface has no exported methods, so "+
			"peers could call nothing", as))
	}
	v := reflect.ValueOf(obj)
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic(fmt.Sprintf("pb: AsReferenceable[%s]: nil cannot be lent", as))
	}
	l := &lent{obj: v, as: as}
	if _, err := surfaceOf(l); err != nil {
		panic(err.Error())
	}
	return l
}

func hasExportedMethod(t reflect.Type) bool {
	for i := range t.NumMethod() {
		if t.Method(i).IsExported() {
			return true
		}
	}
	return false
}

// lentIdentity is what makes two lent objects one.
type lentIdentity struct {
	as  reflect.Type
	obj any // a pointer
}

// identityOf returns the key under which a table of exported objects keeps obj: equal for what is
// one object to peers. It is always a pointer or made of pointers, so it is safe as a key of a map.
func identityOf(obj any) any {
	l, ok := obj.(*lent)
	if !ok || l.obj.Kind() != reflect.Pointer {
		return obj
	}
	return lentIdentity{l.as, l.obj.Interface()}
}

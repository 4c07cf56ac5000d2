package jelly

import (
	"reflect"
	"unsafe"
)

// All use of unsafe is here. The rules named are those of the documentation of unsafe.Pointer.
//
// A plan is made from a reflect.Type and works on places. That a place holds a value of its plan's
// type is seen to where a place is made: from a *T whose plan is that of T, from a reflect.Value
// whose type was compared, or from the place of a struct, array, slice or pointer, whose type says
// what lies where. Nothing keeps a place longer than the call that got it, and as an unsafe.Pointer
// it keeps alive what it points into.

// A place is the address of a Go value.
type place unsafe.Pointer

// placeOf is the place of *v. Rule 1: a *T may become an unsafe.Pointer.
func placeOf[T any](v *T) place { return place(unsafe.Pointer(v)) }

// at is what stands at p, which holds a T or a type of the same memory layout: one whose underlying
// type is T, or a slice of another element type where only the head is touched. Rule 1.
func at[T any](p place) *T { return (*T)(unsafe.Pointer(p)) }

// inside is the place offset bytes on in the same value or the same array. Rule 3; it never leads
// past the last element.
func inside(p place, offset uintptr) place { return place(unsafe.Add(unsafe.Pointer(p), offset)) }

// addressOf is the place of v, which has an address. Rule 5: UnsafeAddr is converted where it is
// called.
func addressOf(v reflect.Value) place { return place(unsafe.Pointer(v.UnsafeAddr())) }

// pointee is the place that v, a pointer that is not nil, leads to. Rule 5.
func pointee(v reflect.Value) place { return place(v.UnsafePointer()) }

// valueAt is the value of type t at p, with an address and settable. Rule 1, for a type known to
// reflect alone.
func valueAt(t reflect.Type, p place) reflect.Value {
	return reflect.NewAt(t, unsafe.Pointer(p)).Elem()
}

// pointerAt is a *T to the value of type t, which is T, at p.
func pointerAt(t reflect.Type, p place) any {
	return reflect.NewAt(t, unsafe.Pointer(p)).Interface()
}

// pointerWord is the pointer that stands at p, nil or not, whatever it points to. Rule 1: all
// pointers have one layout.
func pointerWord(p place) *place { return (*place)(unsafe.Pointer(p)) }

// elementsAt is the first element and the length of the slice at p; first is nil if the slice is.
// Rule 1: slices of all types have one layout, and a slice of nothing claims no memory behind it.
func elementsAt(p place) (first place, n int) {
	s := *at[[]struct{}](p)
	return place(unsafe.Pointer(unsafe.SliceData(s))), len(s)
}

// setElements makes the slice at p one of n elements from first on. As elementsAt.
func setElements(p, first place, n int) {
	*at[[]struct{}](p) = unsafe.Slice((*struct{})(unsafe.Pointer(first)), n)
}

// array is the n values of type T from first on, which lie in one slice or array. Rule 1, as at.
func array[T any](first place, n int) []T { return unsafe.Slice((*T)(unsafe.Pointer(first)), n) }

// newWords allocates size bytes of zero for values without pointers; the collector does not look
// into them. Words are aligned for every such type. Rule 1: the memory is as large as what is put
// there.
func newWords(size uintptr) place {
	return place(unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8))))
}

// newValue allocates a zero value of p's type.
func (p *Plan) newValue() place {
	if p.flat {
		return newWords(p.size)
	}
	return place(reflect.New(p.typ).UnsafePointer())
}

// newElements makes the slice at s, of type t and with elements of p's type, one of n zero
// elements.
func (p *Plan) newElements(t reflect.Type, s place, n int) (first place) {
	if p.flat || n == 0 {
		first = newWords(uintptr(n) * p.size)
		setElements(s, first, n)
		return first
	}
	v := valueAt(t, s) // grown in place: MakeSlice would allocate a head besides
	v.SetZero()
	v.Grow(n)
	v.SetLen(n)
	v.SetCap(n)
	return place(v.UnsafePointer())
}

// growElements makes the slice at s, which newElements made with done elements, one of n; those
// behind are zero.
func (p *Plan) growElements(t reflect.Type, s place, done, n int) (first place) {
	if p.flat {
		from, _ := elementsAt(s)
		first = newWords(uintptr(n) * p.size)
		size := done * int(p.size)
		copy(array[byte](first, size), array[byte](from, size))
		setElements(s, first, n)
		return first
	}
	made := reflect.MakeSlice(t, n, n)
	reflect.Copy(made, valueAt(t, s))
	valueAt(t, s).Set(made)
	return place(made.UnsafePointer())
}

// wipe makes the value at v zero.
func (p *Plan) wipe(v place) {
	if p.flat {
		clear(array[byte](v, int(p.size)))
		return
	}
	valueAt(p.typ, v).SetZero()
}

// pointerFree says whether values of type t hold no pointers.
func pointerFree(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() == 0 || pointerFree(t.Elem())
	case reflect.Struct:
		for f := range t.Fields() {
			if !pointerFree(f.Type) {
				return false
			}
		}
		return true
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return true
	}
	return false
}

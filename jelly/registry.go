package jelly

import (
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

// A Registry knows types by name. A nil *Registry stands for the default one, which [Register]
// fills; the zero value is empty and ready, and falls back to the default one. Any number of
// goroutines may use it at once. It needs no ending.
type Registry struct {
	// Closed keeps the types of the default registry out. It is set before first use. Zero: they
	// are known here too.
	Closed bool

	mu    sync.Mutex // held while a type is registered
	table atomic.Pointer[typeTable]
	plans atomic.Pointer[planCache]
}

// A typeTable is never changed once others see it.
type typeTable struct {
	byName map[string]*registered
	byType map[reflect.Type]*registered
}

type registered struct {
	name string
	typ  reflect.Type
	head []byte // the head of a map of one entry, and its key

	standIn bool // what arrives where an interface stands is what it stands for
}

var (
	defaultRegistry Registry
	noTypes         typeTable
	// generation counts the registrations in all registries. A plan made under an older count is
	// not used again.
	generation atomic.Uint64
)

// Register gives T a name in the default registry, so that values of T and *T cross by copy. T is a
// type defined by the program, neither a pointer nor an interface. The name is 1 to 255 bytes of
// printable UTF-8; it is what other processes know the type by, so it should outlive the Go name
// ("geom.Point"). Register panics if the name or T is taken, or T cannot cross; it is for init
// functions and package variables.
func Register[T any](name string) { RegisterIn[T](nil, name) }

// RegisterIn is Register for another registry.
func RegisterIn[T any](r *Registry, name string) {
	r.orDefault().register(reflect.TypeFor[T](), name)
}

func (r *Registry) orDefault() *Registry {
	if r == nil {
		return &defaultRegistry
	}
	return r
}

func (r *Registry) types() *typeTable {
	if t := r.table.Load(); t != nil {
		return t
	}
	return &noTypes
}

func (r *Registry) register(t reflect.Type, name string) {
	if why := unfit(t, name); why != "" {
		panic("jelly: register " + t.String() + " as " + strconv.Quote(name) + ": " + why)
	}
	r.add(t, name)
}

// add is register for a type that was looked at.
func (r *Registry) add(t reflect.Type, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.named([]byte(name)); other != nil {
		panic("jelly: register " + t.String() + " as " + strconv.Quote(name) +
			": the name is taken by " + other.typ.String())
	}
	if other := r.registered(t); other != nil {
		panic("jelly: register " + t.String() + " as " + strconv.Quote(name) +
			": it is registered as " + strconv.Quote(other.name))
	}
	old := r.types()
	next := &typeTable{
		byName: make(map[string]*registered, len(old.byName)+1),
		byType: make(map[reflect.Type]*registered, len(old.byType)+1),
	}
	for _, known := range old.byName {
		next.byName[known.name], next.byType[known.typ] = known, known
	}
	head := append(appendExt([]byte{fixMap | 1}, extName, len(name)), name...)
	added := &registered{
		name:    name,
		typ:     t,
		head:    head,
		standIn: reflect.PointerTo(t).Implements(typeStandIn),
	}
	next.byName[name], next.byType[t] = added, added
	r.table.Store(next)
	generation.Add(1)
}

// unfit says why t cannot be registered under name, or nothing.
func unfit(t reflect.Type, name string) string {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return "a name has 1 to 255 bytes of UTF-8"
	}
	for _, c := range name {
		if !unicode.IsPrint(c) {
			return "a name has printable characters only"
		}
	}
	switch t {
	case typeTime, typeDuration, typeBigInt:
		return "it has a form of its own and crosses without a name"
	}
	switch t.Kind() {
	case reflect.Interface, reflect.Pointer:
		return "register the type itself, not a pointer or an interface"
	case reflect.Chan, reflect.Func, reflect.Uintptr, reflect.UnsafePointer, reflect.Complex64,
		reflect.Complex128:
		if !reflect.PointerTo(t).Implements(typeCustom) {
			return "a " + t.Kind().String() + " cannot cross"
		}
	}
	switch {
	case t.PkgPath() == "":
		return "only types that a package defines can have a name"
	case t.Implements(typeReference) || reflect.PointerTo(t).Implements(typeReference):
		return "it crosses by reference"
	}
	return ""
}

// named returns the type of that name, or nil.
func (r *Registry) named(name []byte) *registered {
	if found := r.types().byName[string(name)]; found != nil {
		return found
	}
	if r.Closed || r == &defaultRegistry {
		return nil
	}
	return defaultRegistry.types().byName[string(name)]
}

// registered returns what t is registered as, or nil.
func (r *Registry) registered(t reflect.Type) *registered {
	if found := r.types().byType[t]; found != nil {
		return found
	}
	if r.Closed || r == &defaultRegistry {
		return nil
	}
	return defaultRegistry.types().byType[t]
}

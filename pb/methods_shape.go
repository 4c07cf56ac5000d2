package pb

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"perspective/jelly"
)

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
	promiseType = reflect.TypeFor[promise]()
)

// A method is one row of a surface: a Go method of the right shape and how to call it.
type method struct {
	name     string // for peers: without the prefix
	goName   string
	flavour  *flavour
	index    int // in the surface
	fn       reflect.Value
	receiver reflect.Type
	viewer   reflect.Type   // the avatar's parameter, or nil
	params   []reflect.Type // those that the peer gives; of a variadic method the last is a slice
	variadic bool
	result   reflect.Type // nil: no result; a *Deferred[T]: answered when it fires
	deferred bool         // result is a *Deferred[T]
	fails    bool         // the last result is an error
	// kept: the memory of an argument or of the result may be kept, so frames are not used again.
	kept bool

	frames sync.Pool // of frame
}

// newMethod checks that gm, a method of the concrete type t, has the shape that peers can call.
func newMethod(t reflect.Type, gm reflect.Method, name string, f *flavour) (*method, error) {
	m := &method{
		name:     name,
		goName:   gm.Name,
		flavour:  f,
		fn:       gm.Func,
		receiver: t,
		variadic: gm.Type.IsVariadic(),
	}
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("pb: method %s of %s cannot be called by peers: %s", gm.Name, t,
			fmt.Sprintf(format, args...))
	}
	if len(name) > maxMethodName {
		return nil, wrong("its name is longer than %d bytes", maxMethodName)
	}
	if err := m.takeParams(gm.Type, f.viewer); err != "" {
		return nil, wrong("%s", err)
	}
	if err := m.takeResults(gm.Type); err != "" {
		return nil, wrong("%s", err)
	}
	m.kept = m.result != nil && jelly.MayKeep(m.result) ||
		slices.ContainsFunc(m.params, jelly.MayKeep)
	m.frames.New = func() any { return newFrame(m) }
	return m, nil
}

// takeParams reads the parameters of ft, whose first is the receiver, and returns what is wrong
// with them.
func (m *method) takeParams(ft reflect.Type, viewer bool) string {
	if ft.NumIn() < 2 || ft.In(1) != contextType {
		return "its first parameter must be a context.Context"
	}
	next := 2
	if viewer {
		if ft.NumIn() < 3 || m.variadic && ft.NumIn() == 3 {
			return "its second parameter must be the avatar of the caller, for it is a View method"
		}
		m.viewer = ft.In(2)
		next++
	}
	for ; next < ft.NumIn(); next++ {
		p := ft.In(next)
		elem := p
		if m.variadic && next == ft.NumIn()-1 {
			elem = p.Elem()
		}
		if why := uncrossable(elem); why != "" {
			return fmt.Sprintf("parameter %d, %s, %s", next-1, elem, why)
		}
		m.params = append(m.params, p)
	}
	return ""
}

// takeResults reads the results of ft and returns what is wrong with them.
func (m *method) takeResults(ft reflect.Type) string {
	const want = "its results must be an error, a value and an error, or a *pb.Deferred with or " +
		"without an error"
	n := ft.NumOut()
	m.fails = n > 0 && ft.Out(n-1) == errorType
	switch {
	case n == 1 && m.fails:
		return ""
	case n == 1 && !ft.Out(0).Implements(promiseType), n != 1 && !(n == 2 && m.fails):
		return want
	}
	m.result = ft.Out(0)
	m.deferred = m.result.Kind() == reflect.Pointer && m.result.Implements(promiseType)
	crosses := m.result
	if m.deferred {
		crosses = reflect.Zero(m.result).Interface().(promise).valueType()
	}
	if why := uncrossable(crosses); why != "" {
		return fmt.Sprintf("its result, %s, %s", crosses, why)
	}
	return ""
}

// uncrossable says why no value of type t can ever cross, or returns "". What a type needs besides,
// such as a registration, is known only when a value crosses.
func uncrossable(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Uintptr, reflect.Complex64,
		reflect.Complex128:
		return "cannot cross a connection"
	case reflect.Struct:
		ref := reflect.TypeFor[jelly.Reference]()
		if !t.Implements(ref) && reflect.PointerTo(t).Implements(ref) {
			return "is passed by value; take a pointer to it"
		}
	}
	return ""
}

package pb

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// An Adaptor is one method of O as the compiler knows it, so that peers' calls to it need no reflection. It comes from
// Func0 to Func4, Proc0 to Proc4 and View0 to View4, and is handed to [Adapt]. It holds no object. O is a pointer to a
// type that is exported, or an interface by which objects are lent.
type Adaptor[O any] struct{ adaptor }

// An adaptor is an Adaptor of any type.
type adaptor struct {
	goName   string
	of       string       // the method that it calls, if that can be told
	viewer   reflect.Type // of a View method
	params   []reflect.Type
	value    reflect.Type // noValue: the method gives only an error
	newFrame func(*method) frame
}

// Adapt has the methods of all O that are given here called without reflection. Nothing else changes: which methods
// peers may call, what they may pass and what they are told stays as it is, and methods that are not given here are
// called by reflection. It is meant for init functions, and for what pb gen writes:
//
//	func init() {
//		pb.Adapt(
//			pb.Func1("RemoteCount", (*Board).RemoteCount),
//			pb.Proc2("RemotePost", (*Board).RemotePost),
//		)
//	}
//
// For an interface O it is objects lent by AsReferenceable[O] that are called so.
//
// Adapt panics if peers cannot call one of the methods or it has other types, if a name is given with another of
// these methods, if objects of O have been exported already, and if O has been adapted before. What a function around a
// method calls is not known, nor always what a method is that consists of a call of another.
func Adapt[O any](methods ...Adaptor[O]) {
	t := reflect.TypeFor[O]()
	byName := make(map[string]*adaptor, len(methods))
	for i := range methods {
		a := &methods[i].adaptor
		if byName[a.goName] != nil {
			panic(fmt.Sprintf("pb: Adapt[%s]: method %s is given twice", t, a.goName))
		}
		byName[a.goName] = a
	}
	if err := checkAdaptors(t, byName); err != nil {
		panic(fmt.Sprintf("pb: Adapt[%s]: %v", t, err))
	}
	if isExported(t) {
		panic(fmt.Sprintf("pb: Adapt[%s]: objects of this type have been exported already; call Adapt in an init function", t))
	}
	_, file, line, _ := runtime.Caller(1)
	if first, again := adapted.LoadOrStore(t, &adaptors{byName, file, line}); again {
		first := first.(*adaptors)
		panic(fmt.Sprintf("pb: Adapt[%s]: called a second time, first at %s:%d; give all methods at once", t, first.file, first.line))
	}
}

// adapted holds the adaptors of each type. It is filled by init functions.
var adapted sync.Map // reflect.Type -> *adaptors

// adaptors are those of a type, and where Adapt was called for it.
type adaptors struct {
	byName map[string]*adaptor // by the names of their methods in Go
	file   string
	line   int
}

// isExported reports whether there is a surface of t, made without adaptors.
func isExported(t reflect.Type) (found bool) {
	surfaces.Range(func(key, _ any) bool {
		k := key.(surfaceKey)
		found = k.lentAs == t || k.lentAs == nil && k.typ == t
		return !found
	})
	return found
}

// checkAdaptors says what is wrong with adaptors for the methods of t.
func checkAdaptors(t reflect.Type, byName map[string]*adaptor) error {
	find := methodsOf
	if t.Kind() == reflect.Interface {
		find = interfaceMethods
	}
	found, err := find(surfaceKey{typ: t})
	if err != nil {
		return err
	}
	for name, a := range byName {
		named := func(name string) int {
			return slices.IndexFunc(found, func(m *method) bool { return m.goName == name })
		}
		i := named(name)
		if i < 0 {
			return fmt.Errorf("peers can call no method %s; the name is the one in Go, such as RemotePost", name)
		}
		if a.of != name && named(a.of) >= 0 { // methods that peers cannot call may stand around one
			return fmt.Errorf("the function given for method %s is method %s", name, a.of)
		}
		if err := a.fits(found[i]); err != nil {
			return err
		}
	}
	return nil
}

// interfaceMethods returns the methods of the interface key.typ, to be looked at but not to be called.
func interfaceMethods(key surfaceKey) ([]*method, error) {
	var found []*method
	for gm := range key.typ.Methods() {
		if !gm.IsExported() {
			continue
		}
		// Methods of interfaces lack the receiver.
		in := slices.AppendSeq([]reflect.Type{key.typ}, gm.Type.Ins())
		gm.Type = reflect.FuncOf(in, slices.Collect(gm.Type.Outs()), gm.Type.IsVariadic())
		m, err := newMethod(key.typ, gm, gm.Name, &flavour{})
		if err != nil {
			return nil, err
		}
		found = append(found, m)
	}
	return found, nil
}

// noValue is what a method gives that gives no value.
var noValue = reflect.TypeFor[struct{}]()

// fits says what is wrong with a as the adaptor of m.
func (a *adaptor) fits(m *method) error {
	switch {
	case m.variadic:
		return fmt.Errorf("method %s takes any number of arguments; only reflection calls it", m.goName)
	case a.viewer != m.viewer || !slices.Equal(a.params, m.params):
		return fmt.Errorf("method %s takes %s, the adaptor %s", m.goName, listTypes(m.viewer, m.params), listTypes(a.viewer, a.params))
	case a.value != m.result && !(a.value == noValue && m.result == nil):
		return fmt.Errorf("method %s returns %s, the adaptor %s", m.goName, nameType(m.result), nameType(a.value))
	}
	return nil
}

// methodOf gives the name of the method of t that f is, written as an expression such as (*Board).RemotePost. It gives
// none for other functions, and for a method that the compiler begins with another's code.
func methodOf(f any, t reflect.Type) string {
	at, _ := runtime.CallersFrames([]uintptr{reflect.ValueOf(f).Pointer()}).Next()
	if at.Func == nil { // the name would be the other's
		return ""
	}
	_, name, _ := strings.Cut(at.Function[strings.LastIndexByte(at.Function, '/')+1:], ".") // without the package
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

func listTypes(viewer reflect.Type, params []reflect.Type) string {
	var s strings.Builder
	s.WriteString("(context.Context")
	if viewer != nil {
		s.WriteString(", avatar " + viewer.String())
	}
	for _, t := range params {
		s.WriteString(", " + t.String())
	}
	s.WriteString(")")
	return s.String()
}

func nameType(t reflect.Type) string {
	if t == nil || t == noValue {
		return "no value"
	}
	return t.String()
}

// adapt gives the methods of key their adaptors.
func adapt(key surfaceKey, methods []*method) {
	t := key.typ
	if key.lentAs != nil {
		t = key.lentAs
	}
	kept, ok := adapted.Load(t)
	if !ok {
		return
	}
	for _, m := range methods {
		if a := kept.(*adaptors).byName[m.goName]; a != nil {
			m.frames.New = func() any { return a.newFrame(m) }
		}
	}
}

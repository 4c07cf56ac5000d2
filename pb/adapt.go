package pb

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"perspective/pb/internal/typed"
)

// The methods that package adapt is told are called by plans instead of reflection.

func init() { typed.Adapt = adaptMethods }

// adaptMethods has the methods of all t called by plans. It panics with name before what is wrong.
func adaptMethods(t reflect.Type, name, where string, plans []*typed.Plan) {
	byName := make(map[string]*typed.Plan, len(plans))
	for _, p := range plans {
		if byName[p.Name] != nil {
			panic(fmt.Sprintf("%s: method %s is given twice", name, p.Name))
		}
		byName[p.Name] = p
	}
	if err := checkPlans(t, byName); err != nil {
		panic(fmt.Sprintf("%s: %v", name, err))
	}
	if isExported(t) {
		panic(name +
			": objects of this type have been exported already; call it in an init function")
	}
	if first, again := adapted.LoadOrStore(t, &adaptors{byName, where}); again {
		panic(fmt.Sprintf("%s: called a second time, first at %s; give all methods at once", name,
			first.(*adaptors).where))
	}
}

// adapted holds the plans of each type. It is filled by init functions.
var adapted sync.Map // reflect.Type -> *adaptors

// adaptors are the plans of a type, and where they were given.
type adaptors struct {
	byName map[string]*typed.Plan // by the names of their methods in Go
	where  string
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

// checkPlans says what is wrong with plans for the methods of t.
func checkPlans(t reflect.Type, byName map[string]*typed.Plan) error {
	find := methodsOf
	if t.Kind() == reflect.Interface {
		find = interfaceMethods
	}
	found, err := find(surfaceKey{typ: t})
	if err != nil {
		return err
	}
	for name, p := range byName {
		named := func(name string) int {
			return slices.IndexFunc(found, func(m *method) bool { return m.goName == name })
		}
		i := named(name)
		if i < 0 {
			return fmt.Errorf(
				"peers can call no method %s; the name is the one in Go, such as RemotePost", name)
		}
		if p.Of != name && named(p.Of) >= 0 { // methods that peers cannot call may stand around one
			return fmt.Errorf("the function given for method %s is method %s", name, p.Of)
		}
		if err := fits(p, found[i]); err != nil {
			return err
		}
	}
	return nil
}

// interfaceMethods returns the methods of the interface key.typ, to be looked at but not to be
// called.
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

// fits says what is wrong with p as the plan of m.
func fits(p *typed.Plan, m *method) error {
	switch {
	case m.variadic:
		return fmt.Errorf("method %s takes any number of arguments; only reflection calls it",
			m.goName)
	case p.Viewer != m.viewer || !slices.Equal(p.Params, m.params):
		return fmt.Errorf("method %s takes %s, the adaptor %s", m.goName,
			listTypes(m.viewer, m.params), listTypes(p.Viewer, p.Params))
	case p.Value != m.result && !(p.Value == typed.NoValue && m.result == nil):
		return fmt.Errorf("method %s returns %s, the adaptor %s", m.goName, nameType(m.result),
			nameType(p.Value))
	}
	return nil
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
	if t == nil || t == typed.NoValue {
		return "no value"
	}
	return t.String()
}

// adapt gives the methods of key their plans.
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
		if p := kept.(*adaptors).byName[m.goName]; p != nil {
			m.frames.New = func() any { return newTypedFrame(m, p) }
		}
	}
}

package main

import (
	"fmt"
	"go/types"
)

// reachable says why the code to be written could not call m, or peers could not.
func (p *genPackage) reachable(m *genMethod) error {
	for i, param := range m.params {
		if why := p.unusable(param.typ); why != "" {
			return fmt.Errorf("parameter %d, %s, %s", i+1, param.typ, why)
		}
	}
	if m.viewer != nil {
		if why := p.unusable(m.viewer); why != "" {
			return fmt.Errorf("its avatar, %s, %s", m.viewer, why)
		}
	}
	if m.result != nil {
		if why := p.unusable(m.result); why != "" {
			return fmt.Errorf("its result, %s, %s", m.result, why)
		}
	}
	return nil
}

// unusable says what is wrong with t as a type of what crosses, or returns "".
func (p *genPackage) unusable(t types.Type) string {
	switch t := types.Unalias(t).(type) {
	case *types.Basic:
		switch t.Kind() {
		case types.Invalid:
			return "is not known"
		case types.Uintptr, types.UnsafePointer, types.Complex64, types.Complex128:
			return "cannot cross a connection"
		default: // the others cross
		}
	case *types.Chan, *types.Signature:
		return "cannot cross a connection"
	case *types.Struct:
		return "has no name, and a struct without one cannot cross"
	case *types.Pointer:
		return p.unusable(t.Elem())
	case *types.Slice:
		return p.unusable(t.Elem())
	case *types.Array:
		return p.unusable(t.Elem())
	case *types.Map:
		if why := p.unusable(t.Key()); why != "" {
			return why
		}
		return p.unusable(t.Elem())
	case *types.Named:
		return p.unusableNamed(t)
	}
	return ""
}

func (p *genPackage) unusableNamed(t *types.Named) string {
	if pkg := t.Obj().Pkg(); pkg != nil && pkg != p.types && !t.Obj().Exported() {
		return "is not exported by " + pkg.Path()
	}
	for arg := range t.TypeArgs().Types() {
		if why := p.unusable(arg); why != "" {
			return why
		}
	}
	switch t.Underlying().(type) {
	case *types.Basic, *types.Chan, *types.Signature:
		return p.unusable(t.Underlying())
	}
	return ""
}

// A clientType is how a parameter or result stands in the client.
type clientType struct {
	text string
	wrap string // what the value is handed to before it is sent
	same bool   // the type is that of the method
}

// A namer writes types as the file has them.
type namer interface{ name(t types.Type) string }

// paramType gives what a client passes for a parameter of type t: where the method takes an object
// of the caller's, a Deferred or a reference do as well, and so the parameter is any.
func paramType(w namer, t types.Type) clientType {
	switch {
	case isNamed(t, pbPath, "Target"), isPointerTo(t, pbPath, "RemoteReference"):
		return clientType{text: "any"}
	case isNamed(t, "io", "Reader"), isNamed(t, "io", "ReadCloser"):
		return clientType{text: "io.Reader", wrap: "pb.Reader"}
	case isNamed(t, "io", "Writer"), isNamed(t, "io", "WriteCloser"):
		return clientType{text: "io.Writer", wrap: "pb.Writer"}
	case byReference(t):
		return clientType{text: "pb.Target"} // the method's own object comes home
	}
	if of := deferredOf(t); of != nil {
		return clientType{text: "*pb.Deferred[" + resultType(w, of).text + "]"}
	}
	return elements(w, t, paramType)
}

// resultType gives what a client gets for a result of type t: a reference where the method gives an
// object.
func resultType(w namer, t types.Type) clientType {
	if byReference(t) {
		return clientType{text: "*pb.RemoteReference"}
	}
	return elements(w, t, resultType)
}

// elements is of for the elements of t, and t itself if it has none.
func elements(w namer, t types.Type, of func(namer, types.Type) clientType) clientType {
	var elem clientType
	var text string
	switch c := types.Unalias(t).(type) {
	case *types.Slice:
		elem = of(w, c.Elem())
		text = "[]" + elem.text
	case *types.Array:
		elem = of(w, c.Elem())
		text = fmt.Sprintf("[%d]%s", c.Len(), elem.text)
	case *types.Map:
		elem = of(w, c.Elem())
		text = "map[" + w.name(c.Key()) + "]" + elem.text
	}
	if text == "" || elem.same || elem.wrap != "" { // a stream among elements is made by the caller
		return clientType{text: w.name(t), same: true}
	}
	return clientType{text: text}
}

// byReference reports whether values of t cross as references to objects of the program's.
func byReference(t types.Type) bool {
	if _, ok := types.Unalias(t).(*types.Pointer); !ok || deferredOf(t) != nil ||
		isPointerTo(t, pbPath, "RemoteReference") {
		return false
	}
	return hasMethod(types.NewMethodSet(t), "JellyReference")
}

func hasMethod(set *types.MethodSet, name string) bool {
	for s := range set.Methods() {
		if s.Obj().Name() == name {
			return true
		}
	}
	return false
}

func isPointerTo(t types.Type, path, name string) bool {
	p, ok := types.Unalias(t).(*types.Pointer)
	return ok && isNamed(p.Elem(), path, name)
}

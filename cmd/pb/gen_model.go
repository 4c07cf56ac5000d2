package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	pbPath    = "perspective/pb"
	adaptPath = "perspective/pb/adapt"
)

// A genType is a type to write code for.
type genType struct {
	name    string
	face    bool // an interface
	methods []*genMethod
}

// A genMethod is a method that peers may call.
type genMethod struct {
	goName   string
	name     string // for peers
	client   string // in the client
	viewer   types.Type
	params   []genParam
	variadic bool       // the last parameter is a slice
	result   types.Type // nil: none; of a Deferred, what it fires with
	deferred types.Type // the *pb.Deferred that it returns, if it does
	fails    bool       // the last result is an error
}

// A genParam is a parameter that a peer gives.
type genParam struct {
	name string
	typ  types.Type
}

// find gives the named type of p.
func (p *genPackage) find(name string) (*genType, error) {
	obj, ok := p.types.Scope().Lookup(name).(*types.TypeName)
	switch {
	case !ok:
		return nil, fmt.Errorf("package %s has no such type", p.types.Path())
	case !obj.Exported():
		return nil, errors.New(
			"not exported, so no other package could use its client; write it with a capital")
	case obj.IsAlias():
		return nil, errors.New("an alias; name the type itself")
	}
	named := obj.Type().(*types.Named)
	if named.TypeParams().Len() > 0 {
		return nil, errors.New("a generic type; objects of it are called by reflection")
	}
	for _, made := range []string{name + "Client", "New" + name + "Client"} {
		if other := p.types.Scope().Lookup(made); other != nil {
			return nil, fmt.Errorf(
				"%s is declared already; rename it, or remove what was generated before", made)
		}
	}
	t := &genType{name: name, face: types.IsInterface(named)}
	found, err := t.callable(named)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		m, err := newGenMethod(f)
		if err == nil {
			err = p.reachable(m)
		}
		if err != nil {
			if p.wrong != nil {
				return nil, fmt.Errorf("method %s: %w (%w)", f.method.Name(), err, p.wrong)
			}
			return nil, fmt.Errorf("method %s: %w", f.method.Name(), err)
		}
		t.methods = append(t.methods, m)
	}
	return t, t.checkNames()
}

// A genFound is a method found, and how peers call it.
type genFound struct {
	method *types.Func
	name   string
	viewer bool
}

// flavours are the marks of what is embedded, with the prefix of the methods that peers may then
// call.
var flavours = []struct {
	mark, prefix string
	viewer       bool
}{{"isReferenceable", "Remote", false}, {"isViewable", "View", true},
	{"isAvatar", "Perspective", false}}

// callable gives the methods of named that peers may call, sorted as they are listed for peers.
func (t *genType) callable(named *types.Named) (found []genFound, err error) {
	if t.face {
		face := named.Underlying().(*types.Interface)
		for m := range face.Methods() {
			if m.Exported() {
				found = append(found, genFound{method: m, name: m.Name()})
			}
		}
		if len(found) == 0 {
			return nil,
				errors.New("an interface without exported methods; peers could call nothing")
		}
		return found, nil
	}
	set := types.NewMethodSet(types.NewPointer(named))
	flavoured := false
	for _, f := range flavours {
		if !hasMark(set, f.mark) {
			continue
		}
		flavoured = true
		for s := range set.Methods() {
			m := s.Obj().(*types.Func)
			if name, ok := calledAs(m.Name(), f.prefix); ok {
				found = append(found, genFound{method: m, name: name, viewer: f.viewer})
			}
		}
	}
	switch {
	case !flavoured:
		return nil, errors.New(
			"embeds neither pb.Referenceable nor pb.Viewable nor pb.Avatar, and is no interface")
	case len(found) == 0:
		return nil, errors.New("has no method for peers, such as RemoteGet")
	}
	slices.SortFunc(found, func(a, b genFound) int { return cmp.Compare(a.name, b.name) })
	return found, nil
}

// hasMark reports whether one of the package pb's own methods is in set.
func hasMark(set *types.MethodSet, name string) bool {
	for s := range set.Methods() {
		if m := s.Obj(); m.Name() == name && m.Pkg() != nil && m.Pkg().Path() == pbPath {
			return true
		}
	}
	return false
}

// calledAs gives the name for peers of the method that Go calls name, if its prefix makes it one.
func calledAs(name, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	if r, _ := utf8.DecodeRuneInString(rest); !ok || rest == "" || unicode.IsLower(r) ||
		strings.Trim(rest, "_") == "" {
		return "", false
	}
	return rest, true
}

func newGenMethod(f genFound) (*genMethod, error) {
	m := &genMethod{goName: f.method.Name(), name: f.name, client: f.name}
	if !token.IsExported(m.client) || !token.IsIdentifier(m.client) {
		m.client = m.goName // Remote_x and Remote2 are names only as a whole
	}
	s := f.method.Signature()
	m.variadic = s.Variadic()
	params := slices.Collect(s.Params().Variables())
	if len(params) == 0 || !isNamed(params[0].Type(), "context", "Context") {
		return nil, errors.New("its first parameter must be a context.Context")
	}
	params = params[1:]
	if f.viewer {
		if len(params) == 0 || m.variadic && len(params) == 1 {
			return nil, errors.New(
				"its second parameter must be the avatar of the caller, for it is a View method")
		}
		m.viewer, params = params[0].Type(), params[1:]
	}
	for _, p := range params {
		m.params = append(m.params, genParam{p.Name(), p.Type()})
	}
	return m, m.takeResults(slices.Collect(s.Results().Variables()))
}

func (m *genMethod) takeResults(results []*types.Var) error {
	n := len(results)
	m.fails = n > 0 && types.Identical(results[n-1].Type(), types.Universe.Lookup("error").Type())
	if m.fails {
		results = results[:n-1]
	}
	switch {
	case len(results) == 0 && m.fails:
		return nil
	case len(results) != 1:
	default:
		m.result = results[0].Type()
		if of := deferredOf(m.result); of != nil {
			m.deferred, m.result = m.result, of
			return nil
		}
		if m.fails {
			return nil
		}
	}
	return errors.New("its results must be an error, a value and an error, or a *pb.Deferred " +
		"with or without an error")
}

// checkNames refuses what two methods of the client would be called, or two methods for peers.
func (t *genType) checkNames() error {
	folded, client := make(map[string]string), make(map[string]string)
	for _, m := range t.methods {
		f := strings.ToLower(strings.ToUpper(strings.ReplaceAll(m.name, "_", "")))
		if other := folded[f]; other != "" {
			return fmt.Errorf("methods %s and %s have one name for peers; rename one",
				other, m.goName)
		}
		folded[f] = m.goName
		for _, name := range []string{m.client, m.client + "Later"} {
			if other := client[name]; other != "" {
				return fmt.Errorf("the client would have %s twice, for %s and %s; rename one", name,
					other, m.goName)
			}
			client[name] = m.goName
		}
	}
	return nil
}

// deferredOf gives the T of a *pb.Deferred[T], nil for other types.
func deferredOf(t types.Type) types.Type {
	p, ok := types.Unalias(t).(*types.Pointer)
	if !ok || !isNamed(p.Elem(), pbPath, "Deferred") {
		return nil
	}
	return types.Unalias(p.Elem()).(*types.Named).TypeArgs().At(0)
}

// isNamed reports whether t is the type of that name, whatever its arguments.
func isNamed(t types.Type, path, name string) bool {
	n, ok := types.Unalias(t).(*types.Named)
	return ok && n.Obj().Name() == name && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == path
}

package pb

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"perspective/broker"
)

// A surface is what peers may call on the objects of one type: nothing that is not in its table can
// be reached. It is made once for each type and never changes.
type surface struct {
	typ        reflect.Type
	methods    []*method          // sorted by name
	names      []string           // of methods, in the same order
	exact      map[string]*method // by name as Go writes it, without the prefix
	folded     map[string]*method // by name without case and underscores
	discipline broker.Discipline
	serial     bool
}

// surfaces keeps each surface, or the error that stands for it, by what it is a surface of.
var surfaces sync.Map // surfaceKey -> *surface or error

// A surfaceKey names a type, and the interface by whose methods alone it is lent, if there is one.
type surfaceKey struct{ typ, lentAs reflect.Type }

// surfaceOf returns what may be called on obj, or an error that tells the programmer why obj cannot
// be exported.
func surfaceOf(obj any) (*surface, error) {
	if obj == nil {
		return nil, fmt.Errorf("pb: nil cannot be exported")
	}
	key := surfaceKey{typ: reflect.TypeOf(obj)}
	if l, ok := obj.(*lent); ok {
		key = surfaceKey{l.obj.Type(), l.as}
	} else if v := reflect.ValueOf(obj); v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, fmt.Errorf("pb: a nil %s cannot be exported", v.Type())
	}
	if kept, ok := surfaces.Load(key); ok {
		return surfaceOrError(kept)
	}
	var made any
	if s, err := newSurface(key); err != nil {
		made = err
	} else {
		made = s
	}
	kept, _ := surfaces.LoadOrStore(key, made)
	return surfaceOrError(kept)
}

func surfaceOrError(kept any) (*surface, error) {
	if err, ok := kept.(error); ok {
		return nil, err
	}
	return kept.(*surface), nil
}

func newSurface(key surfaceKey) (*surface, error) {
	s := &surface{
		typ:        key.typ,
		exact:      make(map[string]*method),
		folded:     make(map[string]*method),
		discipline: disciplineOf(key.typ),
		serial:     key.typ.Implements(reflect.TypeFor[serializer]()),
	}
	found, err := methodsOf(key)
	if err != nil {
		return nil, err
	}
	adapt(key, found)
	slices.SortFunc(found, func(a, b *method) int { return strings.Compare(a.name, b.name) })
	for _, m := range found {
		f := folded(m.name)
		if other := s.folded[f]; other != nil {
			return nil, fmt.Errorf(
				"pb: %s: methods %s and %s have one name for peers, who write it with or without "+
					"capitals and underscores; rename one", key.typ, other.goName, m.goName)
		}
		s.exact[m.name], s.folded[f] = m, m
		m.index = len(s.methods)
		s.methods = append(s.methods, m)
		s.names = append(s.names, m.name)
	}
	return s, nil
}

func methodsOf(key surfaceKey) ([]*method, error) {
	if key.lentAs != nil {
		return lentMethods(key)
	}
	t := key.typ
	if !hasFlavour(t) {
		if t.Kind() == reflect.Struct && hasFlavour(reflect.PointerTo(t)) {
			return nil, fmt.Errorf("pb: %s passed by value; pass a pointer to it", t)
		}
		return nil,
			fmt.Errorf("pb: %s has no methods for peers; embed pb.Referenceable, or lend it with "+
				"pb.AsReferenceable", t)
	}
	if t.Kind() != reflect.Pointer {
		return nil, fmt.Errorf("pb: %s passed by value; pass a pointer to it", t)
	}
	var found []*method
	for i := range flavours {
		f := &flavours[i]
		if !t.Implements(f.mark) {
			continue
		}
		for j := range t.NumMethod() {
			name, ok := f.callable(t.Method(j).Name)
			if !ok {
				continue
			}
			m, err := newMethod(t, t.Method(j), name, f)
			if err != nil {
				return nil, err
			}
			found = append(found, m)
		}
	}
	return found, nil
}

// lentMethods returns the methods of the interface key.lentAs, as key.typ has them.
func lentMethods(key surfaceKey) ([]*method, error) {
	var found []*method
	for i := range key.lentAs.NumMethod() {
		name := key.lentAs.Method(i).Name
		gm, ok := key.typ.MethodByName(name)
		if !ok {
			continue // not exported
		}
		m, err := newMethod(key.typ, gm, name, &flavour{})
		if err != nil {
			return nil, err
		}
		found = append(found, m)
	}
	return found, nil
}

// callable says whether peers of f may call the method that Go calls name, and how they call it. As
// with the names of tests, RemoteGet is callable and Remotely is not.
func (f *flavour) callable(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, f.prefix)
	if !ok || rest == "" {
		return "", false
	}
	if r, _ := utf8.DecodeRuneInString(rest); unicode.IsLower(r) || strings.Trim(rest, "_") == "" {
		return "", false
	}
	return rest, true
}

// lookup finds the method that a peer calls name, or nil. It does not allocate.
func (s *surface) lookup(name []byte) *method {
	if m := s.exact[string(name)]; m != nil {
		return m
	}
	if len(name) > maxMethodName {
		return nil
	}
	var buf [maxMethodName + 32]byte
	return s.folded[string(appendFolded(buf[:0], name))]
}

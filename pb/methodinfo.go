package pb

import (
	"reflect"
	"strings"
)

// A MethodInfo describes one method that peers may call.
type MethodInfo struct {
	// Name is what peers call, in the spelling of the Go source; capitals and underscores make no
	// difference to them.
	Name string
	// Prefix is what the Go name has in front: Remote, View or Perspective, or nothing for a lent
	// object.
	Prefix string
	// Params are the types of the arguments that a peer gives, as Go writes them; that of a
	// variadic method ends with "...T".
	Params []string
	// Result is the type of the result, "" if there is none. For a method that returns a Deferred
	// it is the type of its value.
	Result string
}

// String returns the method as "Name(types) result".
func (i MethodInfo) String() string {
	s := i.Name + "(" + strings.Join(i.Params, ", ") + ")"
	if i.Result != "" {
		s += " " + i.Result
	}
	return s
}

// Methods returns everything that peers may call on obj, sorted by name. It panics if obj cannot be
// exported, with the reason.
func Methods(obj any) []MethodInfo {
	s, err := surfaceOf(obj)
	if err != nil {
		panic(err.Error())
	}
	return s.infos()
}

func (s *surface) infos() []MethodInfo {
	infos := make([]MethodInfo, len(s.methods))
	for i, m := range s.methods {
		infos[i] = m.info()
	}
	return infos
}

func (m *method) info() MethodInfo {
	info := MethodInfo{
		Name:   m.name,
		Prefix: m.flavour.prefix,
		Params: make([]string, len(m.params)),
	}
	for i, t := range m.params {
		if m.variadic && i == len(m.params)-1 {
			info.Params[i] = "..." + typeName(t.Elem())
			continue
		}
		info.Params[i] = typeName(t)
	}
	switch {
	case m.deferred:
		info.Result = typeName(reflect.Zero(m.result).Interface().(promise).valueType())
	case m.result != nil:
		info.Result = typeName(m.result)
	}
	return info
}

// spelling puts the names that people write in place of those that reflect gives.
var spelling = strings.NewReplacer("interface {}", "any", "[]uint8", "[]byte")

func typeName(t reflect.Type) string { return spelling.Replace(t.String()) }

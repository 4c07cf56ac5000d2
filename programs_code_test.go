package perspective_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// programPackages are those that a program gives code to.
var programPackages = []string{"jelly", "cred", "broker", "pb", "pb/adapt",
	"pb/cluster", "pb/distrib"}

// TestProgramsCodeIsHeld has the compiler list every place where the module takes code from a
// program: functions, and values of interfaces, in fields, parameters and results of what a program
// writes. Each is in the table, with the test that has it panic and end its goroutine, or the
// reason why it needs none.
func TestProgramsCodeIsHeld(t *testing.T) {
	listed := map[string]bool{}
	for _, p := range loadTypes(t) {
		for _, place := range placesOf(p) {
			listed[place] = true
			if _, ok := programsCode[place]; !ok {
				t.Errorf("%s takes code from a program and is in no table: have it panic and end "+
					"its goroutine in a test and name it", place)
			}
		}
	}
	sources := map[string]string{}
	for place, held := range programsCode {
		if !listed[place] {
			t.Errorf("%s is in the table and takes no code", place)
		}
		if held.because != "" {
			continue
		}
		if _, ok := sources[held.file]; !ok {
			source, err := os.ReadFile(held.file)
			if err != nil {
				t.Fatal(err)
			}
			sources[held.file] = string(source)
		}
		if !strings.Contains(sources[held.file], `"`+held.entry+`"`) {
			t.Errorf("%s: %s has no entry %q", place, held.file, held.entry)
		}
	}
}

// loadTypes gives the packages' types as the compiler exported them.
func loadTypes(t *testing.T) []*types.Package {
	t.Helper()
	args := []string{"list", "-export", "-deps", "-json=ImportPath,Export"}
	for _, p := range programPackages {
		args = append(args, "./"+p)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	exports := map[string]string{}
	for in := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ ImportPath, Export string }
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
	}
	from := importer.ForCompiler(token.NewFileSet(), "gc", func(
		name string,
	) (io.ReadCloser, error) {
		return os.Open(exports[name])
	})
	var packages []*types.Package
	for _, name := range programPackages {
		p, err := from.Import(module + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	return packages
}

// placesOf names the places of p where a program's code comes in, in the order of their names.
func placesOf(p *types.Package) []string {
	var places []string
	add := func(t types.Type, format string, args ...any) {
		if isCode(t) {
			places = append(places, p.Name()+"."+fmt.Sprintf(format, args...))
		}
	}
	function := func(name string, s *types.Signature) {
		for v := range s.Params().Variables() {
			add(v.Type(), "%s(%s)", name, v.Name())
		}
	}
	for _, name := range p.Scope().Names() {
		o := p.Scope().Lookup(name)
		if !o.Exported() {
			continue
		}
		switch o := o.(type) {
		case *types.Func:
			function(name, o.Signature())
		case *types.Var:
			add(o.Type(), "%s", name)
		case *types.TypeName:
			if !o.IsAlias() {
				add(o.Type(), "%s", name)
			}
			if under, ok := o.Type().Underlying().(*types.Struct); ok {
				for f := range under.Fields() {
					if f.Exported() {
						add(f.Type(), "%s.%s", name, f.Name())
					}
				}
			}
			if types.IsInterface(o.Type()) {
				continue
			}
			methods := types.NewMethodSet(types.NewPointer(o.Type()))
			for m := range methods.Methods() {
				if f, ok := m.Obj().(*types.Func); ok && f.Exported() && len(m.Index()) == 1 {
					function(name+"."+f.Name(), f.Signature())
				}
			}
		}
	}
	slices.Sort(places)
	return places
}

// carriers are types of the standard library that carry a program's code.
var carriers = []string{"log/slog.Logger", "crypto/tls.Config", "net/http.Server",
	"net/http.Request", "os/exec.Cmd"}

// isCode tells whether a value of type t may be, or hold at once, a program's code.
func isCode(t types.Type) bool {
	switch t := t.(type) {
	case *types.TypeParam:
		return false // a value: the methods that are called on one are those of the interfaces
	case *types.Slice:
		return isCode(t.Elem())
	case *types.Map:
		return isCode(t.Elem())
	case *types.Pointer:
		return slices.Contains(carriers, types.TypeString(t.Elem(), nil))
	}
	switch under := t.Underlying().(type) {
	case *types.Signature:
		return true
	case *types.Interface:
		s := types.TypeString(t, nil)
		return !under.Empty() && s != "error" && s != "context.Context"
	}
	return false
}

package pb

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSentinelsHaveNamesHere shows that each sentinel of package broker is one of this package's
// too, so that a program needs no other import to test for it.
func TestSentinelsHaveNamesHere(t *testing.T) {
	files, err := filepath.Glob("../broker/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("files of package broker: %v, %v", files, err)
	}
	source, err := os.ReadFile("sentinels.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			vars, ok := d.(*ast.GenDecl)
			if !ok || vars.Tok != token.VAR {
				continue
			}
			for _, spec := range vars.Specs {
				for _, n := range spec.(*ast.ValueSpec).Names {
					// Calls are done in another way on ErrAnswered; cancelled ones are ErrCancelled
					// here.
					if !strings.HasPrefix(n.Name, "Err") || n.Name == "ErrAnswered" ||
						n.Name == "ErrCancelled" {
						continue
					}
					found++
					if !strings.Contains(string(source), "= broker."+n.Name+"\n") {
						t.Errorf("broker.%s has no name in sentinels.go", n.Name)
					}
				}
			}
		}
	}
	if found < 16 {
		t.Errorf("found %d sentinels of package broker, want 16 at least", found)
	}
	for _, err := range []error{ErrTooManyExports, ErrTooManyImports, ErrTooManyStreams} {
		if !errors.Is(err, ErrOverloaded) {
			t.Errorf("%v is no ErrOverloaded", err)
		}
	}
	if !errors.Is(&AbortError{}, ErrPeerClosed) {
		t.Error("an AbortError is no ErrPeerClosed")
	}
}

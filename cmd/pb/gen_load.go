package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A genPackage is a package as its source says, without the file that is about to be written.
type genPackage struct {
	types *types.Package
	// wrong is the first mistake in the source. There is nearly always one, for the source uses
	// what is not written yet, so it counts only where it touches a type that is asked for.
	wrong error
}

// listed is what go list tells of a package.
type listed struct {
	Dir, ImportPath   string
	GoFiles, CgoFiles []string
	Imports           []string
	Export            string // the file with the types that others see
	Error             *struct{ Err string }
}

// loadPackage reads the package in dir, all but the file without.
func loadPackage(ctx context.Context, dir, without string) (*genPackage, error) {
	// With -e a file that is no Go, such as what an earlier run was kept from writing, is only left
	// out.
	found, err := goList(ctx, dir, "-e", "-json=Dir,ImportPath,GoFiles,CgoFiles,Imports,Error", ".")
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("no Go package in %s", dir)
	}
	here := found[0]
	if here.Error != nil && len(here.GoFiles) == 0 {
		return nil, fmt.Errorf("no Go package in %s: %s", dir, here.Error.Err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range append(here.GoFiles, here.CgoFiles...) {
		if name == without {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(here.Dir, name), nil,
			parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no Go file in %s but %s", dir, without)
	}
	exports, err := listExports(ctx, here)
	if err != nil {
		return nil, err
	}
	p := &genPackage{}
	config := types.Config{
		Importer:    importer.ForCompiler(fset, "gc", exports.open),
		FakeImportC: true,
		Error: func(err error) {
			if p.wrong == nil {
				p.wrong = err
			}
		},
	}
	p.types, _ = config.Check(here.ImportPath, fset, files, nil) // mistakes go to Error
	return p, nil
}

// exports are the files that hold what each package shows to others, by its path.
type exports map[string]string

// listExports has the go command compile whatever p imports, if need be.
func listExports(ctx context.Context, p listed) (exports, error) {
	imports := make([]string, 0, len(p.Imports))
	for _, path := range p.Imports {
		if path != "C" && path != "unsafe" {
			imports = append(imports, path)
		}
	}
	e := make(exports)
	if len(imports) == 0 {
		return e, nil
	}
	args := append([]string{"-e", "-export", "-deps", "-json=ImportPath,Export", "--"}, imports...)
	all, err := goList(ctx, p.Dir, args...)
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if l.Export != "" {
			e[l.ImportPath] = l.Export
		}
	}
	return e, nil
}

func (e exports) open(path string) (io.ReadCloser, error) {
	file, ok := e[path]
	if !ok {
		return nil, fmt.Errorf("package %s does not compile, or is not there", path)
	}
	return os.Open(file)
}

// goList runs go list in dir.
func goList(ctx context.Context, dir string, args ...string) ([]listed, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list"}, args...)...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if text := strings.TrimSpace(stderr.String()); text != "" {
			return nil, fmt.Errorf("go list: %s", text)
		}
		return nil, fmt.Errorf("go list: %w", err)
	}
	var all []listed
	for in := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := in.Decode(&l); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		all = append(all, l)
	}
}

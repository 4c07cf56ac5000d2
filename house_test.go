package perspective_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// systems are those the rules are held on: a file built for one system only may break them as well
// as any other.
var systems = []string{"linux", "darwin", "windows"}

// TestHouse holds the rules of house_rules_test.go over every package of the module, on every
// system it is built for.
func TestHouse(t *testing.T) {
	watchFolders(t)
	for _, system := range systems {
		t.Run(system, func(t *testing.T) {
			if testing.Short() && system != runtime.GOOS {
				t.Skip("asks the go command once more")
			}
			packages := listPackages(t, system)
			if len(packages) == 0 {
				t.Fatal("go list named no package")
			}
			for _, p := range packages {
				for _, problem := range checkPackage(p) {
					t.Error(problem)
				}
			}
		})
	}
}

// listPackages asks the go command for the module's packages as the named system sees them.
func listPackages(t *testing.T, system string) []housePackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Imports", "./...")
	cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list for %s: %v\n%s", system, err, stderr.Bytes())
	}
	var packages []housePackage
	for in := json.NewDecoder(bytes.NewReader(out)); ; {
		var p housePackage
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// watchFolders walks the module. That tells the test cache which folders the tests of this package
// depend on, which the go command they run cannot.
func watchFolders(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && name != "." &&
			(strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// housePackage is what the rules need to know of a package; the names are go list's.
type housePackage struct {
	ImportPath string
	Name       string
	Imports    []string // of the product; tests may import anything
}

// checkPackage tells every rule about packages that p breaks.
func checkPackage(p housePackage) []string {
	if p.Name == "" {
		return nil // nothing but files of other systems, or of tests
	}
	var problems []string
	complain := func(format string, args ...any) {
		problems = append(problems, p.ImportPath+": "+fmt.Sprintf(format, args...))
	}
	for _, name := range []string{p.Name, path.Base(p.ImportPath)} {
		if slices.Contains(emptyNames, name) {
			complain("%q says nothing: name the package after what it is about", name)
			break
		}
	}
	room := roomOf(p.ImportPath)
	floor := floorOf(room)
	if floor == 0 {
		complain("stands on no floor: it needs a place in the table of floors")
		return problems
	}
	for _, imported := range p.Imports {
		if imported == module || strings.HasPrefix(imported, module+"/") {
			other := roomOf(imported)
			if below := floorOf(other); other != room && (below == 0 || below >= floor) {
				complain("imports %s, which is not below it", imported)
			}
			continue
		}
		if rooms, ruled := homeOf(imported); ruled && !slices.Contains(rooms, room) {
			if len(rooms) == 0 {
				complain("imports %s, which has no home: argue for it in docs/decisions.md and "+
					"give it one", imported)
			} else {
				complain("imports %s, whose home is %s", imported, strings.Join(rooms, ", "))
			}
		}
	}
	return problems
}

// roomOf gives the part of the house that a package belongs to. The packages of one room import
// each other freely.
func roomOf(importPath string) string {
	steps := strings.Split(strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/"), "/")
	switch steps[0] {
	case "pb", "cmd", "examples":
		if len(steps) > 1 && steps[1] != "internal" {
			return steps[0] + "/" + steps[1]
		}
	}
	return steps[0]
}

// floorOf gives the floor that a room is on, 0 if it has none.
func floorOf(room string) int {
	for _, f := range floors {
		if matched, _ := path.Match(f.rooms, room); matched {
			return f.floor
		}
	}
	return 0
}

// homeOf gives the rooms that may import a package from outside the module; ruled is false where
// any may. The longest entry decides.
func homeOf(imported string) (rooms []string, ruled bool) {
	for prefix := imported; prefix != "."; prefix = path.Dir(prefix) {
		if rooms, ok := homes[prefix]; ok {
			return rooms, true
		}
	}
	first, _, _ := strings.Cut(imported, "/")
	return nil, strings.Contains(first, ".") // the standard library is everybody's
}

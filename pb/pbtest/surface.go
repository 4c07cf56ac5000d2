package pbtest

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perspective/pb"
)

var update = flag.Bool("update", false, "write the surface files of pbtest anew")

// Surface fails the test if what peers may call on obj is not exactly what the
// file says, one method a line. The test's flag -update writes the file:
//
//	go test -run TestSurface -update
//
// Keep the file with the code: every change to what the outside can reach then
// shows in review.
func Surface(t testing.TB, obj any, file string) {
	t.Helper()
	var b strings.Builder
	for _, m := range pb.Methods(obj) {
		b.WriteString(m.Prefix + m.String() + "\n")
	}
	got := b.String()
	if *update {
		if err := writeFile(file, got); err != nil {
			t.Fatalf("Surface = %v", err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("there is no %s yet; make it with: go test -run %s -update", file, t.Name())
		}
		t.Fatalf("Surface = %v", err)
	}
	if added, gone := compare(got, string(want)); added+gone != "" {
		t.Errorf("what peers may call on a %T is not what %s says (-update if it is meant):\n%s%s",
			obj, file, gone, added)
	}
}

func writeFile(file, text string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o600)
}

// compare gives the lines that only one of the texts has, marked.
func compare(got, want string) (added, gone string) {
	in := func(text string) map[string]bool {
		lines := make(map[string]bool)
		for line := range strings.Lines(text) {
			lines[strings.TrimSpace(line)] = true
		}
		return lines
	}
	has, wants := in(got), in(want)
	for line := range strings.Lines(got) {
		if line = strings.TrimSpace(line); !wants[line] {
			added += "  + " + line + "\n"
		}
	}
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" && !has[line] {
			gone += "  - " + line + "\n"
		}
	}
	return added, gone
}

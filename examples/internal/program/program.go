// Package program builds the programs of an example and runs them as processes, for its test.
package program

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Programs are built commands in a folder of their own, which the test's end takes away. The zero
// value has none; Build makes it. Its methods are for the goroutine of the test.
type Programs struct {
	// Dir is the folder. What the test writes can go there too.
	Dir string

	t *testing.T
}

// Build builds the packages, which are named as go build names them. The test fails if they are not
// built.
func Build(t *testing.T, packages ...string) *Programs {
	t.Helper()
	p := &Programs{Dir: t.TempDir(), t: t}
	args := append([]string{"build", "-o", p.Dir + string(filepath.Separator)}, packages...)
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return p
}

// File is the path of a file in the folder.
func (p *Programs) File(name string) string { return filepath.Join(p.Dir, name) }

// Run runs a program to its end and gives all that it printed.
func (p *Programs) Run(name string, args ...string) (printed string, err error) {
	out, err := exec.CommandContext(p.t.Context(), p.File(name), args...).CombinedOutput()
	return string(out), err
}

// Start starts a program that prints a line when it is ready, and gives the line. It runs until the
// test ends.
func (p *Programs) Start(name string, args ...string) (line string) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), p.File(name), args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended with the test's ctx
		_ = cmd.Wait()
	})
	line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.t.Fatalf("%s printed %q and no line: %v", name, line, err)
	}
	return strings.TrimSpace(line)
}

package pb_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMemoryUnderAttack: server with the defaults, attacker and honest peer are processes of their
// own. The program fails if the server took 512 MiB or more. How long the honest peer waited says
// as much of the machine, so it is in the log alone; docs/security-measured.md has it of a quiet
// one.
func TestMemoryUnderAttack(t *testing.T) {
	if testing.Short() {
		t.Skip("some seconds of attacks")
	}
	if _, err := exec.LookPath("go"); err != nil {
		if os.Getenv("PERSPECTIVE_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	program := filepath.Join(t.TempDir(), "memory")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program,
		"./testdata/memory").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	rows := []string{"arguments", "slices", "answers", "streams"}
	out, err := exec.CommandContext(t.Context(), program,
		append([]string{"-time", "1s", "-wait", "0"}, rows...)...).CombinedOutput()
	t.Logf("%s", out)
	if err != nil || strings.Count(string(out), ": ok\n") != len(rows) {
		t.Errorf("%v, want %d lines that end in ok", err, len(rows))
	}
}

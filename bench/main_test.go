package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain is a child's main where the driver started this program as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-child" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestRun measures something of everything, with processes of its own.
func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.md")
	err := run([]string{"-contestants", "perspective,raw,netrpc,grpc", "-rounds", "1", "-slice",
		"5ms", "-idle", "5", "-quiet", "-markdown", file})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, notes, failed := strings.Cut(string(b), "### Not measured"); failed {
		t.Errorf("not everything was measured:%s", notes)
	}
	for _, table := range []string{"Goals of the first release", "Goals of the call engine",
		"Against the others",
		"Calls over tcp", "Calls over unix-pinned", "Calls over tls", "More work over tcp",
		"What a call costs, 64 callers, tcp", "What a call costs, one caller, tcp",
		"Bytes of a call", "An idle connection", "A page of 1 KiB"} {
		if !strings.Contains(string(b), "### "+table) {
			t.Errorf("there is no table %q", table)
		}
	}
	first, _, _ := strings.Cut(string(b), "### Goals of the call engine")
	if strings.Contains(first, "| –") {
		t.Errorf("a goal was not measured:\n%s", first)
	}
}

func TestReplace(t *testing.T) {
	const marks = "head\n" + begin + "\nold\n" + end + "\ntail\n"
	tests := []struct{ name, file, want string }{
		{"between", marks, "head\n" + begin + "\n\nnew\n\n" + end + "\ntail\n"},
		{"again", "head\n" + begin + "\n\nnew\n\n" + end + "\ntail\n",
			"head\n" + begin + "\n\nnew\n\n" + end + "\ntail\n"},
		{"no file", "", "new\n"},
		{"no marks", "old\n", "new\n"},
		{"no end", begin + "\nold\n", "new\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := string(replace([]byte(test.file), []byte("new\n"))); got != test.want {
				t.Errorf("replace = %q, want %q", got, test.want)
			}
		})
	}
}

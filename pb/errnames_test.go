package pb

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ownName is a name of this module's, or of what it takes from the standard library.
var ownName = regexp.MustCompile(`^(pb|broker|cred|jelly|context|io|os|errors)\.[A-Z]`)

// errorFieldsOf are the values of the error types, as builtinErrorTypes writes them.
var errorFieldsOf = map[string]string{
	"pb.NoSuchMethodError": "`[method, near]`: what was called, and names that are like it",
	"pb.ArgumentError":     "`[method, want, got]`: how many arguments",
	"jelly.TypeError":      "`[path, text]`: where in the arguments or the result",
	"jelly.ScanError":      "`[offset, text]`: where in the message, in bytes",
	"pb.InternalError":     "a panic; its text has the id under which the log of the answering side has it",
	"pb.CallError":         "a call that failed on its way, as the cause of another error",
	"pb.MalformedError":    "an error that has not this form",
}

// TestErrorNamesDocument: the table of the wire's specification has the names that cross, and no other.
func TestErrorNamesDocument(t *testing.T) {
	text := maps.Clone(errorFieldsOf)
	for _, e := range errorNames.all() {
		text[e.name] = e.sentinel.Error()
	}
	errorNames.mu.RLock()
	for name, e := range errorNames.byName {
		if e.typ != nil && ownName.MatchString(name) && text[name] == "" {
			t.Errorf("%s has no fields here", name)
		}
	}
	errorNames.mu.RUnlock()
	var rows []string
	for name, s := range text {
		if ownName.MatchString(name) && !strings.HasPrefix(name, "pb.surface") {
			rows = append(rows, fmt.Sprintf("| `%s` | %s |", name, s))
		}
	}
	slices.Sort(rows)
	want := "| name | text, or value |\n|---|---|\n" + strings.Join(rows, "\n") + "\n"
	doc, err := os.ReadFile("../docs/wire-native.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "\n"+want+"\n") {
		t.Errorf("docs/wire-native.md has not this table:\n%s", want)
	}
}

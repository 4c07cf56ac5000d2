package pb

import (
	"slices"
	"testing"
)

func TestNearIsReallyNear(t *testing.T) {
	names := []string{"Add", "Deposit", "GetUsers", "Open"}
	for _, c := range []struct {
		name string
		want []string
	}{
		{"Ad", []string{"Add"}},
		{"oepn", []string{"Open"}},
		{"opn", []string{"Open"}},
		{"OpenAll", []string{"Open"}},
		{"getUsrs", []string{"GetUsers"}},
		{"depossitt", []string{"Deposit"}},
		{"nope", nil}, // two edits from Open, of four letters
		{"x", nil},
		{"", nil},
		{"unknown", nil},
	} {
		if got := nearNames(c.name, names); !slices.Equal(got, c.want) {
			t.Errorf("nearNames(%q) = %q, want %q", c.name, got, c.want)
		}
	}
}

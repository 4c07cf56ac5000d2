package near

import "testing"

func TestIs(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"listne", "listen", true}, // neighbours swapped
		{"listen", "listen", true},
		{"wirte", "write", true},
		{"path", "paths", true},
		{"pat", "path", true},
		{"pa", "path", false},
		{"reed", "read", true},
		{"read", "write", false},
		{"", "read", false},
		{"", "", true},
		{"instnaecs", "instances", true},
		{"sandboxes", "sandbox", true},
	} {
		if got := Is(c.a, c.b); got != c.want {
			t.Errorf("Is(%q, %q) = %v", c.a, c.b, got)
		}
		if got := Is(c.b, c.a); got != c.want {
			t.Errorf("Is(%q, %q) = %v", c.b, c.a, got)
		}
	}
}

func TestEdits(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"post", "pots", 1},
		{"nope", "open", 2}, {"abc", "abc", 0}} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("edits(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := edits(c.b, c.a); got != c.want {
			t.Errorf("edits(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

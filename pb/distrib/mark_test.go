package distrib

import (
	"net/http"
	"strings"
	"testing"
)

const goodParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestTraceparents(t *testing.T) {
	for s, want := range map[string]bool{
		goodParent: true,
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00":                            true,
		"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":                            true,
		"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what":                       true,
		"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x":                           false,
		"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-" + strings.Repeat("x", 99): false,
		"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":                            false,
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-":                           false,
		"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":                            false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01":                            false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01":                            false,
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331":                               false,
		"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":                            false,
		"": false,
	} {
		if got := isTraceparent(s); got != want {
			t.Errorf("isTraceparent(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestTraceStates(t *testing.T) {
	for _, test := range []struct {
		fields []string
		want   string
	}{
		{nil, ""},
		{[]string{"a=1"}, "a=1"},
		{[]string{"a=1", "b=2,c=3"}, "a=1,b=2,c=3"},
		{[]string{"nothing"}, ""},
		{[]string{"a=\x80"}, ""},
		{[]string{"a=" + strings.Repeat("x", maxState-2)}, "a=" + strings.Repeat("x", maxState-2)},
		{[]string{"a=" + strings.Repeat("x", maxState-1)}, ""},
		{[]string{strings.Repeat("a=1,", maxStateKeys-1) + "a=1"},
			strings.Repeat("a=1,", maxStateKeys-1) + "a=1"},
		{[]string{strings.Repeat("a=1,", maxStateKeys) + "a=1"}, ""},
	} {
		if got := traceState(test.fields); got != test.want {
			t.Errorf("traceState(%q) = %q, want %q", test.fields, got, test.want)
		}
	}
}

// A mark takes one allocation, or one and none for what the client brought.
func TestMarks(t *testing.T) {
	own := newMark(http.Header{"X-Request-Id": {"mine"}, "Tracestate": {"a=1"}})
	if !isTraceparent(own.parent) || own.parent[3:35] != own.id || own.state != "" {
		t.Errorf("newMark() = %+v", own)
	}
	if again := newMark(nil); again.id == own.id || again.parent == own.parent {
		t.Errorf("newMark() = %+v twice", own)
	}
	h := http.Header{"Traceparent": {goodParent}, "Tracestate": {"a=1", "b=2"}}
	passed := newMark(h)
	if passed.parent != goodParent || passed.state != "a=1,b=2" || len(passed.id) != 32 ||
		strings.Contains(goodParent, passed.id) {
		t.Errorf("newMark() = %+v", passed)
	}
	h["Traceparent"] = append(h["Traceparent"], goodParent)
	if two := newMark(h); two.parent == goodParent || two.state != "" {
		t.Errorf("newMark() of two parents = %+v", two)
	}
}

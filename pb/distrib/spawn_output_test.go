package distrib

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func testPrinter(out *strings.Builder) (*printer, *lineWriter) {
	return newPrinter(&Part{Name: "p"}, func() int { return 7 }), &lineWriter{w: out}
}

func TestCopyLines(t *testing.T) {
	var out strings.Builder
	p, to := testPrinter(&out)
	in := "one\n\ntwo\x1b[1m\n" + strings.Repeat("x", defaultLine+10) + "\nlast"
	p.copyLines(to, strings.NewReader(in), true)
	want := "p: one\np: \np: two\\x1b[1m\np: " + strings.Repeat("x", defaultLine) + "\np: " +
		strings.Repeat("x", 10) + "\np: last\n"
	if out.String() != want {
		t.Errorf("copied %q, want %q", out.String(), want)
	}
}

// TestCopyLinesJSON reads what parts print as JSON: honest lines stay JSON, and none says that it
// is another part's.
func TestCopyLinesJSON(t *testing.T) {
	for in, want := range map[string]string{
		`{"msg":"request","n":1.50}`: `{"msg":"request","n":1.50,"part":"p","pid":7}`,
		`{ }`:                        `{"part":"p","pid":7}`,
		`{"part":"front","PID":1,"a":{"part":2}}`: `{"own_part":"front","own_PID":1,` +
			`"a":{"part":2},"part":"p","pid":7}`,
		`{"p\u0061rt":"front"}`:    `{"own_part":"front","part":"p","pid":7}`,
		"{\"a\":\"\u202e\u009b\"}": `{"a":"\u202e\u009b","part":"p","pid":7}`,
		"{\"a\":\r1}":              `{"a":1,"part":"p","pid":7}`,
		`{"a":1}{"part":"front"}`:  `p: {"a":1}{"part":"front"}`,
		`{"a":1} x`:                `p: {"a":1} x`,
		`{"a":`:                    `p: {"a":`,
		`["a"]`:                    `p: ["a"]`,
		` {"part":"front"}`:        `p:  {"part":"front"}`,
		`front: {"a":1}`:           `p: front: {"a":1}`,
		"{\"a\":\"\xff\"}":         "{\"a\":\"\ufffd\",\"part\":\"p\",\"pid\":7}",
	} {
		var out strings.Builder
		p, to := testPrinter(&out)
		p.copyLines(to, strings.NewReader(in+"\n"), true)
		if got := out.String(); got != want+"\n" {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
		if strings.HasPrefix(want, "{") && !json.Valid([]byte(out.String())) {
			t.Errorf("%q becomes %q, which is no JSON", in, out.String())
		}
	}
}

// TestOutputRate prints without end: what is over the rate is left out, counted and told, and at no
// time is more written.
func TestOutputRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		p, to := testPrinter(&out)
		p.rate = 1000
		const line = "0123456789012345678901234567890123456789012345678901234567890123456789\n"
		const lines = 100_000
		began := time.Now()
		p.copyLines(to, strings.NewReader(strings.Repeat(line, lines)), true)
		took := time.Since(began).Seconds()
		written, told := 0, 0
		for text := range strings.Lines(out.String()) {
			var n, size int
			if _, err := fmt.Sscanf(text,
				"p: [left out: %d lines, %d bytes", &n, &size); err == nil {
				told += n
				if size != n*len(line) {
					t.Errorf("%d lines of %d bytes told as %d bytes", n, len(line), size)
				}
				continue
			}
			written++
		}
		if written+told != lines {
			t.Errorf("%d lines written and %d told to be left out, want %d in all",
				written, told, lines)
		}
		if most := p.rate*(rateBurst+took) +
			float64(len(line)); float64(written*(len(line)+3)) > most {
			t.Errorf("%d bytes written in %v s, want at most %v", written*(len(line)+3), took, most)
		}
		if took < 0.5 {
			t.Errorf("%d bytes were thrown away in %v s, want the part held up",
				lines*len(line), took)
		}
	})
}

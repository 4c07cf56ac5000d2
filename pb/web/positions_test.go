package web

import (
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestPositions(t *testing.T) {
	text := strings.Join([]string{
		`# a = 1`,                         // 1
		`a.b = "x # y" # c = 1`,           // 2
		`"q\u002e r".'s' = '''`,           // 3
		`d = 1`,                           // 4
		`''''' # closed by five`,          // 5
		`e = [ # ]`,                       // 6
		`  1, "]",`,                       // 7
		`  { f = 1, g.h = """`,            // 8
		`\""" } """, i = [[], [2]] },`,    // 9
		`]`,                               // 10
		`[t.u] # x`,                       // 11
		`v = 1979-05-27 07:32:00`,         // 12
		`[[m]]`,                           // 13
		`[m.n]`,                           // 14
		`o = { p = {}, }`,                 // 15
		`[[m]]`,                           // 16
		`[[m.r]]`,                         // 17
		`[[m.r]]`,                         // 18
		"  s\t=\t{\r",                     // 19
		"  }\r",                           // 20
		`[m.r."[0]"]`,                     // 21
		`x = "\\"`,                        // 22
		`y = 1`,                           // 23
		`"\\" = 1`,                        // 24
		`"" = 1`,                          // 25
		`z = ["\"", '\']`,                 // 26
		`zz = 1`,                          // 27
		`[ "t" . 'w' . "\x41\U00000042"]`, // 28
	}, "\n")
	if _, err := toml.Decode(text, &map[string]any{}); err != nil {
		t.Fatal(err)
	}
	got, tooDeep := positionsOf(text)
	want := positions{
		"a": 2, "a.b": 2, `"q. r"`: 3, `"q. r".s`: 3,
		"e": 6, "e[0]": 7, "e[1]": 7, "e[2]": 8, "e[2].f": 8, "e[2].g": 8, "e[2].g.h": 8,
		"e[2].i": 9, "e[2].i[0]": 9, "e[2].i[1]": 9, "e[2].i[1][0]": 9,
		"t": 11, "t.u": 11, "t.u.v": 12,
		"m": 13, "m[0]": 13, "m[0].n": 14, "m[0].n.o": 15, "m[0].n.o.p": 15,
		"m[1]": 16, "m[1].r": 17, "m[1].r[0]": 17, "m[1].r[1]": 18, "m[1].r[1].s": 19,
		`m[1].r[1]."[0]"`: 21, `m[1].r[1]."[0]".x`: 22, `m[1].r[1]."[0]".y`: 23,
		`m[1].r[1]."[0]"."\\"`: 24, `m[1].r[1]."[0]".""`: 25, `m[1].r[1]."[0]".z`: 26,
		`m[1].r[1]."[0]".z[0]`: 26, `m[1].r[1]."[0]".z[1]`: 26, `m[1].r[1]."[0]".zz`: 27,
		"t.w": 28, "t.w.AB": 28,
	}
	if tooDeep != 0 {
		t.Errorf("too deep in line %d", tooDeep)
	}
	for path, line := range want {
		if got[path] != line {
			t.Errorf("%s is in line %d, want %d", path, got[path], line)
		}
	}
	for path, line := range got {
		if want[path] == 0 {
			t.Errorf("%s was found in line %d", path, line)
		}
	}
	for path, parent := range map[string]string{
		"a": "", "a.b": "a", "a[2]": "a", "a[2].b[0]": "a[2].b", `a."[."`: "a",
		`a."\""[1]`: `a."\""`,
		`"\\".b`:    `"\\"`, "": "",
	} {
		if got := parentOf(path); got != parent {
			t.Errorf("parentOf(%s) = %s, want %s", path, got, parent)
		}
	}
	if line := got.line("m[1].r[1].s.t.u[3]"); line != 19 {
		t.Errorf("what is not written out lies in line %d", line)
	}
}

func TestNesting(t *testing.T) {
	nested := func(n int) string {
		return "a = 1\nb = " + strings.Repeat("[", n) + strings.Repeat("]", n)
	}
	if _, tooDeep := positionsOf(nested(maxNesting)); tooDeep != 0 {
		t.Errorf("%d deep is too deep", maxNesting)
	}
	for _, n := range []int{maxNesting + 2, 1 << 18} {
		_, err := Parse("x.toml", []byte(nested(n)))
		if err == nil || !strings.Contains(err.Error(), "x.toml:2: syntax: lists") {
			t.Errorf("%d deep: %v", n, err)
		}
	}
	tables := "a = " + strings.Repeat("{a=", 1<<10) + "1" + strings.Repeat("}", 1<<10)
	if _, tooDeep := positionsOf(tables); tooDeep != 1 {
		t.Error("tables may be nested without end")
	}
}

// walk visits the keys and elements of what the TOML package has read.
func walk(path string, v any, visit func(path, key string)) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			visit(below(path, key), key)
			walk(below(path, key), value, visit)
		}
	case []map[string]any:
		for i, e := range v {
			visit(element(path, i), "")
			walk(element(path, i), e, visit)
		}
	case []any:
		for i, e := range v {
			visit(element(path, i), "")
			walk(element(path, i), e, visit)
		}
	}
}

// FuzzPositions finds the line of each key that the TOML package reads, and the key in it.
func FuzzPositions(f *testing.F) {
	for _, text := range fuzzTexts(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		found, tooDeep := positionsOf(text)
		table := map[string]any{}
		if len(text) > 1<<14 || tooDeep > 0 {
			return
		}
		if _, err := toml.Decode(text, &table); err != nil {
			return
		}
		lines := strings.Split(text, "\n")
		walk("", table, func(path, key string) {
			line := found[path]
			if line == 0 {
				t.Fatalf("%s was not found in\n%s", path, text)
			}
			if key != "" && strings.Trim(key, bareKey) == "" &&
				!strings.Contains(lines[line-1], key) && !strings.Contains(lines[line-1], `\`) {
				t.Fatalf("%s is not in line %d: %q", path, line, lines[line-1])
			}
		})
	})
}

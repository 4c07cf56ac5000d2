package web

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fuzzTexts are site files, right ones and wrong ones.
func fuzzTexts(f *testing.F) []string {
	f.Helper()
	texts := []string{"", "a.b.\"c\" = {d = [1, {e = '''\n'''}]}", "[[a]]\n[a.b]\n[[a.c]]\n[[a]]",
		"a = \"\\\"\"\nb=[\"\"\"\\\n\"\"\"\"\"]", "'' = 1\r\n[a]#b\r\nc=1e5"}
	for _, pattern := range []string{"testdata/problems/*.toml", "testdata/site/*.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatal(files, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			texts = append(texts, string(text))
		}
	}
	return texts
}

// FuzzParse reads anything without a panic, tells each problem in a line that there is, and reads
// only what it can read again.
func FuzzParse(f *testing.F) {
	for _, text := range fuzzTexts(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<14 {
			return
		}
		c, err := Parse("/srv/site.toml", []byte(text))
		if (c == nil) == (err == nil) {
			t.Fatalf("Parse(%q) = %v, %v", text, c, err)
		}
		if err == nil {
			return
		}
		problems, ok := errors.AsType[Problems](err)
		if !ok || len(problems) == 0 {
			t.Fatalf("Parse(%q): %v", text, err)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Line > strings.Count(text, "\n")+1 || p.Text == "" || p.Warning {
				t.Fatalf("Parse(%q): %+v", text, p)
			}
		}
	})
}

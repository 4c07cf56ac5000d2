package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the module's folder, seen from here.
const root = ".."

// goFiles gives the sources of the module: name and text.
func goFiles(t *testing.T) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != root &&
			(strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, ".go") && filepath.Base(name) != "site.toml":
			return nil
		}
		text, err := os.ReadFile(name)
		name = strings.TrimPrefix(name, root+string(filepath.Separator))
		files[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// blocksOf gives the code in Go of a document, and what it shows of a site's file.
func blocksOf(t *testing.T, document string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(document)))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	block := regexp.MustCompile("(?s)```(?:go|toml)\n(.*?)```")
	for _, m := range block.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// TestCodeIsQuoted holds the code in documents to what is compiled and run:
// each block stands, word for word, in a file of an example or a test.
func TestCodeIsQuoted(t *testing.T) {
	files := goFiles(t)
	for _, document := range []string{"docs/objects.md", "docs/logins.md",
		"docs/from-twisted.md", "README.md"} {
		blocks := blocksOf(t, document)
		if len(blocks) == 0 {
			t.Errorf("%s quotes no code", document)
		}
		for _, block := range blocks {
			if !quoted(files, block) {
				t.Errorf("%s: this stands in no example and no test:\n%s", document, block)
			}
		}
	}
}

func quoted(files map[string]string, block string) bool {
	for name, text := range files {
		if (strings.HasPrefix(name, "examples/") || strings.HasSuffix(name, "_test.go")) &&
			strings.Contains(text, block) {
			return true
		}
	}
	return false
}

// TestFeaturesExist holds the table of features to what there is: each example
// and each test that it names.
func TestFeaturesExist(t *testing.T) {
	known := declared(t, goFiles(t))
	text, err := os.ReadFile("features.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("`([a-z/]+)\\.((?:Test|Example|Fuzz)[A-Za-z_]*)`")
	path := regexp.MustCompile(`\]\(\.\./([^)#]+)\)`)
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || strings.HasPrefix(cells[1], "--") ||
			strings.TrimSpace(cells[1]) == "ability" {
			continue
		}
		rows++
		if !name.MatchString(cells[3]) {
			t.Errorf("no test in the row %s", line)
		}
		for _, m := range name.FindAllStringSubmatch(line, -1) {
			if !known[m[1]+"."+m[2]] {
				t.Errorf("there is no %s in %s: %s", m[2], m[1], line)
			}
		}
		for _, m := range path.FindAllStringSubmatch(line, -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%v: %s", err, line)
			}
		}
	}
	if rows < 20 {
		t.Errorf("%d rows were read, the table has more", rows)
	}
}

// declared gives the tests and examples of each folder, as "pb.TestX".
func declared(t *testing.T, files map[string]string) map[string]bool {
	t.Helper()
	known := make(map[string]bool)
	for name, text := range files {
		if !strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		folder, _, _ := strings.Cut(name, "/"+filepath.Base(name))
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				known[folder+"."+f.Name.Name] = true
			}
		}
	}
	return known
}

// TestLinks holds the documents to the files that they link to.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	code := regexp.MustCompile("(?sm)^```.*?^```|^    [^\n]*|`[^`\n]*`")
	documents, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range append(documents, "../README.md") {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(string(text), ""), -1) {
			name := filepath.Join(filepath.Dir(document), filepath.FromSlash(m[1]))
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s: %v", document, err)
			}
		}
	}
}

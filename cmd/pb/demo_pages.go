package main

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"

	"perspective/docs"
)

const pageStyle = `body{max-width:46rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif}
pre,code{font:.9rem/1.4 ui-monospace,monospace;background:#f4f4f2}pre{padding:.6rem;overflow-x:auto}
table{border-collapse:collapse;display:block;overflow-x:auto}td,th{border:1px solid #ccc;padding:.2rem .5rem;text-align:left}
nav a{margin-right:1rem}`

var docPage = template.Must(template.New("doc").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Title}} – Perspective</title><style>` + pageStyle + `</style></head>
<body><nav><a href="/">Perspective</a><a href="/board/">Board</a>{{range .Names}}<a href="/{{.}}.html">{{.}}</a>{{end}}</nav>
{{.Body}}</body></html>
`))

// writePages turns the documentation into a small web site in a folder. The
// overview is its first page.
func writePages(folder string) error {
	names, err := fs.Glob(docs.Files, "*.md")
	if err != nil {
		return err
	}
	for i := range names {
		names[i] = strings.TrimSuffix(names[i], ".md")
	}
	for _, name := range names {
		source, err := docs.Files.ReadFile(name + ".md")
		if err != nil {
			return err
		}
		page, err := renderPage(name, names, source)
		if err != nil {
			return fmt.Errorf("pb: demo: %s: %w", name, err)
		}
		files := []string{name + ".html"}
		if name == "overview" {
			files = append(files, "index.html")
		}
		for _, file := range files {
			if err := os.WriteFile(filepath.Join(folder, file), page, 0o400); err != nil {
				return fmt.Errorf("pb: demo: %w", err)
			}
		}
	}
	return nil
}

// renderPage makes a page of a document. HTML inside the document is left out.
func renderPage(name string, names []string, source []byte) ([]byte, error) {
	md := goldmark.New(goldmark.WithExtensions(extension.Table), goldmark.WithParserOptions(parser.WithAutoHeadingID()))
	doc := md.Parser().Parse(text.NewReader(source))
	title := name
	err := ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Heading:
			if entering && n.Level == 1 && title == name {
				title = strings.TrimSpace(string(n.Lines().Value(source)))
			}
		case *ast.Link:
			if entering {
				n.Destination = []byte(pageOf(string(n.Destination)))
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return nil, err
	}
	var body, page bytes.Buffer
	if err := md.Renderer().Render(&body, source, doc); err != nil {
		return nil, err
	}
	err = docPage.Execute(&page, map[string]any{
		"Title": title, "Names": names,
		"Body": template.HTML(body.String()), //nolint:gosec // goldmark escapes what the document holds
	})
	return page.Bytes(), err
}

// pageOf leads a link to another document to its page.
func pageOf(link string) string {
	file, fragment, marked := strings.Cut(link, "#")
	name, isDocument := strings.CutSuffix(file, ".md")
	if !isDocument || strings.Contains(file, ":") {
		return link
	}
	if marked {
		return name + ".html#" + fragment
	}
	return name + ".html"
}

// readableByOthers checks that a part, which is another user, can read all of a
// folder, and gives its true path. Symbolic links in it are not followed when it
// is served, so they need not be readable.
func readableByOthers(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", fmt.Errorf("pb: demo: --root: %w", err)
	}
	if dir == filepath.Dir(dir) {
		return "", errors.New("pb: demo: --root: the whole file system is no web site, name a folder in it")
	}
	const read, search = 0o004, 0o001
	first := true
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		need := fs.FileMode(read)
		switch {
		case d.IsDir():
			need |= search
		case first:
			return fmt.Errorf("%s is not a folder", path)
		case !d.Type().IsRegular():
			return nil
		}
		first = false
		if mode := info.Mode().Perm(); mode&need != need {
			return fmt.Errorf("others cannot read %s, its mode is %s", path, strconv.FormatUint(uint64(mode), 8))
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("pb: demo: --root: %w", err)
	}
	return dir, nil
}

// newStatic serves the files of a folder, and nothing outside it whatever its
// links say.
func newStatic(folder string) (http.Handler, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("pb: demo: %w", err)
	}
	files := http.FileServerFS(root.FS())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		files.ServeHTTP(w, r)
	}), nil
}

package main

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"

	"perspective/docs"
)

const pageStyle = `body{max-width:46rem;margin:2rem auto;padding:0 1rem;
font:1rem/1.5 system-ui,sans-serif}
pre,code{font:.9rem/1.4 ui-monospace,monospace;background:#f4f4f2}pre{padding:.6rem;overflow-x:auto}
table{border-collapse:collapse;display:block;overflow-x:auto}
td,th{border:1px solid #ccc;padding:.2rem .5rem;text-align:left}
nav a{margin-right:1rem}`

var docPage = template.Must(template.New("doc").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Title}} – Perspective</title><style>` + pageStyle + `</style></head>
<body><nav><a href="/">Perspective</a><a href="/board/">Board</a>
{{- range .Names}}<a href="/{{.}}.html">{{.}}</a>{{end}}</nav>
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
	md := goldmark.New(goldmark.WithExtensions(extension.Table),
		goldmark.WithParserOptions(parser.WithAutoHeadingID()))
	doc := md.Parser().Parse(text.NewReader(source))
	title := name
	var dead []*ast.Link
	err := ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Heading:
			if entering && n.Level == 1 && title == name {
				title = strings.TrimSpace(string(n.Lines().Value(source)))
			}
		case *ast.Link:
			page, ok := pageOf(string(n.Destination), names)
			if entering && !ok {
				dead = append(dead, n)
			} else if entering {
				n.Destination = []byte(page)
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return nil, err
	}
	for _, link := range dead {
		unlink(link)
	}
	var body, page bytes.Buffer
	if err := md.Renderer().Render(&body, source, doc); err != nil {
		return nil, err
	}
	err = docPage.Execute(&page, map[string]any{
		"Title": title, "Names": names,
		//nolint:gosec // goldmark escapes what the document holds
		"Body": template.HTML(body.String()),
	})
	return page.Bytes(), err
}

// pageOf leads a link to one of the documents to its page. It is false for a
// link to what the site does not have.
func pageOf(link string, names []string) (string, bool) {
	u, err := url.Parse(link)
	if err != nil {
		return "", false
	}
	if u.Scheme != "" || u.Host != "" || u.Path == "" {
		return link, true // elsewhere, or in the same document
	}
	name, isDocument := strings.CutSuffix(u.Path, ".md")
	if !isDocument || !slices.Contains(names, name) {
		return "", false
	}
	u.Path = name + ".html"
	return u.String(), true
}

// unlink leaves of a link its text.
func unlink(link *ast.Link) {
	parent := link.Parent()
	for link.HasChildren() {
		parent.InsertBefore(parent, link, link.FirstChild())
	}
	parent.RemoveChild(parent, link)
}

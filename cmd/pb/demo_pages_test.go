package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"perspective/pb/web"
)

// TestNoDeadLinks follows every local link of the site from its first page on.
func TestNoDeadLinks(t *testing.T) {
	folder := t.TempDir()
	if err := writePages(folder); err != nil {
		t.Fatal(err)
	}
	files, err := web.NewFileServer(folder, true)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBoard(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	mux := http.NewServeMux()
	mux.Handle("/", files)
	mux.Handle(boardPath, newBoardSite(b))

	link := regexp.MustCompile(`href="([^"]*)"`)
	pages := map[string]string{}
	from := map[string]string{"/": "the start"}
	for todo := []string{"/"}; len(todo) > 0; todo = todo[1:] {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, todo[0], nil))
		if w.Code != http.StatusOK {
			t.Errorf("%s, linked from %s: status %d", todo[0], from[todo[0]], w.Code)
		}
		pages[todo[0]] = w.Body.String()
		here, err := url.Parse(todo[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(w.Body.String(), -1) {
			to, err := here.Parse(m[1])
			if err != nil {
				t.Errorf("%s has the link %q: %v", here, m[1], err)
				continue
			}
			if _, known := from[to.Path]; to.Host == "" && to.Scheme == "" && !known {
				from[to.Path] = here.Path
				todo = append(todo, to.Path)
			}
		}
	}
	for path, page := range pages {
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			to, err := url.Parse(m[1])
			if err != nil || to.Fragment == "" || to.Host != "" {
				continue
			}
			target := pages[(&url.URL{Path: path}).ResolveReference(to).Path]
			if !strings.Contains(target, `id="`+to.Fragment+`"`) {
				t.Errorf("%s has the link %s to no such heading", path, m[1])
			}
		}
	}
	if len(pages) < 5 {
		t.Errorf("%d pages were found, the site has more", len(pages))
	}
}

func TestLinksOutOfTheDocumentsBecomeText(t *testing.T) {
	page, err := renderPage("words", []string{"words"},
		[]byte("# Words\n\nsee [the *other*](../README.md), [gone](gone.md), [here](#words)\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`see the <em>other</em>, gone, <a href="#words">here</a>`} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %s:\n%s", want, page)
		}
	}
}

// TestFormAndMethodTakeTheSame compares what the form lets through with what the board takes.
func TestFormAndMethodTakeTheSame(t *testing.T) {
	b, err := newBoard(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	pages := newBoardSite(b)
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, boardPath, nil))
	for _, want := range []string{`maxlength="64"`, `maxlength="4000"`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the form lacks %s:\n%s", want, w.Body)
		}
	}
	for _, c := range []struct {
		name, text int
		want       int
	}{{64, 4000, http.StatusCreated}, {65, 1, http.StatusBadRequest},
		{1, 4001, http.StatusBadRequest}} {
		form := url.Values{"name": {strings.Repeat("ü", c.name)},
			"text": {strings.Repeat("€", c.text)}}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, boardPath,
			strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("a name of %d and a text of %d characters: status %d, want %d", c.name,
				c.text, w.Code, c.want)
		}
		if w.Code == http.StatusBadRequest && strings.HasPrefix(w.Body.String(), "pb:") {
			t.Errorf("the page speaks of a program: %s", w.Body)
		}
	}
}

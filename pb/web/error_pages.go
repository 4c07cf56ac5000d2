package web

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"perspective/internal/prefix"
)

// maxErrorFile is how many bytes a page may have as a file: what is put in makes it no longer than
// distrib.Site takes, unless it asks for the id again and again.
const maxErrorFile = 60 << 10

// ErrorPages are the pages that a site has for the answers of its front: the files 404.html,
// 5xx.html and their like of a folder. In them {{status}}, {{text}} and {{id}} stand for the
// status, its words, and the request's id. The zero value has none. It is only read.
type ErrorPages struct {
	pages map[string][]byte // by "404" or "5xx"
}

// ReadErrorPages reads a folder's pages, of at most 60 KiB each. Files of other names are not read.
func ReadErrorPages(folder string) (*ErrorPages, error) {
	p := &ErrorPages{pages: make(map[string][]byte)}
	if _, err := os.Stat(folder); err != nil {
		return nil, prefix.Errorf("web: error pages: %w", err)
	}
	var names []string
	for status := 400; status < 600; status++ {
		names = append(names, strconv.Itoa(status))
	}
	for _, name := range append(names, "4xx", "5xx") {
		page, err := readPage(filepath.Join(folder, name+".html"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, prefix.Errorf("web: error pages: %w", err)
		}
		p.pages[name] = page
	}
	return p, nil
}

func readPage(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read
	page, err := io.ReadAll(io.LimitReader(file, maxErrorFile+1))
	if err == nil && len(page) > maxErrorFile {
		err = errors.New(name + " is over 60 KiB")
	}
	return page, err
}

// Page is for distrib.Site.ErrorPage.
func (p *ErrorPages) Page(
	_ *http.Request, status int, id string,
) (contentType string, page []byte) {
	number := strconv.Itoa(status)
	page = p.pages[number]
	if page == nil {
		page = p.pages[number[:1]+"xx"]
	}
	if page == nil {
		return "", nil
	}
	for name, value := range map[string]string{"status": number, "text": http.StatusText(status),
		"id": id} {
		page = bytes.ReplaceAll(page, []byte("{{"+name+"}}"), []byte(value))
	}
	return "text/html; charset=utf-8", page
}

package web_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perspective/pb/web"
)

// A page is found by its status, or by its class, with what is known of the request put in.
func TestErrorPages(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"404.html":  "no such page, ask for {{id}}",
		"5xx.html":  "{{status}} {{text}}, {{id}} {{other}}",
		"index.htm": "not one of them",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pages, err := web.ReadErrorPages(folder)
	if err != nil {
		t.Fatal(err)
	}
	for status, want := range map[int]string{
		404: "no such page, ask for abc",
		400: "",
		502: "502 Bad Gateway, abc {{other}}",
	} {
		if _, got := pages.Page(nil, status, "abc"); string(got) != want {
			t.Errorf("Page(%d) = %q, want %q", status, got, want)
		}
	}
	long := filepath.Join(folder, "400.html")
	for size, good := range map[int]bool{60 << 10: true, 60<<10 + 1: false} {
		if err := os.WriteFile(long, []byte(strings.Repeat("x", size)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := web.ReadErrorPages(folder); (err == nil) != good {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if _, err := web.ReadErrorPages(filepath.Join(folder, "none")); err == nil {
		t.Error("a folder that there is not has pages")
	}
}

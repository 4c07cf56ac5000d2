package web_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perspective/pb/web"
)

// folderOf makes a folder with the files, whose contents are their names.
func folderOf(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("this is "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFileServer(t *testing.T) {
	outside := folderOf(t, "secret")
	folder := folderOf(t, "page.html", "with/index.html", "without/a.txt", ".git/config",
		"with/.env", ".well-known/security.txt")
	if err := os.Symlink(filepath.Join(outside, "secret"),
		filepath.Join(folder, "link")); err != nil {
		t.Skip(err)
	}
	tests := []struct {
		method, path  string
		plain, listed int // the status without and with lists
	}{
		{"GET", "/page.html", 200, 200},
		{"HEAD", "/page.html", 200, 200},
		{"POST", "/page.html", 405, 405},
		{"GET", "/with/", 200, 200},
		{"GET", "/with", 301, 301},
		{"GET", "/without/", 404, 200},
		{"GET", "/without", 404, 301},
		{"GET", "/without/a.txt", 200, 200},
		{"GET", "/missing", 404, 404},
		{"GET", "/link", 404, 404},
		{"GET", "/../secret", 404, 404},
		{"GET", "/../" + filepath.Base(outside) + "/secret", 404, 404},
		{"GET", "/.git/config", 404, 404},
		{"GET", "/with/.env", 404, 404},
		{"GET", "/.well-known/security.txt", 200, 200},
	}
	for _, list := range []bool{false, true} {
		files, err := web.NewFileServer(folder, list)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range tests {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), tt.method, "/", nil)
			r.URL.Path = tt.path
			files.ServeHTTP(w, r)
			want := tt.plain
			if list {
				want = tt.listed
			}
			if w.Code != want || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("list %v: %s %s: %d %q, want %d", list, tt.method, tt.path, w.Code,
					w.Body, want)
			}
		}
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	}
}

package web

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// A FileServer serves the files of a folder, and nothing outside it whatever its links say: only
// regular files and folders can be opened. Names that begin with a dot, but for /.well-known/, are
// not there, so that what editors and version control leave behind is not published. It answers GET
// and HEAD, ranges and conditions as net/http's FileServer does. Any goroutine may use it.
type FileServer struct {
	root *os.Root
	list bool
}

// NewFileServer opens the folder. list shows what is in a folder that has no index.html; without it
// the answer is 404. Close ends it.
func NewFileServer(folder string, list bool) (*FileServer, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	return &FileServer{root: root, list: list}, nil
}

// Close closes the folder; requests from then on get 404.
func (s *FileServer) Close() error { return s.root.Close() }

// ServeHTTP serves the file that the path names.
func (s *FileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.FileServer(openFiles{s}).ServeHTTP(w, r)
}

// openFiles is the folder as net/http wants to see it. What it opens is an *os.File, so that the
// front can be passed its descriptor.
type openFiles struct{ *FileServer }

// Open opens a file for reading.
func (s openFiles) Open(name string) (http.File, error) {
	if name = strings.TrimPrefix(name, "/"); name == "" {
		name = "."
	}
	missing := &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	if !fs.ValidPath(name) || hidden(name) {
		return nil, missing
	}
	local := filepath.FromSlash(name)
	info, err := s.root.Stat(local)
	if err != nil || !plain(info) {
		return nil, missing
	}
	if info.IsDir() && !s.list {
		index, err := s.root.Stat(filepath.FromSlash(path.Join(name, "index.html")))
		if err != nil || !index.Mode().IsRegular() {
			return nil, missing // there would be nothing to see but a list
		}
	}
	file, err := s.root.OpenFile(local, os.O_RDONLY|withoutWaiting, 0)
	if err != nil {
		return nil, missing
	}
	if info, err := file.Stat(); err != nil || !plain(info) { // it has become another since
		_ = file.Close()
		return nil, missing
	}
	return file, nil
}

func plain(info fs.FileInfo) bool { return info.Mode().IsRegular() || info.IsDir() }

// hidden says whether a step of the name begins with a dot, and is not the place that RFC 8615
// keeps for what the world is to find.
func hidden(name string) bool {
	for i, step := range strings.Split(name, "/") {
		if len(step) > 1 && step[0] == '.' && (i > 0 || step != ".well-known") {
			return true
		}
	}
	return false
}

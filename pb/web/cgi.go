package web

import (
	"log/slog"
	"net/http"
	"net/http/cgi" //nolint:gosec // Httpoxy was mended in Go 1.6.3
	"path/filepath"
	"strings"
)

// cgiPath is where programs find theirs; a site's own folders are not among them.
const cgiPath = "/usr/local/bin:/usr/bin:/bin"

// cgiReads is what scripts need beside themselves: shells, their tools, libraries, and how the
// system is set up.
var cgiReads = []string{"/bin", "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives"}

// newCGI serves a CGI program (RFC 3875) mounted at prefix. What it writes to its standard error
// goes to the part's.
func newCGI(program, prefix string, env []string) http.Handler {
	return &cgi.Handler{
		Path:   program,
		Root:   strings.TrimSuffix(prefix, "/"),
		Dir:    filepath.Dir(program),
		Env:    append([]string{"PATH=" + cgiPath}, env...),
		Logger: slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
	}
}

package distrib_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"perspective/pb/distrib"
)

// The pages of what the front answers itself are the program's, those of handlers are not; one that
// is too long, or none, is a line of text.
func TestErrorPage(t *testing.T) {
	site := &distrib.Site{}
	site.ErrorPage = func(r *http.Request, status int, id string) (string, []byte) {
		switch r.URL.Path {
		case "/long":
			return "text/html", make([]byte, 64<<10+1)
		case "/edge":
			return "text/html", make([]byte, 64<<10)
		case "/empty":
			return "", nil
		}
		return "text/html", fmt.Appendf(nil, "<h1>%d %s %s</h1>", status, id, r.URL.Path)
	}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	site.Handle("/down/", distrib.Route{Back: "down",
		Limits: distrib.Limits{Hold: time.Millisecond}})
	s := newSplit(t, site)
	s.back("app", http.NotFound)
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/none":      {404, "<h1>404 ID /none</h1>"},
		"/down/x":    {503, "<h1>503 ID /down/x</h1>"},
		"/app/..%2f": {400, "<h1>400 ID /app/../</h1>"},
		"/app/none":  {404, "404 page not found\n"},
		"/long":      {404, "not found\n"},
		"/edge":      {404, string(make([]byte, 64<<10))},
		"/empty":     {404, "not found\n"},
	} {
		resp, body := s.get(path)
		if resp.StatusCode != want.status ||
			body != strings.ReplaceAll(want.body, "ID", resp.Header.Get("X-Request-ID")) {
			t.Errorf("%s: %d %.100q", path, resp.StatusCode, body)
		}
		if page := strings.HasPrefix(want.body, "<"); page &&
			(resp.Header.Get("Content-Type") != "text/html" ||
				resp.Header.Get("X-Content-Type-Options") != "nosniff") {
			t.Errorf("%s: %v", path, resp.Header)
		}
	}
}

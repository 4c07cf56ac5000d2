package distrib_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"perspective/pb/distrib"
)

type codeHandler struct{ bad func() }

func (codeHandler) Enabled(context.Context, slog.Level) bool    { return true }
func (h codeHandler) Handle(context.Context, slog.Record) error { h.bad(); return nil }
func (h codeHandler) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (h codeHandler) WithGroup(string) slog.Handler             { return h }

// codeError is bad where it is asked for what it is.
type codeError struct{ bad func() }

func (codeError) Error() string   { return "x" }
func (e codeError) Is(error) bool { e.bad(); return false }

// TestProgramsCodeOfSite has what a program gives to a front and its back ends panic and end its
// goroutine: it costs the request that it belongs to, or nothing, and the next is served.
func TestProgramsCodeOfSite(t *testing.T) {
	bad := func(w http.ResponseWriter, r *http.Request, bad func()) {
		switch r.URL.Path {
		case "/app/handler", "/own/handler":
			bad()
		case "/app/abort":
			panic(codeError{bad})
		default:
			_, _ = io.WriteString(w, "fine")
		}
	}
	cases := map[string]struct {
		path string
		want int // status; 0: the connection ends
	}{
		"Mount.Handler":  {"/app/handler", 500},
		"a panic's Is":   {"/app/abort", 500},
		"Site.Local":     {"/own/handler", 0},
		"Site.Observe":   {"/app/fine", 200},
		"Site.ErrorPage": {"/down/", 503},
		"Site.Logger":    {"/down/", 503},
	}
	for name, test := range cases {
		for end, f := range map[string]func(){"panic": func() { panic(http.ErrAbortHandler) },
			"Goexit": runtime.Goexit} {
			if name == "Mount.Handler" && end == "panic" {
				f = func() { panic("boom") }
			}
			t.Run(name+"/"+end, func(t *testing.T) {
				var book logBook
				site := &distrib.Site{Logger: slog.New(slog.NewTextHandler(&book, nil))}
				switch name {
				case "Site.Observe":
					site.Observe = func(*distrib.Record) { f() }
				case "Site.ErrorPage":
					site.ErrorPage = func(*http.Request, int, string) (string, []byte) {
						f()
						return "", nil
					}
				case "Site.Logger":
					site.Logger = slog.New(codeHandler{f})
				}
				site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
				site.Handle("/down/", distrib.Route{Back: "down",
					Limits: distrib.Limits{Hold: 10 * time.Millisecond}})
				site.Local("/own/",
					http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { bad(w, r, f) }))
				s := newSplit(t, site)
				// else it tries again by itself
				s.client.Transport.(*http.Transport).DisableKeepAlives = true
				s.back("app", func(w http.ResponseWriter, r *http.Request) { bad(w, r, f) })
				resp, err := s.client.Get(s.server.URL + test.path)
				switch {
				case test.want == 0 && err == nil:
					t.Errorf("status %d, want the end", resp.StatusCode)
				case test.want != 0 && err != nil:
					t.Error(err)
				case test.want != 0 && resp.StatusCode != test.want:
					t.Errorf("status %d, want %d", resp.StatusCode, test.want)
				}
				if err == nil {
					_ = resp.Body.Close()
				}
				if log := strings.Join(book.lines(), "\n"); name == "Site.Observe" &&
					!(strings.Contains(log, "Site.Observe panicked") &&
						strings.Contains(log, " id=")) {
					t.Errorf("the log has no id: %s", log)
				}
				for _, path := range []string{"/app/", "/own/"} {
					if resp, body := s.get(path); resp.StatusCode != http.StatusOK ||
						body != "fine" {
						t.Errorf("%s afterwards: %d %q", path, resp.StatusCode, body)
					}
				}
			})
		}
	}
}

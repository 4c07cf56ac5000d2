package distrib_test

import (
	"html/template"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"perspective/cred"
	"perspective/pb/distrib"
)

// A codeStore is a SessionStore that is bad.
type codeStore struct{ bad func() }

func (s codeStore) Find(string) ([]byte, bool, error)      { s.bad(); return nil, false, nil }
func (s codeStore) Commit(string, []byte, time.Time) error { s.bad(); return nil }
func (s codeStore) Delete(string) error                    { s.bad(); return nil }

// TestProgramsCodeOfSessions has what a program gives for sessions and logins panic and end its
// goroutine.
func TestProgramsCodeOfSessions(t *testing.T) {
	for end, f := range map[string]func(){"panic": func() { panic("boom") },
		"Goexit": runtime.Goexit} {
		run := func(name string, test func(*testing.T)) { t.Run(name+"/"+end, test) }
		run("Sessions.Store", func(t *testing.T) {
			sessions := &distrib.Sessions{Store: codeStore{f}}
			w := httptest.NewRecorder()
			sessions.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if err := visits.Put(distrib.SessionOf(r), 1); err == nil {
					t.Error("Put() = nil, want an error")
				}
				if _, ok := visits.Get(distrib.SessionOf(r)); ok {
					t.Error("a value that was not kept is there")
				}
			})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			if err := sessions.Close(); err != nil {
				t.Errorf("Close() = %v", err)
			}
		})
		run("Sessions.Expired", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var book logBook
				calls := 0
				sessions := &distrib.Sessions{
					Logger:  slog.New(slog.NewTextHandler(&book, nil)),
					Expired: func(*distrib.Session) { calls++; f() },
				}
				h := sessions.Handler(countVisits(t))
				for range 2 {
					h.ServeHTTP(httptest.NewRecorder(),
						httptest.NewRequest(http.MethodGet, "/", nil))
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				if calls != 2 {
					t.Errorf("%d were told of two sessions", calls)
				}
				if log := strings.Join(book.lines(), "\n"); !strings.Contains(log,
					"Sessions.Expired") {
					t.Errorf("the log: %s", log)
				}
				_ = sessions.Close()
			})
		})
		for _, name := range []string{"Login.Claims", "Login.Page"} {
			run(name, func(t *testing.T) {
				login := &distrib.Login{
					Logger: slog.New(slog.DiscardHandler),
					Portal: &cred.Portal{Realm: distrib.Accounts{},
						Checkers: []cred.Checker{&countingChecker{}}},
				}
				if name == "Login.Claims" {
					login.Claims = func(*cred.Login) any { f(); return 1 }
				} else {
					login.Page = template.Must(template.New("").Funcs(template.FuncMap{
						"bad": func() string { f(); return "" },
					}).Parse("{{bad}}"))
				}
				site := &distrib.Site{Login: login, Logger: slog.New(slog.DiscardHandler)}
				defer func() { _ = site.Close() }()
				r := httptest.NewRequest(http.MethodPost, "/.pb/login",
					strings.NewReader("user=ann&password=wrong"))
				if name == "Login.Claims" {
					r = httptest.NewRequest(http.MethodPost, "/.pb/login",
						strings.NewReader(asUser("ann", "").Encode()))
				}
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				w := httptest.NewRecorder()
				site.ServeHTTP(w, r)
				if w.Code != http.StatusInternalServerError {
					t.Errorf("status %d, want 500", w.Code)
				}
				if got := w.Header().Get("Set-Cookie"); got != "" {
					t.Errorf("Set-Cookie %q", got)
				}
			})
		}
	}
}

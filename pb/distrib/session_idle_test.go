package distrib_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"perspective/cred"
	"perspective/pb/distrib"
)

func TestSessionIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan int, 10)
		sessions := &distrib.Sessions{Expired: func(s *distrib.Session) {
			n, _ := visits.Get(s)
			ended <- n
		}}
		defer func() { _ = sessions.Close() }()
		h := sessions.Handler(countVisits(t))
		cookie := ""
		visit := func() string {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Cookie", cookie)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if c := w.Header().Get("Set-Cookie"); c != "" {
				cookie, _, _ = strings.Cut(c, ";")
			}
			return w.Body.String()
		}
		visit()
		for range 4 {
			time.Sleep(29 * time.Minute)
			visit()
		}
		if got := visit(); got != "6" {
			t.Errorf("visit = %s, want 6: every half hour but a minute is often enough", got)
		}
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		select {
		case n := <-ended:
			if n != 6 {
				t.Errorf("expired with %d visits, want 6", n)
			}
		default:
			t.Error("nobody heard of the session that has expired")
		}
		if got := visit(); got != "1" {
			t.Errorf("visit = %s, want 1: the session has expired", got)
		}
	})
}

func TestLoginIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out atomic.Int64
		login := &distrib.Login{UserCount: 3, Portal: &cred.Portal{
			Checkers: []cred.Checker{&countingChecker{}},
			Realm: cred.RealmFunc(func(
				_ context.Context, id cred.AvatarID, _ any,
			) (any, func(), error) {
				return id, func() { out.Add(1) }, nil
			}),
		}}
		site := &distrib.Site{Login: login}
		site.Local("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u, _ := distrib.UserFrom(r.Context())
			_, _ = io.WriteString(w, u.Name)
		}))
		visit := func(cookie string) string {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Cookie", cookie)
			w := httptest.NewRecorder()
			site.ServeHTTP(w, r)
			return w.Body.String()
		}
		enter := func() string {
			r := httptest.NewRequest(http.MethodPost, "/.pb/login",
				strings.NewReader(asUser("ann", "").Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			site.ServeHTTP(w, r)
			cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
			return cookie
		}
		first := enter()
		for range 4 {
			time.Sleep(29 * time.Minute)
			if got := visit(first); got != "ann" {
				t.Errorf("after 29 minutes: %q", got)
			}
		}
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		if got := visit(first); got != "" || out.Load() != 1 {
			t.Errorf("after 31 minutes: %q, %d logouts; want none, 1", got, out.Load())
		}
		second := enter()
		time.Sleep(time.Second)
		for range 3 {
			enter()
		}
		if got := visit(second); got != "" || out.Load() != 2 {
			t.Errorf("the oldest of four logins: %q, %d logouts; want none, 2", got, out.Load())
		}
		if err := site.Close(); err != nil || out.Load() != 5 {
			t.Errorf("Close() = %v, %d logouts; want 5", err, out.Load())
		}
	})
}

package distrib_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"perspective/pb/distrib"
)

const visits distrib.SessionValue[int] = "visits"

// countVisits answers with how often this browser was here.
func countVisits(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := distrib.SessionOf(r)
		n, _ := visits.Get(s)
		if r.URL.Query().Has("look") {
			_, _ = fmt.Fprint(w, n)
			return
		}
		if err := visits.Put(s, n+1); err != nil {
			t.Errorf("Put() = %v", err)
		}
		_, _ = fmt.Fprint(w, n+1)
	}
}

// browser gives the split's client a jar of cookies, as a browser has one.
func (s *split) browser() *http.Client {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	c := *s.client
	c.Jar = jar
	return &c
}

// as sends further requests as this browser.
func (s *split) as(c *http.Client) *split {
	other := *s
	other.client = c
	return &other
}

func TestSessionBehindTheFront(t *testing.T) {
	s, _ := oneBack(t, countVisits(t))
	ann, bob := s.as(s.browser()), s.as(s.browser())
	resp, body := ann.get("/app/?look")
	if body != "0" || len(resp.Header["Set-Cookie"]) != 0 {
		t.Errorf("a look: %q, Set-Cookie %q, want 0 and none", body, resp.Header["Set-Cookie"])
	}
	resp, body = ann.get("/app/")
	cookies := resp.Header["Set-Cookie"]
	if body != "1" || len(cookies) != 1 || !strings.HasPrefix(cookies[0], "s=") ||
		!strings.HasSuffix(cookies[0], "; Path=/; HttpOnly; SameSite=Lax") {
		t.Errorf("first visit: %q, Set-Cookie %q", body, cookies)
	}
	if got := resp.Header.Get("Cache-Control"); got != "private" {
		t.Errorf("Cache-Control = %q, want private", got)
	}
	for want := 2; want < 5; want++ {
		resp, body = ann.get("/app/")
		if body != fmt.Sprint(want) || len(resp.Header["Set-Cookie"]) != 0 {
			t.Errorf("visit %d: %q, Set-Cookie %q", want, body, resp.Header["Set-Cookie"])
		}
	}
	if _, body = bob.get("/app/"); body != "1" {
		t.Errorf("another browser's first visit: %q", body)
	}
}

func TestSessionOverTLS(t *testing.T) {
	s := overHTTP2(t, countVisits(t))
	ann := s.as(s.browser())
	resp, _ := ann.get("/app/")
	cookies := resp.Header["Set-Cookie"]
	if len(cookies) != 1 || !strings.HasPrefix(cookies[0], "__Host-s=") ||
		!strings.HasSuffix(cookies[0], "; Path=/; HttpOnly; Secure; SameSite=Lax") {
		t.Errorf("Set-Cookie %q", cookies)
	}
	if _, body := ann.get("/app/"); body != "2" {
		t.Errorf("second visit: %q", body)
	}
}

// A POST, a flushed response and a response whose body is a stream begin sessions too; one whose
// header was written does not.
func TestSessionBegins(t *testing.T) {
	late := make(chan error, 2)
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/app/late":
			w.WriteHeader(http.StatusOK)
			late <- visits.Put(distrib.SessionOf(r), 1)
			late <- distrib.SessionOf(r).Renew()
		case "/app/flushed":
			_, _ = io.Copy(io.Discard, r.Body)
			if err := visits.Put(distrib.SessionOf(r), 1); err != nil {
				t.Errorf("Put() = %v", err)
			}
			w.(http.Flusher).Flush()
			if err := visits.Put(distrib.SessionOf(r), 2); err != nil {
				t.Errorf("Put() after the header = %v", err)
			}
			_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
		}
	})
	for _, size := range []int{0, 10, 1 << 20} {
		resp, body := s.do(http.MethodPost, "/app/flushed",
			strings.NewReader(strings.Repeat("y", size)))
		if len(body) != 1<<20 || len(resp.Header["Set-Cookie"]) != 1 {
			t.Errorf("POST of %d: %d bytes, Set-Cookie %q", size, len(body),
				resp.Header["Set-Cookie"])
		}
	}
	resp, _ := s.get("/app/late")
	for range 2 {
		if err := <-late; !errors.Is(err, distrib.ErrSessionLate) {
			t.Errorf("late change = %v, want ErrSessionLate", err)
		}
	}
	if got := resp.Header["Set-Cookie"]; len(got) != 0 {
		t.Errorf("late Set-Cookie %q", got)
	}
}

// What a browser sends in place of a session cookie is no session.
func TestSessionCookiesThatAreNone(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := visits.Get(distrib.SessionOf(r))
		if err := visits.Put(distrib.SessionOf(r), n+1); err != nil {
			t.Errorf("Put() = %v", err)
		}
		_, _ = fmt.Fprint(w, n+1, " ", r.Header["Cookie"])
	})
	resp, _ := s.get("/app/")
	cookie, _, _ := strings.Cut(resp.Header.Get("Set-Cookie"), ";")
	resp, _ = s.get("/app/")
	other, _, _ := strings.Cut(resp.Header.Get("Set-Cookie"), ";")
	for _, tt := range []struct{ name, send, want string }{
		{"the cookie", cookie, "2 []"},
		{"twice the same", cookie + "; " + cookie, "3 []"},
		{"two", cookie + "; " + other, "1 []"},
		{"two the other way", other + "; " + cookie, "1 []"},
		{"cut", cookie[:len(cookie)-1], "1 []"},
		{"longer", cookie + "A", "1 []"},
		{"another key's", "s=AAAA" + cookie[6:], "1 []"},
		{"no base64", "s=" + strings.Repeat("?", len(cookie)-2), "1 []"},
		{"the other name", "__Host-" + cookie, "1 []"},
		{"empty", "s=", "1 []"},
	} {
		req, _ := http.NewRequest(http.MethodGet, s.server.URL+"/app/", nil)
		req.Header.Set("Cookie", tt.send)
		if _, body := s.send(req); body != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, body, tt.want)
		}
	}
}

// The session of one mount is no other's, though the browser has one cookie.
func TestSessionsOfMountsAreApart(t *testing.T) {
	shared := &distrib.Sessions{} // so that a key of the other mount's would be found
	t.Cleanup(func() { _ = shared.Close() })
	site := &distrib.Site{}
	site.Handle("/a/", distrib.Route{Back: "a", Limits: unhurried})
	site.Handle("/b/", distrib.Route{Back: "b", Limits: unhurried,
		Cookies: distrib.SharedCookies})
	site.Local("/c/", shared.Handler(countVisits(t)))
	site.Local("/d/", countVisits(t))
	s := newSplit(t, site)
	s.back("a", shared.Handler(countVisits(t)).ServeHTTP)
	s.back("b", shared.Handler(countVisits(t)).ServeHTTP)
	ann := s.as(s.browser())
	set := 0
	for round := 1; round < 4; round++ {
		for _, mount := range []string{"/a/", "/b/", "/c/", "/d/"} {
			resp, body := ann.get(mount)
			set += len(resp.Header["Set-Cookie"])
			if body != fmt.Sprint(round) {
				t.Errorf("%s in round %d: %q", mount, round, body)
			}
		}
	}
	if set != 1 {
		t.Errorf("%d cookies were set, want 1", set)
	}
}

// Renew has the browser know another id, in every place where there are sessions.
func TestSessionRenew(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("renew") {
			if err := distrib.SessionOf(r).Renew(); err != nil {
				t.Errorf("Renew() = %v", err)
			}
		}
		if r.URL.Query().Has("destroy") {
			if err := distrib.SessionOf(r).Destroy(); err != nil {
				t.Errorf("Destroy() = %v", err)
			}
		}
		countVisits(t)(w, r)
	}
	site := &distrib.Site{}
	site.Handle("/own/", distrib.Route{Back: "own", Limits: unhurried})
	site.Handle("/shared/", distrib.Route{Back: "shared", Limits: unhurried,
		Cookies: distrib.SharedCookies})
	site.Local("/local/", http.HandlerFunc(h))
	s := newSplit(t, site)
	s.back("own", h)
	s.back("shared", h)
	bare := httptest.NewServer((&distrib.Sessions{}).Handler(http.HandlerFunc(h)))
	t.Cleanup(bare.Close)
	for _, url := range []string{s.server.URL + "/own/", s.server.URL + "/shared/",
		s.server.URL + "/local/", bare.URL + "/"} {
		victim := s.browser()
		visit := func(c *http.Client, query string) string {
			t.Helper()
			resp, err := c.Get(url + query)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			b, _ := io.ReadAll(resp.Body)
			return string(b)
		}
		if got := visit(victim, "?renew"); got != "1" {
			t.Errorf("%s: first visit, renewed: %s", url, got)
		}
		visit(victim, "")
		thief := s.browser()
		req, _ := http.NewRequest(http.MethodGet, url, nil)
		thief.Jar.SetCookies(req.URL, victim.Jar.Cookies(req.URL))
		if got := visit(thief, ""); got != "3" {
			t.Errorf("%s: the thief has no cookie: %s", url, got)
		}
		if got := visit(victim, "?renew"); got != "4" {
			t.Errorf("%s: renewed: %s, want 4", url, got)
		}
		if got := visit(victim, ""); got != "5" {
			t.Errorf("%s: after Renew: %s, want 5", url, got)
		}
		if got := visit(thief, "?look"); got != "0" {
			t.Errorf("%s: the old id still opens a session: %s", url, got)
		}
		if got := visit(victim, "?destroy"); got != "1" {
			t.Errorf("%s: destroyed: %s, want 1", url, got)
		}
		if got := visit(victim, "?look"); got != "1" {
			t.Errorf("%s: after Destroy: %s, want 1", url, got)
		}
	}
}

// Requests of one session that run at once lose nothing of each other.
func TestSessionManyAtOnce(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		key := distrib.SessionValue[string](r.URL.Query().Get("key"))
		if key == "" {
			n := 0
			for i := range 100 {
				if v, ok := distrib.SessionValue[string](fmt.Sprint(i)).Get(
					distrib.SessionOf(r)); ok && v == "x" {
					n++
				}
			}
			_, _ = fmt.Fprint(w, n)
			return
		}
		if err := key.Put(distrib.SessionOf(r), "x"); err != nil {
			t.Errorf("Put() = %v", err)
		}
	})
	ann := s.as(s.browser())
	ann.get("/app/?key=first")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { ann.get(fmt.Sprint("/app/?key=", i)) })
	}
	wg.Wait()
	if _, body := ann.get("/app/"); body != "100" {
		t.Errorf("%s of 100 values are there", body)
	}
}

func TestSessionBounds(t *testing.T) {
	sessions := &distrib.Sessions{Count: 2, SessionBytes: 1 << 10}
	t.Cleanup(func() { _ = sessions.Close() })
	const text distrib.SessionValue[string] = "text"
	var got error
	h := sessions.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = text.Put(distrib.SessionOf(r), strings.Repeat("x", len(r.URL.Path)))
		_, ok := visits.Get(distrib.SessionOf(r))
		_, _ = fmt.Fprint(w, ok)
		_ = visits.Put(distrib.SessionOf(r), 1)
	}))
	visit := func(path, cookie string) (string, string) {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Cookie", cookie)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		set, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
		return w.Body.String(), set
	}
	edge := "/" + strings.Repeat("x", 1<<10-2*64-len("text")-len(`""`)-len("visits1")-1)
	_, first := visit(edge, "")
	if got != nil {
		t.Errorf("Put() at the bound = %v", got)
	}
	visit(edge+strings.Repeat("x", 72), "")
	if !errors.Is(got, distrib.ErrSessionTooLarge) {
		t.Errorf("Put() over the bound = %v, want ErrSessionTooLarge", got)
	}
	visit("/", "")
	if body, _ := visit("/", first); body != "false" {
		t.Error("the oldest of three sessions is there, want two")
	}
}

// A response that hands the connection over begins a session as any does.
func TestSessionOfATunnel(t *testing.T) {
	s, _ := oneBack(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := visits.Get(distrib.SessionOf(r))
		if err := visits.Put(distrib.SessionOf(r), n+1); err != nil {
			t.Errorf("Put() = %v", err)
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack() = %v", err)
			return
		}
		_, _ = fmt.Fprint(conn, n+1)
		_ = conn.Close()
	})
	ann := s.as(s.browser())
	for want := 1; want < 3; want++ {
		req, _ := http.NewRequest(http.MethodGet, s.server.URL+"/app/", nil)
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "echo")
		resp, body := ann.send(req)
		set := len(resp.Header["Set-Cookie"])
		if resp.StatusCode != http.StatusSwitchingProtocols || body != fmt.Sprint(want) ||
			set != 2-want {
			t.Errorf("visit %d: status %d, %q, %d cookies", want, resp.StatusCode, body, set)
		}
	}
}

package distrib_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perspective/cred"
	"perspective/pb/distrib"
)

// A countingChecker knows ann and bob by the password "right", and counts how often it is asked.
type countingChecker struct {
	asked atomic.Int64
	busy  atomic.Bool
}

func (*countingChecker) Kinds() []cred.Kind { return []cred.Kind{cred.KindPassword} }

func (c *countingChecker) Check(
	_ context.Context, credentials cred.Credentials, _ *cred.Peer,
) (cred.AvatarID, error) {
	claim := credentials.(cred.UsernamePassword)
	if c.busy.Load() {
		return "", cred.ErrBusy
	}
	c.asked.Add(1)
	if (claim.Username == "ann" || claim.Username == "bob") && claim.Password == "right" {
		return cred.AvatarID(claim.Username), nil
	}
	return "", cred.ErrUnauthorized
}

// A loginSite has a Site with a Login: /admin/ is ann's, /team/ is every user's, /open/ is open,
// /front/ is served by the front itself, and all say who is logged in and how often the browser was
// there.
type loginSite struct {
	*split
	checker *countingChecker
	out     *atomic.Int64 // logouts
}

func newLoginSite(t *testing.T, login *distrib.Login) *loginSite {
	t.Helper()
	s := &loginSite{checker: &countingChecker{}, out: new(atomic.Int64)}
	login.Portal = &cred.Portal{
		Checkers: []cred.Checker{s.checker},
		Realm: cred.RealmFunc(func(
			_ context.Context, id cred.AvatarID, _ any,
		) (any, func(), error) {
			return id, func() { s.out.Add(1) }, nil
		}),
	}
	site := &distrib.Site{Login: login}
	site.Handle("/admin/", distrib.Route{Back: "admin", Limits: unhurried,
		Require: []string{"ann"}, Authorization: true})
	site.Handle("/team/", distrib.Route{Back: "team", Limits: unhurried, RequireLogin: true})
	site.Handle("/", distrib.Route{Back: "open", Limits: unhurried,
		Cookies: distrib.SharedCookies})
	site.Local("/front/", greet(t))
	s.split = newSplit(t, site)
	for _, name := range []string{"admin", "team", "open"} {
		s.back(name, greet(t))
	}
	return s
}

// greet answers with what a handler knows of the user.
func greet(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		u, ok := distrib.UserFrom(r.Context())
		if ok && (time.Since(u.Since) < -time.Second || time.Since(u.Since) > time.Hour) {
			t.Errorf("logged in since %v", u.Since)
		}
		for name, values := range r.Header {
			for _, v := range values {
				if !strings.HasPrefix(r.URL.Path, "/front/") &&
					(strings.Contains(v, "right") || name == "Authorization" ||
						name == "Cookie") {
					t.Errorf("the back end sees %s: %s", name, v)
				}
			}
		}
		n, _ := visits.Get(distrib.SessionOf(r))
		if r.URL.Query().Has("visit") {
			n++
			if err := visits.Put(distrib.SessionOf(r), n); err != nil {
				t.Errorf("Put() = %v", err)
			}
		}
		_, _ = fmt.Fprintf(w, "%q %s %v %d", u.Name, u.Method, ok, n)
	}
}

// page asks as a browser does that goes to a page.
func (s *loginSite) page(c *http.Client, path string) (reply, string) {
	s.t.Helper()
	req, _ := http.NewRequest(http.MethodGet, s.server.URL+path, nil)
	req.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	return s.as(c).send(req)
}

// form sends the form at path, with header fields in turn.
func (s *loginSite) form(
	c *http.Client, path string, values url.Values, header ...string,
) (reply, string) {
	s.t.Helper()
	req, _ := http.NewRequest(http.MethodPost, s.server.URL+path,
		strings.NewReader(values.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return s.as(c).send(req)
}

func asUser(name, next string) url.Values {
	return url.Values{"user": {name}, "password": {"right"}, "next": {next}}
}

// expect fails unless path gives the body, or the status where body is empty.
func (s *loginSite) expect(c *http.Client, path string, status int, body string) {
	s.t.Helper()
	resp, got := s.as(c).get(path)
	if resp.StatusCode != status || body != "" && got != body {
		s.t.Errorf("%s: status %d, %q; want %d, %q", path, resp.StatusCode, got, status, body)
	}
}

func TestLoginByForm(t *testing.T) {
	s := newLoginSite(t, &distrib.Login{Title: "The <office>"})
	ann := s.browser()
	resp, _ := s.page(ann, "/admin/x?a=1&b=2")
	want := "/.pb/login?next=%2Fadmin%2Fx%3Fa%3D1%26b%3D2"
	if got := resp.Header.Get("Location"); got != want || resp.StatusCode != http.StatusSeeOther {
		t.Errorf("without a login: %d to %q, want 303 to %q", resp.StatusCode, got, want)
	}
	s.expect(ann, "/admin/", http.StatusUnauthorized, "")
	resp, _ = s.as(ann).do(http.MethodPost, "/admin/", nil)
	if resp.StatusCode != http.StatusUnauthorized ||
		resp.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("POST without a login: %d, WWW-Authenticate %q", resp.StatusCode,
			resp.Header.Get("WWW-Authenticate"))
	}
	resp, body := s.page(ann, "/.pb/login?next=/admin/x%3Fa=%22%3E")
	for _, want := range []string{"The &lt;office&gt;", `name="next" value="/admin/x?a=&#34;&gt;"`,
		`action="/.pb/login"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the form lacks %s: %s", want, body)
		}
	}
	if resp.StatusCode != http.StatusOK || !strings.Contains(
		resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") ||
		resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the form: %d, header %v", resp.StatusCode, resp.Header)
	}
	resp, body = s.form(ann, "/.pb/login",
		url.Values{"user": {"ann<"}, "password": {"wrong"}, "next": {"/admin/"}})
	if resp.StatusCode != http.StatusUnauthorized ||
		!strings.Contains(body, "unknown user or wrong password") ||
		!strings.Contains(body, `value="ann&lt;"`) || strings.Contains(body, `"wrong"`) ||
		len(resp.Header["Set-Cookie"]) != 0 {
		t.Errorf("wrong password: %d, %v, %s", resp.StatusCode, resp.Header, body)
	}
	resp, _ = s.form(ann, "/.pb/login", asUser("ann", "/admin/x?a=1"))
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/admin/x?a=1" {
		t.Errorf("login: %d to %q", resp.StatusCode, resp.Header.Get("Location"))
	}
	for _, path := range []string{"/admin/", "/team/", "/open/", "/front/", "/admin/x?a=1"} {
		s.expect(ann, path, http.StatusOK, `"ann" form true 0`)
	}
	bob := s.browser()
	s.form(bob, "/.pb/login", asUser("bob", ""))
	s.expect(bob, "/admin/", http.StatusForbidden, "")
	s.expect(bob, "/team/", http.StatusOK, `"bob" form true 0`)
	nobody := s.browser()
	for _, path := range []string{"/open/", "/front/"} {
		s.expect(nobody, path, http.StatusOK, `""  false 0`)
	}
	for _, path := range []string{"/.pb/", "/.pb/other", "/.pb/login/", "/%2epb/login",
		"/.pb/log%69n"} {
		resp, _ := s.as(ann).get(path)
		if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d", path, resp.StatusCode)
		}
	}
	if got := s.checker.asked.Load(); got != 3 {
		t.Errorf("the checker was asked %d times, want 3: once a session", got)
	}
}

func TestLoginLeadsNowhereElse(t *testing.T) {
	s := newLoginSite(t, &distrib.Login{})
	for next, want := range map[string]string{
		"":                              "/",
		"/a?b=/c":                       "/a?b=/c",
		"//evil":                        "/",
		"///evil":                       "/",
		`/\evil`:                        "/",
		`\\evil`:                        "/",
		`/a\..\evil`:                    "/",
		"https://evil":                  "/",
		"https:evil":                    "/",
		"javascript:alert(1)":           "/",
		"evil":                          "/",
		"/\t/evil":                      "/",
		"/\n/evil":                      "/",
		"\t//evil":                      "/",
		" //evil":                       "/",
		"/a\r\nX: y":                    "/",
		"/\x00":                         "/",
		"/\x7f":                         "/",
		"/" + strings.Repeat("a", 4096): "/",
	} {
		for _, path := range []string{"/.pb/login", "/.pb/logout"} {
			resp, _ := s.form(s.browser(), path, asUser("ann", next))
			got := resp.Header.Get("Location")
			if resp.StatusCode != http.StatusSeeOther || got != want {
				t.Errorf("%s with next %q: %d to %q, want 303 to %q", path, next, resp.StatusCode,
					got, want)
			}
			resp, body := s.page(s.browser(), path+"?next="+url.QueryEscape(next))
			if want == "/" && !strings.Contains(body, `value="/"`) {
				t.Errorf("the form of %s with next %q: %d %s", path, next, resp.StatusCode, body)
			}
		}
	}
}

func TestLoginFromOtherSites(t *testing.T) {
	s := newLoginSite(t, &distrib.Login{})
	for _, tt := range []struct {
		header []string
		ok     bool
	}{
		{nil, true}, // no browser
		{[]string{"Origin", s.server.URL}, true},
		{[]string{"Origin", strings.ToUpper(s.server.URL[:4]) + s.server.URL[4:]}, false},
		{[]string{"Origin", "http://evil.test"}, false},
		{[]string{"Origin", "null"}, false},
		{[]string{"Origin", ""}, false},
		{[]string{"Origin", s.server.URL + ".evil.test"}, false},
		{[]string{"Origin", "ftp" + s.server.URL[4:]}, false},
		{[]string{"Origin", "http://evil.test", "Sec-Fetch-Site", "same-origin"}, false},
		{[]string{"Sec-Fetch-Site", "same-origin"}, true},
		{[]string{"Sec-Fetch-Site", "none"}, true},
		{[]string{"Sec-Fetch-Site", "same-site"}, false},
		{[]string{"Sec-Fetch-Site", "cross-site"}, false},
		{[]string{"Sec-Fetch-Site", ""}, false},
	} {
		for _, path := range []string{"/.pb/login", "/.pb/logout"} {
			c := s.browser()
			s.form(c, "/.pb/login", asUser("bob", ""))
			resp, _ := s.form(c, path, asUser("ann", ""), tt.header...)
			want := http.StatusForbidden
			if tt.ok {
				want = http.StatusSeeOther
			}
			if resp.StatusCode != want {
				t.Errorf("POST %s with %q: status %d, want %d", path, tt.header, resp.StatusCode,
					want)
			}
			if !tt.ok {
				s.expect(c, "/team/", http.StatusOK, `"bob" form true 0`)
			}
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		resp, _ := s.do(method, "/.pb/login", nil)
		if resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: status %d, want 405", method, resp.StatusCode)
		}
	}
	resp, _ := s.form(s.browser(), "/.pb/login", url.Values{"user": {strings.Repeat("x", 16<<10)}})
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a form over 16 KiB: status %d, want 413", resp.StatusCode)
	}
	if got := s.checker.asked.Load(); got == 0 {
		t.Error("nobody was let in")
	}
}

// A login has another session id than the client came with, and what the old one's owner knows
// opens nothing.
func TestLoginFixation(t *testing.T) {
	s := newLoginSite(t, &distrib.Login{})
	attacker, victim := s.browser(), s.browser()
	s.expect(attacker, "/open/?visit", http.StatusOK, `""  false 1`)
	home, _ := url.Parse(s.server.URL)
	planted := attacker.Jar.Cookies(home)
	victim.Jar.SetCookies(home, planted)
	s.expect(victim, "/open/", http.StatusOK, `""  false 1`)
	s.form(victim, "/.pb/login", asUser("ann", ""))
	if got := victim.Jar.Cookies(home); len(got) != 1 || got[0].Value == planted[0].Value {
		t.Errorf("cookies after the login: %v, planted were %v", got, planted)
	}
	s.expect(victim, "/open/?visit", http.StatusOK, `"ann" form true 2`) // the values went along
	s.expect(victim, "/admin/?visit", http.StatusOK, `"ann" form true 1`)
	s.expect(attacker, "/open/", http.StatusOK, `""  false 0`)
	s.expect(attacker, "/admin/", http.StatusUnauthorized, "")
}

func TestLogoutEndsEverywhere(t *testing.T) {
	s := newLoginSite(t, &distrib.Login{})
	ann, other := s.browser(), s.browser()
	s.form(ann, "/.pb/login", asUser("ann", ""))
	s.form(other, "/.pb/login", asUser("ann", ""))
	for _, path := range []string{"/admin/?visit", "/team/?visit", "/open/?visit",
		"/front/?visit"} {
		s.expect(ann, path, http.StatusOK, `"ann" form true 1`)
	}
	home, _ := url.Parse(s.server.URL)
	thief := s.browser()
	thief.Jar.SetCookies(home, ann.Jar.Cookies(home))
	resp, body := s.page(ann, "/.pb/logout?next=/open/")
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, "Log out ann") {
		t.Errorf("the page to log out: %d %s", resp.StatusCode, body)
	}
	s.expect(ann, "/admin/", http.StatusOK, "") // to look at the page changes nothing
	resp, _ = s.form(ann, "/.pb/logout", url.Values{"next": {"/open/"}}, "Origin", s.server.URL)
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/open/" {
		t.Errorf("logout: %d to %q", resp.StatusCode, resp.Header.Get("Location"))
	}
	if got := ann.Jar.Cookies(home); len(got) != 0 {
		t.Errorf("cookies after the logout: %v", got)
	}
	for _, c := range []*http.Client{ann, thief} {
		for _, path := range []string{"/admin/", "/team/"} {
			s.expect(c, path, http.StatusUnauthorized, "")
		}
		for _, path := range []string{"/open/", "/front/"} {
			s.expect(c, path, http.StatusOK, `""  false 0`)
		}
	}
	s.expect(other, "/admin/", http.StatusOK, `"ann" form true 0`)
	if got := s.out.Load(); got != 1 {
		t.Errorf("the realm heard of %d logouts, want 1", got)
	}
	if got := s.site.Login.Logout("ann"); got != 1 {
		t.Errorf("Logout(ann) = %d, want 1", got)
	}
	s.expect(other, "/admin/", http.StatusUnauthorized, "")
}

func TestLoginByHeader(t *testing.T) {
	s := newLoginSite(t, &distrib.Login{Method: distrib.BasicLogin, Title: `a "b"`})
	ask := func(path, user, password string) reply {
		t.Helper()
		req, _ := http.NewRequest(http.MethodGet, s.server.URL+path, nil)
		if user != "" {
			req.SetBasicAuth(user, password)
		}
		resp, body := s.send(req)
		if resp.StatusCode == http.StatusOK && body != `"`+user+`" basic true 0` {
			t.Errorf("%s as %s: %s", path, user, body)
		}
		return resp
	}
	resp := ask("/admin/", "", "")
	if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized ||
		got != `Basic realm="a b", charset="UTF-8"` {
		t.Errorf("without credentials: %d, WWW-Authenticate %q", resp.StatusCode, got)
	}
	if resp := ask("/admin/", "ann", "wrong"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("wrong password: %d", resp.StatusCode)
	}
	s.checker.asked.Store(0)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if resp := ask("/admin/", "ann", "right"); resp.StatusCode != http.StatusOK {
				t.Errorf("right password: %d", resp.StatusCode)
			}
		})
	}
	wg.Wait()
	ask("/open/", "ann", "right") // known, though nobody asks for it
	if got := s.checker.asked.Load(); got != 1 {
		t.Errorf("the checker was asked %d times, want once for many requests", got)
	}
	if resp := ask("/admin/", "bob", "right"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("bob: %d, want 403", resp.StatusCode)
	}
	if resp, _ := s.get("/.pb/login"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("the form: %d, want 404", resp.StatusCode)
	}
	if got := s.site.Login.Logout("ann"); got != 1 {
		t.Errorf("Logout(ann) = %d, want 1", got)
	}
}

func TestLoginLimits(t *testing.T) {
	for _, method := range []distrib.LoginMethod{distrib.FormLogin, distrib.BasicLogin} {
		t.Run(method.String(), func(t *testing.T) {
			s := newLoginSite(t, &distrib.Login{Method: method})
			s.site.Login.Portal.Limits = cred.Limits{Delay: time.Hour, MaxDelay: time.Hour}
			try := func(password string) reply {
				if method == distrib.FormLogin {
					resp, _ := s.form(s.browser(), "/.pb/login",
						url.Values{"user": {"ann"}, "password": {password}})
					return resp
				}
				req, _ := http.NewRequest(http.MethodGet, s.server.URL+"/admin/", nil)
				req.SetBasicAuth("ann", password)
				resp, _ := s.send(req)
				return resp
			}
			s.checker.busy.Store(true)
			if resp := try("right"); resp.StatusCode != http.StatusServiceUnavailable ||
				resp.Header.Get("Retry-After") == "" {
				t.Errorf("busy: %d, Retry-After %q, want 503", resp.StatusCode,
					resp.Header.Get("Retry-After"))
			}
			s.checker.busy.Store(false)
			for i := range 3 {
				if resp := try(fmt.Sprint("wrong", i)); resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("wrong password: %d, want 401", resp.StatusCode)
				}
			}
			resp := try("right")
			got := resp.Header.Get("Retry-After")
			if resp.StatusCode != http.StatusTooManyRequests || len(got) != 4 {
				t.Errorf("after three wrong ones: %d, Retry-After %q, want 429 and an hour",
					resp.StatusCode, got)
			}
		})
	}
}

// No header and no cookie of a client's makes it a user, and no back end makes one.
func TestLoginThatIsNone(t *testing.T) {
	s := newLoginSite(t, &distrib.Login{})
	for _, header := range []string{"X-Remote-User", "Remote-User", "X-User", "Pb-User",
		"X-Forwarded-User", "Authorization"} {
		req, _ := http.NewRequest(http.MethodGet, s.server.URL+"/front/", nil)
		req.Header.Set(header, "ann")
		if _, body := s.send(req); body != `""  false 0` {
			t.Errorf("with %s: %s", header, body)
		}
	}
	evil, _ := s.serveEvil()
	defer evil()
	c := s.browser()
	s.form(c, "/.pb/login", asUser("bob", ""))
	home, _ := url.Parse(s.server.URL)
	before := c.Jar.Cookies(home)
	if resp, _ := s.as(c).get("/evil"); len(resp.Header["Set-Cookie"]) != 0 {
		t.Errorf("a back end sets %q", resp.Header["Set-Cookie"])
	}
	if got := c.Jar.Cookies(home); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("cookies %v, want %v", got, before)
	}
}

// serveEvil has a back end in the open mount's place that sets cookies of the front's.
func (s *loginSite) serveEvil() (stop func(), r *running) {
	r = s.back("open", func(w http.ResponseWriter, _ *http.Request) {
		for _, c := range []string{"s=AAAAAAAAAAAAAAAAAAAAAAAA", "__Host-s=x; Secure; Path=/",
			"S=x", " s=x; Path=/", "__host-s=x"} {
			w.Header().Add("Set-Cookie", c)
		}
	})
	return r.stop, r
}

type staff struct {
	Groups []string
	Level  int
}

func TestLoginClaims(t *testing.T) {
	got := make(chan staff, 1)
	site := &distrib.Site{Login: &distrib.Login{
		Portal: &cred.Portal{Realm: distrib.Accounts{},
			Checkers: []cred.Checker{&countingChecker{}}},
		Claims: func(l *cred.Login) any {
			return staff{[]string{"of " + string(l.ID), string(l.Avatar.(cred.AvatarID))}, 3}
		},
	}}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried, RequireLogin: true})
	s := &loginSite{split: newSplit(t, site)}
	s.back("app", func(_ http.ResponseWriter, r *http.Request) {
		u, _ := distrib.UserFrom(r.Context())
		v, ok := distrib.ClaimsOf[staff](u)
		if _, other := distrib.ClaimsOf[string](u); !ok || other {
			t.Errorf("ClaimsOf: %v, as another type %v", ok, other)
		}
		got <- v
	})
	ann := s.browser()
	s.form(ann, "/.pb/login", asUser("ann", ""))
	s.expect(ann, "/app/", http.StatusOK, "")
	if v := <-got; fmt.Sprint(v) != "{[of ann ann] 3}" {
		t.Errorf("claims %v", v)
	}
}

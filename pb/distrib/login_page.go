package distrib

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"perspective/cred"
	"perspective/internal/guard"
	"perspective/internal/lines"
)

// The paths that are the front's own where there is a Login.
const (
	ownPaths   = "/.pb/"
	loginPath  = ownPaths + "login"
	logoutPath = ownPaths + "logout"
)

const (
	maxLoginBody = 16 << 10
	maxNext      = 2 << 10
)

// A LoginPage is what Login.Page is executed with. Its form is sent by POST to Action, with the
// fields user, password and next.
type LoginPage struct {
	// Action is where the form is sent: /.pb/login, or /.pb/logout for the page that has only a
	// button.
	Action string
	Title  string // Login.Title
	User   string // who tried, or is logged in; empty: nobody
	Next   string // where the browser goes afterwards: the form's field next
	// Problem says why there was no login; empty: nobody has tried yet.
	Problem string
}

// Logout says that the page is to log out.
func (p LoginPage) Logout() bool { return p.Action == logoutPath }

const loginStyle = `body{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;` +
	`min-height:90vh;margin:0}form{display:grid;gap:.8em;width:min(20em,90vw)}` +
	`h1{font-size:1.3em;margin:0}label{display:grid;gap:.2em}` +
	`input,button{font:inherit;padding:.5em}p{margin:0;color:#b00020}`

// plainPage is the page of a Login without one of its own.
//
//nolint:gochecknoglobals // it is only executed
var plainPage = template.Must(template.New("login").Parse(`<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Title}}</title><style>` + loginStyle + `</style>
<form method="post" action="{{.Action}}">
<h1>{{.Title}}</h1>
{{if .Problem}}<p role="alert">{{.Problem}}</p>
{{end -}}
<input type="hidden" name="next" value="{{.Next}}">
{{if .Logout}}<button>Log out{{if .User}} {{.User}}{{end}}</button>
{{else -}}
<label>User <input name="user" value="{{.User}}" autocomplete="username"
 autocapitalize="none" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password"
 required></label>
<button>Log in</button>
{{end -}}
</form>
</html>
`))

// pagePolicy lets the page load nothing, be framed by nobody and send its form to this site alone.
//
//nolint:gochecknoglobals // it is made once
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(loginStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
}()

// has says whether a request is for the front itself. l may be nil.
func (l *Login) has(r *http.Request) bool {
	return l != nil && strings.HasPrefix(r.URL.Path, ownPaths)
}

// serveLogin serves what begins with ownPaths.
func (v *visit) serveLogin() {
	noStore(v.w.Header())
	h := http.NotFound
	switch {
	case v.site.Login.Method != FormLogin:
	case v.r.URL.EscapedPath() == loginPath:
		h = v.site.serveLoginPage
	case v.r.URL.EscapedPath() == logoutPath:
		h = v.site.serveLogoutPage
	}
	v.serveLocal(&route{Route: Route{Handler: http.HandlerFunc(h)}}, v.r, "")
}

func (s *Site) serveLoginPage(w http.ResponseWriter, r *http.Request) {
	page := LoginPage{Action: loginPath, Title: s.Login.title()}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		page.Next = sameSite(r.URL.Query().Get("next"))
		s.Login.write(w, r, http.StatusOK, page)
		return
	}
	if !s.readForm(w, r) {
		return
	}
	l := s.Login
	l.init()
	page.User, page.Next = r.PostForm.Get("user"), sameSite(r.PostForm.Get("next"))
	record, err := l.check(r.Context(), page.User, cred.Password(r.PostForm.Get("password")),
		peerOf(clientOf(r, s.TrustedProxies)))
	if err != nil {
		var status int
		status, page.Problem = loginStatus(w.Header(), err)
		l.write(w, r, status, page)
		return
	}
	// Another id than the client came with: somebody else may know that one.
	old, id := s.visitorOf(r), newSessionID(s.keys()[0].id)
	l.begin(record, id, &old)
	secure := clientOf(r, s.TrustedProxies).secure
	addCookie(w.Header(), makeCookie(encodeID(id), secure))
	w.Header()["Location"] = []string{page.Next}
	w.WriteHeader(http.StatusSeeOther)
}

func (s *Site) serveLogoutPage(w http.ResponseWriter, r *http.Request) {
	v := s.visitorOf(r)
	page := LoginPage{Action: logoutPath, Title: s.Login.title()}
	if u := v.user(); u != nil {
		page.User = u.Name
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		page.Next = sameSite(r.URL.Query().Get("next"))
		s.Login.write(w, r, http.StatusOK, page)
		return
	}
	if !s.readForm(w, r) {
		return
	}
	if v.key != nil {
		s.Login.init()
		s.Login.end(v.id)
		secure := clientOf(r, s.TrustedProxies).secure
		addCookie(w.Header(), makeCookie("", secure)+"; Max-Age=0")
	}
	w.Header()["Location"] = []string{sameSite(r.PostForm.Get("next"))}
	w.WriteHeader(http.StatusSeeOther)
}

// readForm reads the form of a POST from this site; otherwise the request has got its answer.
func (s *Site) readForm(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case r.Method != http.MethodPost:
		w.Header()["Allow"] = []string{"GET, HEAD, POST"}
		refuseBecause(w, http.StatusMethodNotAllowed, "method not allowed")
		return false
	case !ownOrigin(r, clientOf(r, s.TrustedProxies).secure):
		refuseBecause(w, http.StatusForbidden, "forbidden: this form was sent from another site")
		return false
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLoginBody)
	err := r.ParseForm()
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		refuse(w, http.StatusRequestEntityTooLarge)
		return false
	}
	if err != nil {
		refuse(w, http.StatusBadRequest)
		return false
	}
	return true
}

// ownOrigin says whether a request that changes something comes from a page of this site, or from
// no browser (cross-site request forgery).
func ownOrigin(r *http.Request, secure bool) bool {
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		sites := r.Header["Sec-Fetch-Site"]
		return len(sites) == 0 || len(sites) == 1 &&
			(sites[0] == "same-origin" || sites[0] == "none")
	}
	// A page that came without TLS may be anybody's. The other way the front may stand behind
	// something that it does not trust to say so.
	scheme, host, ok := strings.Cut(origins[0], "://")
	return len(origins) == 1 && ok && strings.EqualFold(host, r.Host) &&
		(scheme == "https" || scheme == "http" && !secure)
}

// sameSite returns next if it is a path of this site in every browser's eyes, and "/" otherwise
// (open redirect).
func sameSite(next string) string {
	if len(next) > maxNext || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") {
		return "/"
	}
	for _, b := range []byte(next) {
		if b <= ' ' || b >= 0x7f || b == '\\' {
			return "/"
		}
	}
	return next
}

// nextQuery returns the query that has the form come back to target.
func nextQuery(target string) string {
	return url.Values{"next": {sameSite(target)}}.Encode()
}

// write executes the page.
func (l *Login) write(w http.ResponseWriter, r *http.Request, status int, page LoginPage) {
	tmpl := l.Page
	if tmpl == nil {
		tmpl = plainPage
	}
	var b bytes.Buffer
	err := guard.Run(func() error { return tmpl.Execute(&b, page) })
	if err != nil {
		if !lines.Fault(r.Context(), l.logger(), "Login.Page", err) {
			l.logger().ErrorContext(r.Context(), "Login.Page failed", "err", err)
		}
		refuse(w, http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h["Content-Type"] = []string{"text/html; charset=utf-8"}
	h["Content-Length"] = []string{strconv.Itoa(b.Len())}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h["X-Frame-Options"] = []string{"DENY"}
	h["Referrer-Policy"] = []string{"same-origin"} // with less the form is sent without an Origin
	if l.Page == nil {
		h["Content-Security-Policy"] = []string{pagePolicy}
	} else {
		h["Content-Security-Policy"] = []string{"frame-ancestors 'none'; form-action 'self'"}
	}
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client may be gone
}

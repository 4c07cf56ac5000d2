package distrib

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// errTarget is the reason of a 400: no two readers of this target need agree where it leads.
var errTarget = errors.New("distrib: the target is ambiguous, write the path plainly")

// A Route says which mount serves some prefixes, and what the front lets its back end see and do.
// The zero value but for Back is a strict one. It is only read after Site.Handle or Site.Configure.
type Route struct {
	// Paths are the prefixes; Handle adds its own. Configure takes none for the whole site.
	Paths []string
	// Host is the name that the request must be for, as in example.org; case and port do not count.
	// Routes with a host go before those without, however long these are. Empty: any host.
	Host string
	// Back is the name of the mount, as in Part.Mount and Site.Attach. Several routes may have one,
	// if their Limits are the same.
	Back string
	// Handler serves the route in the front itself, instead of a back end. Of the fields below
	// Strip, Require and RequireLogin concern it.
	Handler http.Handler
	// Strip takes the prefix off the path, as http.StripPrefix does, and off RequestURI: the
	// handler sees a path that begins at the mount, and the prefix in X-Forwarded-Prefix. What it
	// answers is not changed: a Location of "/x" leads out of the mount. A path that would begin
	// with two slashes gets 400, for it names another host where a handler redirects to it.
	Strip bool
	// Cookies says whose cookies the back end sees and sets; zero: its own.
	Cookies Cookies
	// Authorization lets the back end see the header of that name. False: it is the front's, or
	// nobody's.
	Authorization bool
	// Sticky sends a client back to the instance that answered it before, as long as that serves,
	// by a cookie of the front's that no back end sees. False: each request goes to the instance
	// with less to do of two picked at random.
	Sticky bool
	// Require lists the users who may pass, and RequireLogin lets every user pass who is logged in,
	// see Site.Login; neither: everybody may. A browser that asks for a page is sent to the form,
	// what else comes without a login gets 401, and other users 403.
	Require      []string
	RequireLogin bool
	// Encode are the encodings, of "zstd" and "gzip", by which the front compresses bodies that the
	// back end has not, for clients that take them; the first that a client likes best. Only what
	// gets smaller is compressed: text, JSON and their like, from 1 KiB on. Nil: none, which is
	// right where a page has a secret and words of its visitor's side by side, for its length then
	// tells a stranger about the secret (BREACH).
	Encode []string
	// Limits bound what the back end and the requests that wait for it may cost the front.
	Limits Limits
}

// A route is one prefix of a Route in the table: prefix is "" for the whole site, else begins with
// a slash and ends without one.
type route struct {
	Route
	prefix  string
	cookies cookieJar
	back    *backEnd // nil: Handler serves
}

// A routeTable finds routes by host and prefix; it is never changed, only replaced.
type routeTable struct {
	routes []*route            // for any host, the longest prefix first
	hosts  map[string][]*route // by host, as above
}

// cleanHost returns how a Route's host stands in the table.
func cleanHost(host string) (string, error) {
	clean := strings.ToLower(host)
	valid := clean != "" && len(clean) <= 253 && !strings.HasPrefix(clean, ".") &&
		!strings.HasSuffix(clean, ".")
	for _, c := range []byte(strings.TrimSuffix(strings.TrimPrefix(clean, "["), "]")) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		case c == ':' && clean[0] == '[' && clean[len(clean)-1] == ']':
		default:
			valid = false
		}
	}
	if !valid {
		return "", fmt.Errorf("distrib: %q is no host, write a name such as example.org, without "+
			"a port", host)
	}
	return clean, nil
}

// hostName returns the name in a request's Host, as cleanHost does.
func hostName(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// cleanPrefix returns how a prefix stands in the table.
func cleanPrefix(prefix string) (string, error) {
	if !strings.HasPrefix(prefix, "/") || strings.ContainsAny(prefix, "%?#;\\ \r\n\t\x00") {
		return "", fmt.Errorf("distrib: %q is no prefix, write a plain path such as /board/",
			prefix)
	}
	c := path.Clean(prefix)
	if c != prefix && (c == "/" || c+"/" != prefix) {
		return "", fmt.Errorf("distrib: %q is no prefix, write it as %q", prefix, c)
	}
	return strings.TrimSuffix(c, "/"), nil
}

// routesOf returns the routes of a Route, one for each of its prefixes.
func routesOf(r Route) ([]*route, error) {
	switch {
	case r.Handler == nil && !validName(r.Back):
		return nil, fmt.Errorf("distrib: %q is no name for a back end, use up to %d letters, "+
			"digits and ._~-", r.Back, maxName)
	case r.Handler != nil && r.Back != "":
		return nil, fmt.Errorf("distrib: a route to the back end %s has a handler too", r.Back)
	}
	var err error
	if r.Host != "" {
		if r.Host, err = cleanHost(r.Host); err != nil {
			return nil, err
		}
	}
	if len(r.Paths) == 0 {
		r.Paths = []string{"/"}
	}
	routes := make([]*route, len(r.Paths))
	for i, p := range r.Paths {
		routes[i] = &route{Route: r}
		if routes[i].prefix, err = cleanPrefix(p); err != nil {
			return nil, err
		}
	}
	return routes, nil
}

// with returns a table that has rt too.
func (t *routeTable) with(rt *route) (*routeTable, error) {
	next := &routeTable{hosts: make(map[string][]*route)}
	if t != nil {
		next.routes = t.routes
		maps.Copy(next.hosts, t.hosts)
	}
	for other := range next.all() {
		if other.Host == rt.Host && other.prefix == rt.prefix {
			return nil, fmt.Errorf("distrib: the prefix %s/ is taken", rt.Host+rt.prefix)
		}
		if rt.Back != "" && other.Back == rt.Back &&
			other.Limits.withDefaults() != rt.Limits.withDefaults() {
			return nil, fmt.Errorf("distrib: the back end %s has other limits at the prefix %s/",
				rt.Back, other.Host+other.prefix)
		}
	}
	add := func(routes []*route) []*route {
		routes = append(slices.Clone(routes), rt)
		slices.SortStableFunc(routes,
			func(a, b *route) int { return len(b.prefix) - len(a.prefix) })
		return routes
	}
	if rt.Host != "" {
		next.hosts[rt.Host] = add(next.hosts[rt.Host])
	} else {
		next.routes = add(next.routes)
	}
	return next, nil
}

// all gives the routes in no order.
func (t *routeTable) all() iter.Seq[*route] {
	return func(yield func(*route) bool) {
		if t == nil {
			return
		}
		for _, rt := range t.routes {
			if !yield(rt) {
				return
			}
		}
		for _, routes := range t.hosts {
			for _, rt := range routes {
				if !yield(rt) {
					return
				}
			}
		}
	}
}

// ofHost returns those of the routes that ask for the host.
func (t *routeTable) ofHost(host string) []*route {
	if t == nil || len(t.hosts) == 0 {
		return nil
	}
	return t.hosts[hostName(host)]
}

// match finds the route of a path; nil if there is none. of are those of its host, which go before
// all others. A prefix ends where a segment does.
func (t *routeTable) match(of []*route, p string) *route {
	if t == nil {
		return nil
	}
	for _, routes := range [...][]*route{of, t.routes} {
		for _, rt := range routes {
			n := len(rt.prefix)
			if strings.HasPrefix(p, rt.prefix) && (len(p) == n || p[n] == '/') {
				return rt
			}
		}
	}
	return nil
}

// reach returns the target as the route's handler sees it.
func (rt *route) reach(target string) (string, error) {
	if rt == nil || !rt.Strip || rt.prefix == "" {
		return target, nil
	}
	target = target[len(rt.prefix):]
	switch {
	case target == "" || target[0] == '?':
		return "/" + target, nil
	case strings.HasPrefix(target, "//"), strings.HasPrefix(target, "/\\"):
		return "", errTarget
	}
	return target, nil
}

// stripped returns the request as a handler of the front's own gets it, whose path begins at the
// mount. It changes the header of r.
func (rt *route) stripped(r *http.Request, target string) (*http.Request, error) {
	if !rt.Strip || rt.prefix == "" {
		return r, nil
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, errTarget
	}
	own := *r
	own.RequestURI, own.URL = target, u
	own.Header["X-Forwarded-Prefix"] = []string{rt.prefix}
	return &own, nil
}

// find returns the route of a request's target and the target in origin form (a path and perhaps a
// query, as the client wrote it, without the prefix where that is to be stripped). The path is
// matched raw, decoded once, and decoded once and cleaned: where these lead to different routes,
// the client tries to get round one (path traversal), and the error is errTarget.
func (t *routeTable) find(r *http.Request) (*route, string, error) {
	target := r.RequestURI
	if target == "" {
		target = r.URL.RequestURI()
	}
	if !strings.HasPrefix(target, "/") {
		var ok bool
		if target, ok = originForm(target); !ok {
			return nil, "", errTarget
		}
	}
	raw, _, _ := strings.Cut(target, "?")
	of := t.ofHost(r.Host)
	rt := t.match(of, raw)
	if !plainPath(raw) {
		decoded, err := url.PathUnescape(raw)
		if err != nil || t.match(of, decoded) != rt || t.match(of, path.Clean(decoded)) != rt {
			return nil, "", errTarget
		}
	}
	target, err := rt.reach(target)
	if err != nil {
		return nil, "", err
	}
	return rt, target, nil
}

// plainPath says that a path is the same raw, decoded and cleaned, but perhaps for a slash at its
// end.
func plainPath(p string) bool {
	for i := range len(p) {
		switch p[i] {
		case '%':
			return false
		case '/':
			if i+1 < len(p) && (p[i+1] == '/' || p[i+1] == '.') {
				return false
			}
		}
	}
	return true
}

// originForm cuts scheme and host off an absolute target.
func originForm(target string) (string, bool) {
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", false
	}
	i := strings.IndexAny(rest, "/?")
	switch {
	case i < 0:
		return "/", true
	case rest[i] == '?':
		return "/" + rest[i:], true
	}
	return rest[i:], true
}

package distrib

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// errTarget is the reason of a 400: no two readers of this target need agree where it leads.
var errTarget = errors.New("distrib: the target is ambiguous, write the path plainly")

// A Route says which back end serves a prefix, and what the front lets it see and do. The zero
// value but for Back is a strict one. It is only read after Site.Handle.
type Route struct {
	// Back is the name of the back end, as in Part.Name and Site.Attach.
	Back string
	// Cookies says whose cookies the back end sees and sets; zero: its own.
	Cookies Cookies
	// Authorization lets the back end see the header of that name. False: it is the front's, or
	// nobody's.
	Authorization bool
	// Sticky sends a client back to the instance that answered it before, as long as that serves, by
	// a cookie of the front's that no back end sees. False: each request goes to the instance with
	// less to do of two picked at random.
	Sticky bool
	// Require lists the users who may pass, and RequireLogin lets every user pass who is logged in,
	// see Site.Login; neither: everybody may. A browser that asks for a page is sent to the form,
	// what else comes without a login gets 401, and other users 403.
	Require      []string
	RequireLogin bool
	// Limits bound what the back end and the requests that wait for it may cost the front.
	Limits Limits
}

// A route is a Route in the table: prefix is "" for the whole site, else begins with a slash and
// ends without one.
type route struct {
	Route
	prefix  string
	local   http.Handler // instead of a back end
	cookies cookieJar
	back    *backEnd
}

// A routeTable finds routes by their prefixes; it is never changed, only replaced.
type routeTable struct {
	routes []*route // the longest prefix first
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

// with returns a table that has rt too.
func (t *routeTable) with(rt *route) (*routeTable, error) {
	var routes []*route
	if t != nil {
		routes = slices.Clone(t.routes)
	}
	for _, other := range routes {
		if other.prefix == rt.prefix {
			return nil, fmt.Errorf("distrib: the prefix %s/ is taken", rt.prefix)
		}
		if rt.Back != "" && other.Back == rt.Back {
			return nil, fmt.Errorf("distrib: the back end %s has the prefix %s/ already",
				rt.Back, other.prefix)
		}
	}
	routes = append(routes, rt)
	slices.SortStableFunc(routes, func(a, b *route) int { return len(b.prefix) - len(a.prefix) })
	return &routeTable{routes}, nil
}

// match finds the route of a path; nil if there is none. A prefix ends where a segment does.
func (t *routeTable) match(p string) *route {
	if t == nil {
		return nil
	}
	for _, rt := range t.routes {
		if n := len(rt.prefix); strings.HasPrefix(p, rt.prefix) && (len(p) == n || p[n] == '/') {
			return rt
		}
	}
	return nil
}

// find returns the route of a request's target and the target in origin form (a path and perhaps a
// query, as the client wrote it). The path is matched raw, decoded once, and decoded once and
// cleaned: where these lead to different routes, the client tries to get round one (path
// traversal), and the error is errTarget.
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
	rt := t.match(raw)
	if plainPath(raw) {
		return rt, target, nil
	}
	decoded, err := url.PathUnescape(raw)
	if err != nil || t.match(decoded) != rt {
		return nil, "", errTarget
	}
	if t.match(path.Clean(decoded)) != rt {
		return nil, "", errTarget
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

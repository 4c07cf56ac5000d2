package distrib

import (
	"path"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Cookies says whose cookies a back end sees and sets.
type Cookies uint8

const (
	// OwnCookies, the zero value, keeps a back end's cookies apart from all others: the browser
	// knows them as ~MOUNT.NAME, the back end by the names that it gave them, and it sees no other.
	OwnCookies Cookies = iota
	// SharedCookies leaves the names as they are, for a back end whose scripts read them. Back ends
	// with shared cookies see each other's.
	SharedCookies
)

// A cookieJar turns the cookies of one mount between the browser's names and the back end's. It is
// only read.
type cookieJar struct {
	prefix string // of the names in the browser; empty: shared
	path   string // under which the cookies stay
	own    []string
}

// newCookieJar makes the jar of the mount called name. reserved are the front's own cookies.
func newCookieJar(name, prefix string, mode Cookies, reserved []string) cookieJar {
	j := cookieJar{path: prefix, own: reserved}
	if j.path == "" {
		j.path = "/"
	}
	if mode == OwnCookies {
		j.prefix = "~" + cookieMount(name) + "."
	}
	return j
}

// cookieMount is a mount's name in the name of a cookie. A dot ends it there, so it may not have
// one; no mount's name has an exclamation mark.
func cookieMount(name string) string { return strings.ReplaceAll(name, ".", "!") }

// forward returns the Cookie header for the back end, empty if none is for it.
func (j *cookieJar) forward(headers []string) string {
	var b strings.Builder
	for _, h := range headers {
		for c := range strings.SplitSeq(h, ";") {
			name, value, ok := strings.Cut(strings.TrimSpace(c), "=")
			if !ok {
				continue
			}
			name, ok = j.toBackEnd(name)
			if !ok {
				continue
			}
			if b.Len() > 0 {
				b.WriteString("; ")
			}
			b.WriteString(name)
			b.WriteByte('=')
			b.WriteString(value)
		}
	}
	return b.String()
}

// toBackEnd turns a name of the browser's into the back end's.
func (j *cookieJar) toBackEnd(name string) (string, bool) {
	if j.prefix == "" {
		return name, !strings.HasPrefix(name, "~") && j.allowed(name)
	}
	name, ok := strings.CutPrefix(name, j.prefix)
	// Any script of the origin can set ~MOUNT.__Host-x, so the name would promise what no browser
	// checked.
	return name, ok && j.allowed(name)
}

// allowed says whether a back end may have a cookie of this name.
func (j *cookieJar) allowed(name string) bool {
	if !httpguts.ValidHeaderFieldName(name) || hasPrefixFold(name, "__Host-") ||
		hasPrefixFold(name, "__Secure-") {
		return false
	}
	for _, own := range j.own {
		if strings.EqualFold(name, own) {
			return false
		}
	}
	return true
}

// set turns a Set-Cookie of the back end's into what the browser gets; false if it gets nothing.
func (j *cookieJar) set(header string) (string, bool) {
	pair, attributes, _ := strings.Cut(header, ";")
	name, value, ok := strings.Cut(pair, "=")
	name = strings.TrimSpace(name)
	if !ok || !j.allowed(name) || j.prefix == "" && strings.HasPrefix(name, "~") {
		return "", false
	}
	var b strings.Builder
	b.WriteString(j.prefix)
	b.WriteString(name)
	b.WriteByte('=')
	b.WriteString(strings.TrimSpace(value))
	cookiePath := j.path
	for a := range strings.SplitSeq(attributes, ";") {
		a = strings.TrimSpace(a)
		key, v, _ := strings.Cut(a, "=")
		switch key = strings.TrimSpace(key); {
		case key == "", strings.EqualFold(key, "Domain"):
		case strings.EqualFold(key, "Path"):
			// The last one counts, as in browsers.
			cookiePath = j.under(strings.TrimSpace(v))
		default:
			b.WriteString("; ")
			b.WriteString(a)
		}
	}
	b.WriteString("; Path=")
	b.WriteString(cookiePath)
	return b.String(), true
}

// under returns p if it lies in the mount, else the mount's own path.
func (j *cookieJar) under(p string) string {
	if !strings.HasPrefix(p, "/") || strings.ContainsAny(p, "%\\") {
		return j.path
	}
	if c := path.Clean(p); c != p && c+"/" != p {
		return j.path
	}
	if j.path == "/" || p == j.path || strings.HasPrefix(p, j.path+"/") {
		return p
	}
	return j.path
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

package web

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The bounds of a site.
const (
	maxMounts     = 200
	maxInstances  = 64
	maxMountName  = 48  // names of parts and dialers are made of it
	maxSocketPath = 107 // the kernel's, in bytes
	userdirPath   = "/~{user}/"
)

// check tells what is missing, contradictory or out of range in what has been read. It looks at
// nothing but the text.
func (d *decoder) check(c *Config) {
	d.checkListen(c)
	if c.TLS != nil {
		d.checkTLS(c.TLS)
	}
	d.checkUserName("user", c.User)
	d.checkSocketPath("admin", c.Admin)
	d.checkMetrics(c)
	d.oneOf("log.format", c.Log.Format, "json", "combined")
	d.checkNotEmpty("log.file", c.Log.File)
	for i, network := range c.TrustedProxies {
		if _, err := parseNetwork(network); err != nil {
			d.complainf(element("trusted_proxies", i),
				"trusted_proxies: %q is no address and no network, write 10.0.0.0/8 or 10.0.0.1",
				network)
		}
	}
	if c.Login != nil {
		if c.Login.Users == "" {
			d.complainf("login.users", `login: users is missing, write users = "FILE" of pb passwd`)
		}
		d.oneOf("login.method", c.Login.Method, "form", "basic")
	}
	d.checkMounts(c)
}

// parseNetwork reads an address or a network.
func parseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

// oneOf checks a word; empty stands for the first.
func (d *decoder) oneOf(path, value string, words ...string) {
	if value == "" && !d.lines.has(path) || slices.Contains(words, value) {
		return
	}
	quoted := make([]string, 0, len(words))
	for _, word := range words {
		quoted = append(quoted, strconv.Quote(word))
	}
	d.complainf(path, "%s: %s is not one of %s", last(path), shown(value), list(quoted))
}

// checkNotEmpty refuses "" where the key is written out.
func (d *decoder) checkNotEmpty(path, value string) {
	if value == "" && d.lines.has(path) {
		d.complainf(path, "%s is empty: leave it out, or say what it is", last(path))
	}
}

// checkUserName checks what may be a user's name.
func (d *decoder) checkUserName(path, name string) {
	switch {
	case name == "":
		d.checkNotEmpty(path, name)
	case name == "root" || name == "0":
		d.complainf(path, "user: no part of a site runs as root; name another user, or leave it "+
			"out for a free one")
	case len(name) > 64 || strings.ContainsAny(name, ":/ \t\n"):
		d.complainf(path, "user: %s is no name of a user", shown(name))
	}
}

func (d *decoder) checkSocketPath(path, socket string) {
	d.checkNotEmpty(path, socket)
	if len(socket) > maxSocketPath {
		d.complainf(path, "%s: the path of a socket has at most %d bytes, this one has %d: %s",
			last(path), maxSocketPath, len(socket), socket)
	}
}

// An endPoint is an address that something listens at.
type endPoint struct {
	path string // where it stands in the file
	text string
	host string // empty and 0.0.0.0 and :: are any
	port int    // 0: a free one
	unix string
}

func (d *decoder) checkListen(c *Config) {
	if len(c.Listen) == 0 {
		d.complainf("listen", `listen is missing: write listen = ["127.0.0.1:8080"]`)
	}
	var all []endPoint
	for i, addr := range c.Listen {
		if e, ok := d.endPoint(element("listen", i), addr); ok {
			d.checkClash(all, e)
			all = append(all, e)
		}
	}
}

// endPoint reads HOST:PORT or unix:PATH.
func (d *decoder) endPoint(path, addr string) (endPoint, bool) {
	e := endPoint{path: path, text: addr}
	if socket, ok := strings.CutPrefix(addr, unixPrefix); ok {
		if socket == "" {
			d.complainf(path, "%s: write unix:PATH", last(path))
			return e, false
		}
		d.checkSocketPath(path, socket)
		e.unix = socket
		return e, true
	}
	host, port, err := net.SplitHostPort(addr)
	n, wrong := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil:
		d.complainf(path, "%s: %s is no address, write HOST:PORT or unix:PATH", last(path),
			shown(addr))
		return e, false
	case wrong != nil:
		d.complainf(path, "%s: %s: the port is a number up to 65535", last(path), shown(addr))
		return e, false
	case !validHost(host) && host != "":
		d.complainf(path, "%s: %s: %q is no host", last(path), shown(addr), host)
		return e, false
	}
	e.host, e.port = strings.ToLower(host), int(n)
	return e, true
}

// checkClash tells of two addresses that cannot both be listened at.
func (d *decoder) checkClash(all []endPoint, e endPoint) {
	for _, other := range all {
		if other.clashes(e) {
			d.complainf(e.path, "%s: %s is taken by %s in line %d", last(e.path), shown(e.text),
				shown(other.text), d.lines.line(other.path))
			return
		}
	}
}

func (e endPoint) clashes(other endPoint) bool {
	if e.unix != "" || other.unix != "" {
		return e.unix == other.unix
	}
	if e.port == 0 || e.port != other.port {
		return false
	}
	return e.host == other.host || e.covers(other) || other.covers(e)
}

// covers says whether e is every address of the other's family.
func (e endPoint) covers(other endPoint) bool {
	switch e.host {
	case "", "::":
		return true
	case "0.0.0.0":
		addr, err := netip.ParseAddr(other.host)
		return err != nil || addr.Is4()
	}
	return false
}

func (d *decoder) checkMetrics(c *Config) {
	d.checkNotEmpty("metrics", c.Metrics)
	if c.Metrics == "" {
		return
	}
	e, ok := d.endPoint("metrics", c.Metrics)
	if !ok {
		return
	}
	for i, addr := range c.Listen {
		host, port, _ := net.SplitHostPort(addr)
		n, err := strconv.Atoi(port)
		site := endPoint{path: element("listen", i), text: addr, port: n,
			host: strings.ToLower(host)}
		if socket, ok := strings.CutPrefix(addr, unixPrefix); ok {
			site.unix, err = socket, nil
		}
		if err == nil && site.clashes(e) {
			d.complainf("metrics", "metrics: %s is an address of the site: figures never stand on "+
				"the site, give them another", shown(c.Metrics))
		}
	}
}

func (d *decoder) checkTLS(t *TLS) {
	for _, key := range []struct{ path, value string }{{"tls.cert", t.Cert}, {"tls.key", t.Key},
		{"tls.cache", t.Cache}, {"tls.directory", t.Directory}, {"tls.ca", t.CA}} {
		d.checkNotEmpty(key.path, key.value)
	}
	switch files := t.Cert != "" || t.Key != ""; {
	case t.ACME && files:
		d.complainf("tls.acme", "tls: write cert and key, or acme = true, not both")
		return
	case !t.ACME && !files:
		d.complainf("tls.kind", "tls: write cert and key, or acme = true with domains and cache")
		return
	case files && (t.Cert == "" || t.Key == ""):
		d.complainf("tls.kind", "tls: cert and key go together")
	}
	if !t.ACME {
		for _, path := range []string{"tls.domains", "tls.cache", "tls.directory", "tls.ca"} {
			if d.lines.has(path) {
				d.complainf(path, "tls: %s is for acme = true", last(path))
			}
		}
		return
	}
	if len(t.Domains) == 0 {
		d.complainf("tls.domains", "tls: domains is missing: name the hosts that "+
			"certificates are got for")
	}
	if t.Cache == "" {
		d.complainf("tls.cache", "tls: cache is missing: name a folder to keep certificates in")
	}
	for i, domain := range t.Domains {
		_, err := netip.ParseAddr(domain)
		if err == nil || !validHost(domain) {
			d.complainf(element("tls.domains", i), "tls: %s is no name of a host: certificates "+
				"are got for names without wildcards", shown(domain))
		}
	}
	if u, err := url.Parse(t.Directory); t.Directory != "" &&
		(err != nil || u.Scheme != "https" || u.Host == "") {
		d.complainf("tls.directory", "tls: directory is the URL of an ACME directory, "+
			"https://…, not %s", shown(t.Directory))
	}
}

// validHost says whether a text is an address or a name of a host, in letters of ASCII.
func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, bareKey) != "" {
			return false
		}
	}
	return true
}

// hostPortProblem says what is wrong with an address to connect to; nil: nothing.
func hostPortProblem(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || !validHost(host) {
		return fmt.Errorf(`%s is no address, write "HOST:PORT"`, shown(addr))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%s: the port is a number from 1 to 65535", shown(addr))
	}
	return nil
}

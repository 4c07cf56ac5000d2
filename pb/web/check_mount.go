package web

import (
	"net/url"
	"path/filepath"
	"strings"

	"perspective/pb"
	"perspective/pb/distrib"
)

// frontName is the part that owns the site's addresses.
const frontName = "front"

// kinds are what may serve a mount; exactly one of them does.
var kinds = []string{"files", "run", "connect", "proxy", "cgi", "userdir"}

func (d *decoder) checkMounts(c *Config) {
	if len(c.Mounts) == 0 && !d.bad["mount"] {
		d.complainf("mount", "there is no [[mount]]: nothing is served")
	}
	if len(c.Mounts) > maxMounts {
		d.complainf(element("mount", maxMounts), "mount: there are %d, at most %d", len(c.Mounts),
			maxMounts)
	}
	m := &mountChecker{decoder: d, config: c, names: map[string]int{frontName: -1},
		routes: map[string]int{}, users: map[string]int{}}
	for i := range c.Mounts {
		m.index, m.at, m.Mount = i, element("mount", i), &c.Mounts[i]
		m.check()
	}
}

// A mountChecker checks one mount after the other.
type mountChecker struct {
	*decoder
	*Mount

	config *Config
	index  int
	at     string         // the mount's place
	names  map[string]int // which mount has a name for a part, -1: none has
	routes map[string]int // which mount has a host and a prefix
	users  map[string]int
}

// place is that of a key of the mount.
func (m *mountChecker) place(key string) string { return below(m.at, key) }

// has says whether the mount has the key.
func (m *mountChecker) has(key string) bool { return m.lines.has(m.place(key)) }

func (m *mountChecker) check() {
	kind := m.checkKind()
	m.checkName()
	m.checkRoutes(kind)
	m.checkUser()
	if m.Instances > maxInstances {
		m.complainf(m.place("instances"), "instances: %d are too many, at most %d", m.Instances,
			maxInstances)
	}
	m.checkWhoMayCome()
	m.oneOf(m.place("cookies"), m.Cookies, "own", "shared", "all")
	seen := map[string]bool{}
	for i, e := range m.Encode {
		at := element(m.place("encode"), i)
		m.oneOf(at, e, "zstd", "gzip")
		if seen[e] {
			m.complainf(at, "encode: %s stands twice", shown(e))
		}
		seen[e] = true
	}
	m.checkEnv()
	m.checkSandbox()
	m.checkFits(kind)
}

// checkKind finds out what serves the mount; empty: something is wrong with it.
func (m *mountChecker) checkKind() string {
	var found []string
	for _, kind := range kinds {
		if m.has(kind) {
			found = append(found, kind)
		}
	}
	switch len(found) {
	case 0:
		m.complainf(m.place("kind"), "mount: nothing serves it, write one of %s", list(kinds))
		return ""
	case 1:
	default:
		m.complainf(m.place(found[1]), "mount: %s stand together, write one of them", list(found))
		return ""
	}
	kind, at := found[0], m.place(found[0])
	if m.bad[at] {
		return ""
	}
	switch kind {
	case "files":
		m.checkNotEmpty(at, m.Files)
	case "run":
		m.checkProgram(at, m.Run)
	case "connect":
		m.checkConnect(at)
	case "proxy":
		m.checkProxy(at)
	case "cgi":
		m.checkNotEmpty(at, m.CGI)
	case "userdir":
		m.checkUserdir(at)
	}
	return kind
}

func (m *mountChecker) checkProgram(at string, command []string) {
	if len(command) == 0 || command[0] == "" {
		m.complainf(at, `run: name a program, run = ["bin/app"]`)
	}
}

// checkConnect checks the end point that a back end joins by.
func (m *mountChecker) checkConnect(at string) {
	if path, ok := strings.CutPrefix(m.Connect, unixPrefix); ok && !strings.HasPrefix(path, "//") {
		if path == "" {
			m.complainf(at, "connect: write unix:PATH")
		}
		m.checkSocketPath(at, path)
		return
	}
	if strings.HasPrefix(m.Connect, "twisted") {
		m.complainf(at, "connect: %s: end points of twisted.web.distrib cannot be joined yet; "+
			"serve it over HTTP and write proxy", shown(m.Connect))
		return
	}
	address, err := pb.ParseURL(m.Connect)
	switch {
	case err == nil && address.Scheme == "pb+unix":
		m.checkSocketPath(at, address.Host)
	case err == nil && address.Scheme == "pb" && address.NodeID != "":
	case err == nil && address.Scheme == "pb":
		m.complainf(at, "connect: %s: say whose key answers there, pb://NODE@HOST:PORT",
			shown(m.Connect))
	default:
		m.complainf(at, "connect: %s: write unix:PATH, pb+unix://PATH or pb://NODE@HOST:PORT",
			shown(m.Connect))
	}
}

// checkProxy checks the URL of an HTTP server.
func (m *mountChecker) checkProxy(at string) {
	u, err := url.Parse(m.Proxy)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		m.complainf(at, "proxy: %s: write http://HOST:PORT or https://HOST:PORT", shown(m.Proxy))
	case u.User != nil:
		m.complainf(at, "proxy: no name and no password can stand in the URL")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		m.complainf(at, "proxy: %s: the URL ends behind the port; a request keeps its path, and "+
			"strip = true takes the mount's off", shown(m.Proxy))
	case !validHost(u.Hostname()):
		m.complainf(at, "proxy: %q is no host", u.Hostname())
	}
}

func (m *mountChecker) checkUserdir(at string) {
	u := m.Userdir
	if len(u.Users) == 0 && u.Group == "" {
		m.complainf(below(at, "users"), "userdir: whose? write users or group")
	}
	for i, name := range u.Users {
		m.checkUserName(element(below(at, "users"), i), name)
	}
	var found []string
	for _, kind := range []string{"files", "run", "socket"} {
		if m.lines.has(below(at, kind)) {
			found = append(found, kind)
		}
	}
	if len(found) != 1 {
		m.complainf(below(at, "kind"), "userdir: write one of files, run and socket")
		return
	}
	for _, local := range []struct{ key, path string }{{"files", u.Files}, {"socket", u.Socket}} {
		if key := below(at, local.key); local.key == found[0] && !filepath.IsLocal(local.path) {
			m.complainf(key, "%s: %s: write a path in the home of a user, without .. in it",
				local.key, shown(local.path))
		}
	}
	if found[0] == "run" {
		m.checkProgram(below(at, "run"), u.Run)
	}
}

// checkName checks the mount's name, and that its parts get names of their own.
func (m *mountChecker) checkName() {
	at := m.place("name")
	m.checkNotEmpty(at, m.Name)
	if len(m.Name) > maxMountName || distrib.CheckName(m.Name) != nil {
		m.complainf(at, "name: %s: use up to %d letters, digits and ._~-", shown(m.Name),
			maxMountName)
		return
	}
	names := []string{m.Name}
	for n := 1; m.Instances > 1 && n <= min(m.Instances, maxInstances); n++ {
		names = append(names, instanceName(m.Name, n))
	}
	for _, name := range names {
		other, taken := m.names[name]
		switch {
		case taken && other < 0:
			m.complainf(at, "name: %s is the part that owns the addresses, use another", name)
		case taken && other != m.index:
			m.complainf(at, "name: %s is the name of the mount in line %d, give this one another",
				name, m.lines.line(element("mount", other)))
		default:
			m.names[name] = m.index
		}
	}
}

// checkRoutes checks where the mount lies, and that no other lies there.
func (m *mountChecker) checkRoutes(kind string) {
	m.checkNotEmpty(m.place("host"), m.Host)
	if strings.ContainsAny(m.Host, ":*") || m.Host != "" && !validHost(m.Host) {
		m.complainf(m.place("host"), "host: %s: write one name, without port", shown(m.Host))
	}
	if m.has("path") && m.has("paths") {
		m.complainf(m.place("paths"), "paths: write path or paths, not both")
		return
	}
	if m.has("paths") && !m.lines.has(element(m.place("paths"), 0)) {
		m.complainf(m.place("paths"), "paths: an empty list; leave it out for /")
	}
	for i, path := range m.Paths {
		at := m.place("path")
		if m.has("paths") {
			at = element(m.place("paths"), i)
		}
		m.checkPath(at, path, kind)
	}
}

func (m *mountChecker) checkPath(at, path, kind string) {
	if kind == "userdir" {
		if path != userdirPath {
			m.complainf(at, "%s: that of userdir is %s", last(at), userdirPath)
		}
	} else if strings.ContainsAny(path, "{}*") {
		m.complainf(at, "%s: %s: write a plain path such as /app/", last(at), shown(path))
		return
	}
	if err := distrib.CheckPrefix(path); err != nil {
		m.complainf(at, "%s: %s", last(at), strings.TrimPrefix(err.Error(), "distrib: "))
		return
	}
	clean := strings.TrimSuffix(path, "/") + "/"
	if strings.HasPrefix(clean, "/.pb/") {
		m.complainf(at, "%s: what is below /.pb/ is the front's own", last(at))
	}
	route := strings.ToLower(m.Host) + clean
	if other, taken := m.routes[route]; taken {
		m.complainf(at, "%s: %s belongs to the mount in line %d already", last(at), shown(route),
			m.lines.line(element("mount", other)))
		return
	}
	m.routes[route] = m.index
}

// checkUser checks that no two mounts share a user, who could reach what belongs to the other.
func (m *mountChecker) checkUser() {
	at := m.place("user")
	m.checkUserName(at, m.User)
	if m.User == "" || m.has("connect") {
		return
	}
	if m.User == m.config.User {
		m.complainf(at, "user: %s is the front's user: give the mount its own", m.User)
	}
	if other, taken := m.users[m.User]; taken {
		m.complainf(at, "user: %s is the user of the mount in line %d: each has its own, or "+
			"neither is safe from the other", m.User, m.lines.line(element("mount", other)))
		return
	}
	m.users[m.User] = m.index
}

func (m *mountChecker) checkWhoMayCome() {
	at := m.place("require")
	if m.Require.Login && m.config.Login == nil && !m.lines.has("login") {
		m.complainf(at, `require: nobody can log in; write login = {users = "FILE"} at the top`)
	}
	seen := map[string]bool{}
	for i, user := range m.Require.Users {
		switch here := element(at, i); {
		case user == "":
			m.complainf(here, "require: an empty name")
		case seen[user]:
			m.complainf(here, "require: %s stands twice", shown(user))
		}
		seen[user] = true
	}
}

func (m *mountChecker) checkEnv() {
	seen := map[string]bool{}
	for i, variable := range m.Env {
		at := element(m.place("env"), i)
		name, _, found := strings.Cut(variable, "=")
		switch {
		case !found || name == "":
			m.complainf(at, `env: %s: write "NAME=value"`, shown(variable))
		case strings.HasPrefix(name, "PB_"):
			m.complainf(at, "env: %s: names with PB_ are the monitor's", name)
		case seen[name]:
			m.complainf(at, "env: %s stands twice", name)
		}
		seen[name] = true
	}
}

func (m *mountChecker) checkSandbox() {
	s, at := &m.Sandbox, m.place("sandbox")
	read := map[string]bool{}
	for i, path := range s.Read {
		m.checkRight(element(below(at, "read"), i), path)
		read[path] = true
	}
	for i, path := range s.Write {
		here := element(below(at, "write"), i)
		m.checkRight(here, path)
		if read[path] {
			m.complainf(here, "write: %s stands in read too; write is both", path)
		}
	}
	for i, addr := range s.Network.List {
		if err := hostPortProblem(addr); err != nil {
			m.complainf(element(below(at, "network"), i), "network: %v", err)
		}
	}
	for _, bound := range []struct {
		key         string
		value, from uint64
		unit        string
	}{
		{"memory", s.Memory, 16 << 20, " bytes"},
		{"files", s.Files, 16, ""},
		{"processes", s.Processes, 16, ""},
	} {
		if bound.value > 0 && bound.value < bound.from {
			m.complainf(below(at, bound.key), "%s: %d is too little for any program, at least %d%s",
				bound.key, bound.value, bound.from, bound.unit)
		}
	}
}

// checkRight checks a path that a part is given.
func (m *mountChecker) checkRight(at, path string) {
	switch path {
	case "":
		m.complainf(at, "%s: an empty path", last(at))
	case "/":
		m.complainf(at, `%s: / is everything; name folders below it, or write sandbox = "none"`,
			last(at))
	}
}

// meaningless are the keys that have no meaning beside a kind of mount, with the reason.
var meaningless = map[string]map[string]string{
	"files": {"env": "no program is run", "strip": "files are found without the prefix"},
	"connect": {
		"env":       "its program is not started by the site",
		"sandbox":   "its program is not started by the site; confine it in its unit",
		"instances": "each end point is one",
	},
	"proxy": {"env": "no program is run"},
	"cgi":   {"strip": "a CGI program has the prefix in SCRIPT_NAME and the rest in PATH_INFO"},
	"userdir": {
		"user":      "each user's is started as that user",
		"instances": "each user has one",
	},
}

// checkFits tells of keys that do not fit the kind of mount.
func (m *mountChecker) checkFits(kind string) {
	for _, key := range []string{"user", "host", "instances", "strip", "env", "sandbox"} {
		if why, found := meaningless[kind][key]; found && m.has(key) {
			m.complainf(m.place(key), "%s means nothing beside %s: %s", key, kind, why)
		}
	}
}

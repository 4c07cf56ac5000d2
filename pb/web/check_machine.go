package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"perspective/pb/distrib"
)

// Check looks at the machine that a site is to run on and tells what keeps the site from running,
// and, as warnings, what is more open than the file says: users that there are not, what they
// cannot read, write or execute, certificates and password files, ports, what the kernel lacks. It
// changes nothing and opens no connection; a program that calls it calls distrib.RunChild first, as
// for Run. Rights are judged by owners and modes, so access lists may allow more than Check says.
func Check(ctx context.Context, c *Config) Problems {
	m := &machine{root: os.Geteuid() == 0, missing: distrib.Probe(ctx).Missing()}
	return m.run(c)
}

// A machine checks a Config against the machine it runs on.
type machine struct {
	*decoder

	config  *Config
	root    bool     // root runs the site
	missing []string // what the kernel lacks to hold parts apart

	own map[string]string // folders that run gives to a mount, and its name
}

func (m *machine) run(c *Config) Problems {
	m.own = map[string]string{}
	m.config, m.decoder = c, &decoder{lines: c.lines, path: c.path, bad: map[string]bool{}}
	switch {
	case len(m.missing) > 0 && c.Degrade:
		m.warnf("degrade", "degrade: this system lacks %s, and the site runs all the same",
			list(m.missing))
	case len(m.missing) > 0:
		m.complainf("degrade", "this system lacks %s to hold the parts apart; degrade = true runs "+
			"the site all the same", list(m.missing))
	case !m.root:
		m.warnf("user", "an ordinary user's parts all run as that user; start the site as root to "+
			"give each its own")
	}
	m.check()
	m.openness()
	return m.problems.sorted()
}

func (m *machine) warnf(path, format string, args ...any) { m.tellf(path, true, format, args...) }

// An account is what a part runs as.
type account struct {
	name     string
	uid, gid uint32
	free     bool // a free uid: nobody's, so only what is open to all is open to it
	self     bool // whoever asks: the kernel can be asked
}

// String names it in a problem.
func (a account) String() string {
	switch {
	case a.self:
		return "this user"
	case a.free:
		return "a free uid (user is left out)"
	}
	return fmt.Sprintf("user %s (uid %d)", a.name, a.uid)
}

// account finds the account that a part with the user of that name runs as; false where there is
// none.
func (m *machine) account(path, name string) (account, bool) {
	if name == "" {
		return account{free: m.root, self: !m.root}, true
	}
	u, err := distrib.LookupUser(name)
	switch {
	case err != nil:
		m.complainf(path, "user: there is no user %s; make one with: useradd --system %s",
			shown(name), name)
		return account{}, false
	case u.UID == 0:
		m.complainf(path, "user: no part of a site runs as root, and %s is root", name)
		return account{}, false
	case !m.root && os.Geteuid() != int(u.UID):
		m.complainf(path, "user: only root can run a part as %s", name)
		return account{}, false
	}
	return account{name: name, uid: u.UID, gid: u.GID, self: !m.root}, true
}

func (m *machine) check() {
	c := m.config
	m.account("user", c.User)
	for i, addr := range c.Listen {
		m.checkPort(element("listen", i), addr)
	}
	m.checkPort("metrics", c.Metrics)
	if c.TLS != nil {
		m.checkCertificate()
	}
	if c.Admin != "" {
		m.checkFolderOf("admin", c.Admin)
	}
	if c.Log.File != "" {
		m.checkFolderOf("log.file", c.Log.File)
	}
	if c.Login != nil {
		m.checkUsers()
	}
	seen := map[uint32]string{}
	for i := range c.Mounts {
		mount, at := &c.Mounts[i], element("mount", i)
		who, ok := m.account(below(at, "user"), mount.User)
		if !ok {
			continue
		}
		if other := seen[who.uid]; other != "" && who.name != "" && m.root {
			m.complainf(below(at, "user"), "user: %s and %s are one user: each mount has its own",
				who.name, other)
		}
		seen[who.uid] = who.name
		m.checkMount(at, mount, who)
	}
}

// checkMount checks that a mount's user can reach what the mount is made of.
func (m *machine) checkMount(at string, mount *Mount, who account) {
	// In a root of its own a part gets what it was given whatever lies on the way.
	boxed := len(m.missing) == 0 && !mount.Sandbox.None
	switch {
	case mount.Files != "":
		m.checkFiles(below(at, "files"), mount.Files, who, boxed)
	case len(mount.Run) > 0:
		m.checkExecutable(element(below(at, "run"), 0), mount.Run[0], who, boxed)
	case mount.CGI != "":
		m.checkExecutable(below(at, "cgi"), mount.CGI, who, boxed)
	case mount.Connect != "":
		if socket, ok := socketOf(mount.Connect); ok {
			m.checkSocket(below(at, "connect"), socket, who)
		}
	case mount.Userdir != nil:
		m.checkOwners(below(at, "userdir"), mount.Userdir)
	}
	sandbox := below(at, "sandbox")
	for i, path := range mount.Sandbox.Read {
		m.checkGiven(element(below(sandbox, "read"), i), path, who, boxed, false)
	}
	for i, path := range mount.Sandbox.Write {
		at := element(below(sandbox, "write"), i)
		if who.free && distrib.GivesFolder(path) && !m.checkOwn(at, path, mount.Name) {
			continue
		}
		m.checkGiven(at, path, who, boxed, true)
	}
}

// checkSocket checks the socket of an end point: it may come later, but not be another user's.
func (m *machine) checkSocket(at, socket string, who account) {
	if who.free {
		who = account{name: "root"}
	}
	switch info, err := os.Lstat(socket); {
	case err != nil:
		m.warnf(at, "connect: nobody listens yet: %s", reason(err))
	case info.Mode().Type() != fs.ModeSocket:
		m.complainf(at, "connect: %s is no socket", socket)
	case !who.self && !ownedBy(info, who.uid), who.self && !ownedBy(info, selfID()):
		m.complainf(at, "connect: %s does not belong to %s; name the user who listens there: "+
			"user = …", socket, who)
	}
}

// selfID is the uid of this process.
func selfID() uint32 { return uint32(max(0, os.Geteuid())) } //nolint:gosec // none is negative

// checkOwn checks that a folder which run gives to a mount is given to no other.
func (m *machine) checkOwn(at, path, mount string) (ok bool) {
	if other := m.own[path]; other != "" {
		m.complainf(at, "write: %s is to be mount %s's: two mounts without user cannot have one "+
			"folder; name a user for each, and let both write to it", path, other)
		return false
	}
	m.own[path] = mount
	return true
}

// checkGiven checks a path that a part was given to read, or to read and change.
func (m *machine) checkGiven(at, path string, who account, boxed, write bool) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && write:
		m.warnf(at, "write: %s does not exist; run makes it, for the mount's user alone", path)
		return
	case err != nil:
		m.complainf(at, "%s: %s", last(at), reason(err))
		return
	}
	if write && who.free && distrib.GivesFolder(path) {
		return
	}
	want := toRead
	if write {
		want |= toWrite
	}
	if info.IsDir() {
		want |= toEnter
	}
	m.reach(at, path, who, boxed, want)
	if write && openToAll(info) {
		m.warnf(at, "write: %s can be changed by every user of this machine; make it the mount's "+
			"user's and chmod o-w it", path)
	}
}

// reach tells whether the account can do so much with a path, and what stops it.
func (m *machine) reach(at, path string, who account, boxed bool, want access) {
	if !boxed {
		for _, parent := range parentsOf(path) {
			if ok, what := may(parent, who, toEnter); !ok {
				m.complainf(at, "%s: %s cannot get to %s: %s %s; let it through (chmod o+x %s), "+
					"or keep the site elsewhere, below /srv", last(at), who, path, parent, what,
					parent)
				return
			}
		}
	}
	ok, what := may(path, who, want)
	if ok {
		return
	}
	fix := fmt.Sprintf("chmod o+%s %s", want, path)
	switch {
	case want&toWrite != 0 && who.free:
		fix = "name a user of its own (user = …) and chown it to that user"
	case want&toWrite != 0:
		fix = fmt.Sprintf("chown %s %s", who.name, path)
	}
	if who.self {
		fix = "change its mode or its owner"
	}
	m.complainf(at, "%s: %s cannot %s %s: it %s; %s", last(at), who, want.words(), path, what, fix)
}

// parentsOf are the folders on the way to a path, from the root on.
func parentsOf(path string) []string {
	var all []string
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		all = append([]string{dir}, all...)
		if dir == filepath.Dir(dir) {
			return all
		}
	}
}

// reason is an error of the file system without the name of the call.
func reason(err error) string {
	e, ok := errors.AsType[*fs.PathError](err)
	switch {
	case errors.Is(err, fs.ErrNotExist) && ok:
		return e.Path + " does not exist"
	case ok:
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return err.Error()
}

// access is what somebody wants to do with a path.
type access uint8

const (
	toEnter access = 1 << iota // a folder, or to execute a file: the bits of a mode
	toWrite
	toRead
)

// String gives the letters of chmod.
func (a access) String() string {
	var letters []byte
	for i, bit := range []access{toRead, toWrite, toEnter} {
		if a&bit != 0 {
			letters = append(letters, "rwx"[i])
		}
	}
	return string(letters)
}

func (a access) words() string {
	var words []string
	for _, w := range []struct {
		bit  access
		word string
	}{{toRead, "read"}, {toWrite, "write"}} {
		if a&w.bit != 0 {
			words = append(words, w.word)
		}
	}
	if words == nil {
		words = []string{"execute"}
	}
	return strings.Join(words, " and ")
}

// maxWalk is how many files of a folder are looked at.
const maxWalk = 10_000

// checkFiles checks a folder that is served, and what lies in it.
func (m *machine) checkFiles(at, folder string, who account, boxed bool) {
	info, err := os.Stat(folder)
	switch {
	case err != nil:
		m.complainf(at, "files: %s", reason(err))
		return
	case !info.IsDir():
		m.complainf(at, "files: %s is no folder", folder)
		return
	}
	m.reach(at, folder, who, boxed, toRead|toEnter)
	if m.bad[at] {
		return
	}
	if openToAll(info) {
		m.warnf(at, "files: %s can be changed by every user of this machine; chmod o-w it", folder)
	} else if ok, _ := may(folder, who, toWrite); ok && !who.self {
		m.warnf(at, "files: %s can be changed by %s, which is to serve it and no more; let "+
			"another own it", folder, who)
	}
	unreadable, first, seen := 0, "", 0
	_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		seen++
		switch {
		case seen > maxWalk:
			return fs.SkipAll
		case err != nil:
			return nil //nolint:nilerr // whoever checks cannot look, so nothing is said
		case path == folder:
			return nil
		case strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".well-known":
			return skip(entry) // it is not served
		case !entry.IsDir() && !entry.Type().IsRegular():
			return nil
		}
		want := toRead
		if entry.IsDir() {
			want |= toEnter
		}
		if ok, what := may(path, who, want); !ok {
			unreadable++
			if first == "" {
				first = path + " " + what
			}
			return skip(entry)
		}
		return nil
	})
	if unreadable > 0 {
		m.warnf(at, "files: %s cannot read %s, so visitors get 404 (%d such)", who, first,
			unreadable)
	}
}

// skip leaves an entry out, with what is below it.
func skip(entry fs.DirEntry) error {
	if entry.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// checkOwners checks that the users and the group of a userdir are there.
func (m *machine) checkOwners(at string, u *Userdir) {
	least := u.MinUID
	if least == 0 {
		least = 1000
	}
	for i, name := range u.Users {
		here := element(below(at, "users"), i)
		switch account, err := distrib.LookupUser(name); {
		case err != nil:
			m.complainf(here, "users: there is no user %s", shown(name))
		case account.UID < least:
			m.complainf(here, "users: %s has uid %d, below min_uid, and is not served", name,
				account.UID)
		default:
			m.checkHome(here, account)
		}
	}
	if u.Group != "" {
		if _, err := user.LookupGroup(u.Group); err != nil {
			m.complainf(below(at, "group"), "group: there is no group %s", shown(u.Group))
		}
	}
	if len(u.Run) > 0 {
		m.checkExecutable(element(below(at, "run"), 0), u.Run[0], account{free: m.root,
			self: !m.root}, false)
	}
}

// checkHome warns of a home that will not be served.
func (m *machine) checkHome(at string, account distrib.User) {
	info, err := os.Lstat(account.Home)
	switch {
	case err != nil:
		m.warnf(at, "users: %s gets 404: %s", account.Name, reason(err))
	case !info.IsDir():
		m.warnf(at, "users: %s gets 404: the home %s is no folder", account.Name, account.Home)
	case !ownedBy(info, account.UID):
		m.warnf(at, "users: %s gets 404: the home %s belongs to another user", account.Name,
			account.Home)
	case info.Mode().Perm()&0o022 != 0:
		m.warnf(at, "users: %s gets 404: others can change the home %s", account.Name, account.Home)
	}
}

// checkFolderOf checks the folder that a file or socket is made in.
func (m *machine) checkFolderOf(at, path string) {
	folder := filepath.Dir(path)
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		m.warnf(at, "%s: the folder %s does not exist yet", last(at), folder)
	case err != nil:
		m.complainf(at, "%s: %s", last(at), reason(err))
	case !info.IsDir():
		m.complainf(at, "%s: %s is no folder", last(at), folder)
	case openToAll(info):
		m.warnf(at, "%s: every user of this machine can make files in %s; give it a folder of "+
			"its own", last(at), folder)
	default:
		if ok, what := may(folder, account{self: true}, toWrite|toEnter); !ok {
			m.complainf(at, "%s: this user cannot make a file in %s: it %s", last(at), folder, what)
		}
	}
}

// checkPort checks that a port can be opened by whoever runs the site.
func (m *machine) checkPort(at, addr string) {
	if m.root || addr == "" || strings.HasPrefix(addr, unixPrefix) {
		return
	}
	port, err := strconv.Atoi(addr[strings.LastIndexByte(addr, ':')+1:])
	if first := firstFreePort(); err == nil && port > 0 && port < first {
		m.complainf(at, "%s: port %d needs root: ordinary users have those from %d on", last(at),
			port, first)
	}
}

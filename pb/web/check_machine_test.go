//go:build linux

package web

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// aSite is a folder with a site's file; free uids can reach what is in it.
type aSite struct {
	t   *testing.T
	dir string
}

// newSite makes a folder that others can pass through, as t.TempDir's cannot.
func newSite(t *testing.T) *aSite {
	t.Helper()
	dir, err := os.MkdirTemp("", "site-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &aSite{t, dir}
	s.chmod("", 0o755)
	s.write("www/index.html", "hello", 0o644)
	s.write("bin/app", "#!/bin/sh\n", 0o755)
	s.folder("data", 0o755)
	return s
}

func (s *aSite) path(name string) string { return filepath.Join(s.dir, name) }

func (s *aSite) chmod(name string, mode os.FileMode) {
	s.t.Helper()
	if err := os.Chmod(s.path(name), mode); err != nil {
		s.t.Fatal(err)
	}
}

func (s *aSite) folder(name string, mode os.FileMode) {
	s.t.Helper()
	if err := os.MkdirAll(s.path(name), 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.chmod(name, mode)
}

func (s *aSite) write(name, text string, mode os.FileMode) {
	s.t.Helper()
	s.folder(filepath.Dir(name), 0o755)
	if err := os.WriteFile(s.path(name), []byte(text), mode); err != nil {
		s.t.Fatal(err)
	}
	s.chmod(name, mode)
}

// check wants the problems that the file's comments announce, in which DIR stands for the folder.
func (s *aSite) check(m *machine, text string) {
	s.t.Helper()
	s.write("site.toml", text, 0o644)
	c, err := Load(s.path("site.toml"))
	if err != nil {
		s.t.Fatal(err)
	}
	var got []string
	for _, p := range m.run(c) {
		one := strings.ReplaceAll(strings.TrimPrefix(p.Error(), c.File+":"), s.dir, "DIR")
		got = append(got, one)
	}
	var want []string
	for i, line := range strings.Split(text, "\n") {
		if _, comment, found := strings.Cut(line, "# want: "); found {
			for one := range strings.SplitSeq(comment, " | ") {
				want = append(want, fmt.Sprintf("%d: %s", i+1, one))
			}
		}
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			s.t.Errorf("not told:   %s", want[i])
		case i >= len(want):
			s.t.Errorf("not wanted: %s", got[i])
		default:
			if before, after, cut := strings.Cut(want[i], "*"); got[i] != want[i] &&
				!(cut && strings.HasPrefix(got[i], before) && strings.HasSuffix(got[i], after)) {
				s.t.Errorf("got  %s\nwant %s", got[i], want[i])
			}
		}
	}
}

// root is a machine on which root runs the site and the kernel has all it takes.
func root() *machine { return &machine{root: true} }

const head = "listen = [\"127.0.0.1:8080\"]\n"

func TestCheckFine(t *testing.T) {
	s := newSite(t)
	s.folder("shared", 0o777|os.ModeSticky)
	s.check(root(), head+`
[[mount]]
files = "www"

[[mount]]
path    = "/app/"
run     = ["bin/app"]
sandbox = { read = ["www", "bin/app"], write = ["shared"] }
`)
}

func TestCheckReach(t *testing.T) {
	s := newSite(t)
	s.write("closed/www/index.html", "", 0o644)
	s.chmod("closed", 0o700)
	s.folder("locked", 0o700)
	text := `
[[mount]]
path  = "/closed/"
files = "closed/www" %s

[[mount]]
path    = "/app/"
run     = ["bin/app"]
sandbox = "none" # want: warning: sandbox: "none" holds the part by its user alone: *, and the network

[[mount]]
path    = "/more/"
run     = ["bin/app"]
[mount.sandbox]
read = [
  "missing", # want: read: DIR/missing does not exist
  "locked", # want: read: a free uid (user is left out) cannot read DIR/locked: it has mode 0700 *; chmod o+rx DIR/locked
]
write = [
  "data", # want: write: a free uid (user is left out) cannot read and write DIR/data: it has mode 0755 *; name a user of its own (user = …) and chown it to that user
  "later", # want: warning: write: DIR/later does not exist; make it, owned by the mount's user
]
network = "any" # want: warning: network: "any" lets the part *
`
	s.check(root(), head+fmt.Sprintf(text, ""))
	s.check(&machine{root: true, missing: []string{"a root directory of their own"}},
		strings.TrimSuffix(head, "\n")+" # want: this system lacks a root directory of their own *\n"+
			fmt.Sprintf(text, `# want: files: a free uid (user is left out) cannot get to `+
				`DIR/closed/www: DIR/closed has mode 0700 *; let it through (chmod o+x DIR/closed), `+
				`or keep the site elsewhere, below /srv`))
}

func TestCheckFiles(t *testing.T) {
	s := newSite(t)
	s.write("www/secret.html", "", 0o600)
	s.write("www/.hidden", "", 0o600)
	s.folder("www/closed", 0o700)
	s.folder("open", 0o777)
	s.check(root(), head+`
[[mount]]
files = "www" # want: warning: files: a free uid (user is left out) cannot read DIR/www/closed has mode 0700 *, so visitors get 404 (2 such)

[[mount]]
path  = "/open/"
files = "open" # want: warning: files: DIR/open can be changed by every user of this machine; chmod o-w it

[[mount]]
path  = "/missing/"
files = "missing" # want: files: DIR/missing does not exist

[[mount]]
path  = "/file/"
files = "bin/app" # want: files: DIR/bin/app is no folder

[[mount]]
path  = "/nobody/"
files = "www"
user  = "no-such-user" # want: user: there is no user "no-such-user"; make one with: useradd --system no-such-user
`)
}

func TestCheckPrograms(t *testing.T) {
	s := newSite(t)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	s.write("bin/own", string(self), 0o755)
	foreign := []byte(string(self))
	foreign[18], foreign[19] = 8, 0 // e_machine: MIPS
	s.write("bin/foreign", string(foreign), 0o755)
	s.write("bin/text", "hello", 0o755)
	s.write("bin/plain", "#!/bin/sh\n", 0o644)
	s.write("bin/unread", "#!/bin/sh\n", 0o711)
	s.write("bin/lost", "#!/no/such/shell -e\n", 0o755)
	s.write("bin/none", "#!\n", 0o755)
	s.write("bin/open", "#!/bin/sh\n", 0o777)
	var text strings.Builder
	text.WriteString(head)
	for name, want := range map[string]string{
		"own":     "",
		"foreign": "run: DIR/bin/foreign: it is a program for another machine (EM_MIPS, this one is *)",
		"text":    "run: DIR/bin/text: it is no program: neither ELF nor a script that begins with #!",
		"plain":   "run: a free uid (user is left out) cannot read DIR/bin/plain: it has mode 0644 *",
		"unread":  "run: a free uid (user is left out) cannot read DIR/bin/unread: it has mode 0711 *",
		"lost":    "run: DIR/bin/lost needs /no/such/shell does not exist",
		"none":    "run: DIR/bin/none: the first line names no interpreter, write #!/bin/sh",
		"open":    "warning: run: every user of this machine can change DIR/bin/open; chmod o-w it",
		"missing": "run: DIR/bin/missing does not exist",
	} {
		if want != "" {
			want = " # want: " + want
		}
		fmt.Fprintf(&text, "[[mount]]\npath = \"/%s/\"\nrun  = [\"bin/%s\"]%s\n", name, name, want)
	}
	s.check(root(), text.String())
}

// certificate writes a certificate that ends after the time, and its key.
func (s *aSite) certificate(name string, ends time.Duration) {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"example.test"},
		NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: time.Now().Add(ends)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
		0o644)
	s.write(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY",
		Bytes: private})), 0o600)
}

func TestCheckCertificates(t *testing.T) {
	s := newSite(t)
	s.certificate("good", 1000*time.Hour)
	s.certificate("soon", 100*time.Hour)
	s.certificate("old", -time.Hour)
	s.certificate("open", 1000*time.Hour)
	s.chmod("open.key", 0o644)
	s.write("empty.pem", "", 0o644)
	s.folder("cache", 0o755)
	mount := "\n[[mount]]\nfiles = \"www\"\n"
	for _, tls := range []string{
		`cert = "good.pem", key = "good.key" }`,
		`cert = "soon.pem", key = "soon.key" } # want: warning: tls: the certificate ends at *`,
		`cert = "old.pem", key = "old.key" } # want: tls: the certificate ended at *`,
		`cert = "open.pem", key = "open.key" } # want: key: DIR/open.key has mode 0644, open to ` +
			`every user of this machine: chmod it to 0600`,
		`cert = "good.pem", key = "missing.key" } # want: key: DIR/missing.key does not exist`,
		`cert = "missing.pem", key = "good.key" } # want: tls: DIR/missing.pem does not exist`,
		`cert = "good.pem", key = "old.key" } # want: tls: private key does not match public key`,
		`cert = "empty.pem", key = "good.key" } # want: tls: *`,
		`acme = true, domains = ["a.test"], cache = "cache", directory = "https://ca.test/" } ` +
			`# want: tls: DIR/cache has mode 0755: it holds private keys, chmod it to 0700`,
		`acme = true, domains = ["a.test"], cache = "bin/new", directory = "https://ca.test/", ` +
			`ca = "empty.pem" } # want: tls: DIR/empty.pem holds no certificate in PEM`,
	} {
		s.check(root(), head+"tls = { "+tls+mount)
	}
}

func TestCheckOpenness(t *testing.T) {
	s := newSite(t)
	s.write("users", "ann:$2a$04$abcdefghijklmnopqrstuuCPjBPNEnPVVd92sYj3yWY7K/XKo4.8K\n", 0o644)
	s.write("broken", "ann\n", 0o600)
	s.folder("open", 0o777)
	s.check(&machine{root: true, missing: []string{"users", "seccomp"}}, `listen = [
  "127.0.0.1:8080",
  "0.0.0.0:8081", # want: warning: listen: passwords come to 0.0.0.0:8081 without TLS
]
admin           = "open/admin.sock" # want: warning: admin: every user of this machine can make files in DIR/open; give it a folder of its own
metrics         = ":8082" # want: warning: metrics: :8082 is open to other machines
log             = { file = "log/access.log" } # want: warning: file: the folder DIR/log does not exist yet
trusted_proxies = ["0.0.0.0/0"] # want: warning: trusted_proxies: every client can say it is another
degrade         = true # want: warning: degrade: this system lacks users and seccomp, and the site runs all the same
login           = { users = "users" } # want: users: password file DIR/users has mode 0644, open to others: chmod it to 0600 or 0640

[[mount]]
run     = ["bin/app"]
cookies = "all" # want: warning: cookies: "all" shows the part what other parts have set
sticky  = true # want: warning: sticky: there is one instance, to which all go
`)
}

// An ordinary user's files are asked for as that user, and low ports refused.
func TestCheckAsOrdinaryUser(t *testing.T) {
	s := newSite(t)
	text := `listen = ["127.0.0.1:80"] # want: warning: an ordinary user's parts all run as that user; start the site as root to give each its own | listen: port 80 needs root: ordinary users have those from 1024 on

[[mount]]
files = "www"
`
	if firstFreePort() != 1024 {
		text = strings.Replace(text, " | listen: port 80 needs root: ordinary users have those "+
			"from 1024 on", "", 1)
	}
	s.check(&machine{}, text)
}

func TestMay(t *testing.T) {
	s := newSite(t)
	file := s.path("www/index.html")
	me := account{name: "me", uid: uint32(os.Getuid()), gid: ^uint32(0)}      //nolint:gosec // one's own
	group := account{name: "mine", uid: ^uint32(0), gid: uint32(os.Getgid())} //nolint:gosec // as above
	for _, c := range []struct {
		mode os.FileMode
		who  account
		want access
		ok   bool
	}{
		{0o400, me, toRead, true},
		{0o400, me, toRead | toWrite, false},
		{0o044, me, toRead, false}, // the owner's bits count, whatever the others are
		{0o040, group, toRead, true},
		{0o404, group, toRead, false},
		{0o004, account{free: true}, toRead, true},
		{0o770, account{free: true}, toRead, false},
		{0o001, account{free: true}, toEnter, true},
		{0o002, account{free: true}, toWrite, true},
	} {
		s.chmod("www/index.html", c.mode)
		if ok, what := may(file, c.who, c.want); ok != c.ok || ok != (what == "") {
			t.Errorf("mode %#o: may(%v, %s) = %v, %q", c.mode, c.who, c.want, ok, what)
		}
	}
	if ok, what := may(s.path("missing"), me, toRead); ok || what == "" {
		t.Errorf("a missing file: %v, %q", ok, what)
	}
}

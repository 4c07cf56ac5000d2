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
	s.write("data/kept", "", 0o644) // so it isn't given to a free id
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

// machineFile is a site's file out of testdata/machine.
func machineFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "machine", name+".toml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (s *aSite) checkFile(m *machine, name string) {
	s.t.Helper()
	s.check(m, machineFile(s.t, name))
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
	s.checkFile(root(), "fine")
}

func TestCheckReach(t *testing.T) {
	s := newSite(t)
	s.write("closed/www/index.html", "", 0o644)
	s.chmod("closed", 0o700)
	s.folder("locked", 0o700)
	s.checkFile(root(), "boxed")
	s.checkFile(&machine{root: true, missing: []string{"a root directory of their own"}}, "unboxed")
}

func TestCheckFiles(t *testing.T) {
	s := newSite(t)
	s.write("www/secret.html", "", 0o600)
	s.write("www/.hidden", "", 0o600)
	s.folder("www/closed", 0o700)
	s.folder("open", 0o777)
	s.checkFile(root(), "files")
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
	const unread = "run: a free uid (user is left out) cannot read DIR/bin/"
	for name, want := range map[string]string{
		"own":     "",
		"foreign": "run: DIR/bin/foreign: it is a program for another machine (EM_MIPS, *)",
		"text":    "run: DIR/bin/text: it is no program: neither ELF nor a script *",
		"plain":   unread + "plain: it has mode 0644 *",
		"unread":  unread + "unread: it has mode 0711 *",
		"lost":    "run: DIR/bin/lost needs /no/such/shell, which is not there",
		"none":    "run: DIR/bin/none: the first line names no interpreter, write #!/bin/sh",
		"open": "warning: run: every user of this machine can change DIR/bin/open; chmod o-w " +
			"it",
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
	s.checkFile(&machine{root: true, missing: []string{"users", "seccomp"}}, "openness")
}

// An ordinary user's files are asked for as that user, and low ports refused.
func TestCheckAsOrdinaryUser(t *testing.T) {
	s := newSite(t)
	text := machineFile(t, "ordinary")
	if firstFreePort() != 1024 {
		text = strings.Replace(text, " | listen: port 80 needs root: ordinary users have those "+
			"from 1024 on", "", 1)
	}
	s.check(&machine{}, text)
}

func TestMay(t *testing.T) {
	s := newSite(t)
	file := s.path("www/index.html")
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	me := account{name: "me", uid: uid, gid: ^uint32(0)}
	group := account{name: "mine", uid: ^uint32(0), gid: gid}
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

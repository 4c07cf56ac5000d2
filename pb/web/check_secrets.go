package web

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"perspective/cred"
)

// soon is when a certificate that ends is worth a word.
const soon = 14 * 24 * time.Hour

// checkCertificate checks what TLS needs.
func (m *machine) checkCertificate() {
	t := m.config.TLS
	if t.ACME {
		m.checkACME(t)
		return
	}
	m.checkSecret("tls.key", t.Key)
	if m.bad["tls.key"] {
		return
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		at := "tls.cert"
		if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == t.Key {
			at = "tls.key"
		}
		m.complainf(at, "tls: %s", strings.TrimPrefix(reason(err), "tls: "))
		return
	}
	now := time.Now()
	switch ends := pair.Leaf.NotAfter; {
	case now.After(ends):
		m.complainf("tls.cert", "tls: the certificate ended at %s", ends.Format(time.RFC3339))
	case now.Before(pair.Leaf.NotBefore):
		m.complainf("tls.cert", "tls: the certificate begins at %s",
			pair.Leaf.NotBefore.Format(time.RFC3339))
	case ends.Sub(now) < soon:
		m.warnf("tls.cert", "tls: the certificate ends at %s", ends.Format(time.RFC3339))
	}
}

func (m *machine) checkACME(t *TLS) {
	if info, err := os.Stat(t.Cache); err == nil && info.Mode().Perm()&0o077 != 0 && unixModes {
		m.complainf("tls.cache", "tls: %s has mode %#o: it holds private keys, chmod it to 0700",
			t.Cache, info.Mode().Perm())
	} else if err != nil {
		m.checkFolderOf("tls.cache", t.Cache)
	}
	if t.Directory == "" && !slices.ContainsFunc(m.config.Listen, func(addr string) bool {
		return strings.HasSuffix(addr, ":443") || strings.HasSuffix(addr, ":80")
	}) {
		m.warnf("listen", "listen: no address has port 443 or 80, where an ACME server looks "+
			"whose the name is")
	}
	if t.CA == "" {
		return
	}
	text, err := os.ReadFile(t.CA)
	if err != nil {
		m.complainf("tls.ca", "tls: %s", reason(err))
		return
	}
	block, _ := pem.Decode(text)
	if block == nil || !x509.NewCertPool().AppendCertsFromPEM(text) {
		m.complainf("tls.ca", "tls: %s holds no certificate in PEM", t.CA)
	}
}

// checkSecret checks that a file is there, and that not every user of the machine can read it.
func (m *machine) checkSecret(at, path string) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		m.complainf(at, "%s: %s", last(at), reason(err))
	case info.Mode().Perm()&0o007 != 0 && unixModes:
		m.complainf(at, "%s: %s has mode %#o, open to every user of this machine: chmod it to 0600",
			last(at), path, info.Mode().Perm())
	}
}

// checkUsers checks the password file, and that those who may come in are in it.
func (m *machine) checkUsers() {
	path := m.config.Login.Users
	if err := (&cred.PasswordFile{Path: path}).Load(); err != nil {
		m.complainf("login.users", "users: %s", strings.TrimPrefix(err.Error(), "cred: "))
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return // it was there a moment ago
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		known[name] = true
	}
	for i := range m.config.Mounts {
		require := below(element("mount", i), "require")
		for j, name := range m.config.Mounts[i].Require.Users {
			if !known[name] {
				m.warnf(element(require, j), "require: %s is not in %s; add it with: "+
					"pb passwd %s %s", name, path, path, name)
			}
		}
	}
}

// openness warns of what is more open than a reader of the file may think.
func (m *machine) openness() {
	c := m.config
	for _, path := range []string{c.File, filepath.Dir(c.File)} {
		if info, err := os.Stat(path); err == nil && openToAll(info) {
			m.complainf("mode of "+path, "every user of this machine can change %s, and so "+
				"what the site runs: chmod o-w it", path)
		}
	}
	if c.Login != nil && c.TLS == nil {
		for i, addr := range c.Listen {
			if !local(addr) {
				m.warnf(element("listen", i), "listen: passwords come to %s without TLS", addr)
			}
		}
	}
	if c.Metrics != "" && !local(c.Metrics) {
		m.warnf("metrics", "metrics: %s is open to other machines", c.Metrics)
	}
	for i, network := range c.TrustedProxies {
		if p, err := parseNetwork(network); err == nil && p.Bits() == 0 {
			m.warnf(element("trusted_proxies", i), "trusted_proxies: every client can say it "+
				"is another")
		}
	}
	for i := range c.Mounts {
		mount, at := &c.Mounts[i], element("mount", i)
		sandbox := below(at, "sandbox")
		if mount.Sandbox.None {
			m.warnf(sandbox, `sandbox: "none" holds the part by its user alone: it sees all that `+
				"is open to every user, and the network")
		}
		if mount.Sandbox.Network.Any {
			m.warnf(below(sandbox, "network"), `network: "any" lets the part reach every address, `+
				"also those of this machine, and listen")
		}
		if mount.Cookies == "all" {
			m.warnf(below(at, "cookies"), `cookies: "all" shows the part what other parts have set`)
		}
		if mount.Sticky && mount.Instances < 2 {
			m.warnf(below(at, "sticky"), "sticky: there is one instance, to which all go")
		}
		if u := mount.Userdir; u != nil && u.MinUID > 0 && u.MinUID < 1000 {
			m.warnf(below(below(at, "userdir"), "min_uid"), "min_uid: accounts below 1000 are the "+
				"system's")
		}
	}
}

// local says whether an address can be reached from this machine alone.
func local(addr string) bool {
	if strings.HasPrefix(addr, unixPrefix) {
		return true
	}
	host := addr[:max(strings.LastIndexByte(addr, ':'), 0)]
	return host == "localhost" || strings.HasPrefix(host, "127.") || host == "[::1]"
}

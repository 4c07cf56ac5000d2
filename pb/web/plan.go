package web

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"perspective/cred"
	"perspective/internal/prefix"
	"perspective/pb"
	"perspective/pb/distrib"
)

// A plan is what the monitor is to run for a site.
type plan struct {
	config    *Config
	listeners []net.Listener
	metrics   net.Listener // nil: none
	file      *os.File     // the front's configuration
	log       *os.File     // where requests are logged
	users     *memory      // the password file; nil: nobody logs in
	keys      *memory      // secrets that one front hands down to the next
	tls       *tlsHandover // nil: there is no TLS
	program   string       // this program's file, as it is when a part starts; "": as it was
	front     distrib.Part
	backs     []distrib.Part
}

// newPlan opens the site's addresses and makes its parts. command is how this program is told to be
// a part. The caller closes it.
func newPlan(
	ctx context.Context, config *Config, command string, logger *slog.Logger,
) (p *plan, err error) {
	p = &plan{config: config, program: ownProgram()}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	for _, addr := range config.Listen {
		l, err := listen(ctx, addr)
		if err != nil {
			return nil, err
		}
		p.listeners = append(p.listeners, l)
	}
	if p.file, err = configToHand(config); err != nil {
		return nil, err
	}
	if err := p.makeFront(ctx, command, logger); err != nil {
		return nil, err
	}
	for i := range config.Mounts {
		if err := p.makeBacks(&config.Mounts[i], command); err != nil {
			return nil, fmt.Errorf("web: mount %s: %w", config.Mounts[i].Name, err)
		}
	}
	return p, nil
}

func (p *plan) close() {
	for _, l := range p.listeners {
		_ = l.Close() // nothing was accepted from it here
	}
	if p.metrics != nil {
		_ = p.metrics.Close()
	}
	for _, f := range []*os.File{p.file, p.log} {
		if f != nil {
			_ = f.Close() // the front has its own
		}
	}
	if p.users != nil {
		p.users.close()
	}
	if p.keys != nil {
		p.keys.close()
	}
	if p.tls != nil {
		p.tls.close()
	}
}

// ownProgram is this program's file, so that a part that starts again is of the release that is
// there by then; "" where other users may not execute it.
func ownProgram() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode()&0o005 != 0o005 {
		return ""
	}
	return path
}

// makeKeys makes what signs cookies: it outlives a front.
func (p *plan) makeKeys() (err error) {
	keys := make([]byte, 2*keyBytes)
	_, _ = rand.Read(keys) // never fails
	if p.keys, err = newMemory(keysFile); err != nil {
		return err
	}
	p.front.Files[keysFile] = p.keys.reader
	return p.keys.write(keys)
}

// listen opens an address of the site.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	network, where := "tcp", addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, where = "unix", path
	}
	l, err := new(net.ListenConfig).Listen(ctx, network, where)
	if err != nil {
		return nil, fmt.Errorf("web: listen: %w", err)
	}
	return l, nil
}

// configToHand writes the configuration where the front can read it and nobody else: a file without
// a name.
func configToHand(config *Config) (*os.File, error) {
	text, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("web: the configuration: %w", err)
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("web: the configuration has %d bytes, at most %d", len(text),
			maxConfig)
	}
	f, err := os.CreateTemp("", "pb-web-*")
	if err != nil {
		return nil, fmt.Errorf("web: the configuration: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		return nil, errors.Join(fmt.Errorf("web: the configuration: %w", err), f.Close())
	}
	return f, nil
}

func (p *plan) makeFront(ctx context.Context, command string, logger *slog.Logger) error {
	uid, gid, err := idsOf(p.config.User)
	if err != nil {
		return fmt.Errorf("web: user: %w", err)
	}
	p.front = distrib.Part{
		Name:      frontName,
		Program:   p.program,
		Args:      role{Front: true}.args(command),
		Env:       frontEnv(distrib.DefaultEnv()),
		UID:       uid,
		GID:       gid,
		Listeners: map[string]net.Listener{},
		Files:     map[string]*os.File{configFile: p.file},
	}
	for i, l := range p.listeners {
		p.front.Listeners[listenerName+strconv.Itoa(i)] = l
	}
	if p.config.Metrics != "" {
		if p.metrics, err = listen(ctx, p.config.Metrics); err != nil {
			return err
		}
		p.front.Listeners[metricsName] = p.metrics
	}
	if err := p.openLog(); err != nil {
		return err
	}
	if err := p.makeKeys(); err != nil {
		return err
	}
	if p.config.Login != nil {
		if err := p.readUsers(); err != nil {
			return err
		}
	}
	if p.config.TLS != nil {
		if p.tls, err = newTLSHandover(p.config, &p.front, logger); err != nil {
			return err
		}
		p.front.Rights.Dial = append(p.front.Rights.Dial, p.tls.dials...)
	}
	return nil
}

// frontEnv lets WebSocket over HTTP/2 through net/http, which looks at the environment alone,
// unless the administrator has decided.
func frontEnv(env []string) []string {
	const key, allow = "GODEBUG=", "http2xconnect="
	i := slices.IndexFunc(env, func(v string) bool { return strings.HasPrefix(v, key) })
	switch {
	case i < 0:
		env = append(env, key+allow+"1")
	case !strings.Contains(env[i], allow):
		env[i] = strings.TrimSuffix(env[i], ",") + "," + allow + "1"
	}
	return env
}

// openLog opens what requests are logged to: the front can open nothing itself.
func (p *plan) openLog() (err error) {
	path := p.config.Log.File
	if path == "" {
		p.log, err = os.OpenFile("/dev/stdout", os.O_WRONLY|os.O_APPEND, 0)
	} else {
		//nolint:gosec // as other folders are
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return prefix.Errorf("web: log: %w", err)
		}
		//nolint:gosec // the group of the file reads logs
		p.log, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	}
	if err != nil {
		return prefix.Errorf("web: log: %w", err)
	}
	p.front.Files[logFile] = p.log
	return nil
}

// readUsers hands over what the password file says. A file that others may read is refused, as
// cred.PasswordFile does.
func (p *plan) readUsers() error {
	path := p.config.Login.Users
	if err := (&cred.PasswordFile{Path: path}).Load(); err != nil {
		return prefix.Errorf("web: login: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return prefix.Errorf("web: login: %w", err)
	}
	if p.users, err = newMemory(usersFile); err != nil {
		return err
	}
	p.front.Files[usersFile] = p.users.reader
	return p.users.write(text)
}

// makeBacks makes the parts that serve a mount.
func (p *plan) makeBacks(m *Mount, command string) error {
	uid, gid, err := idsOf(m.User)
	if err != nil {
		return err
	}
	part := distrib.Part{Mount: m.Name, Program: p.program, UID: uid, GID: gid,
		Rights: m.Sandbox.rights(), Unconfined: m.Sandbox.None}
	switch {
	case m.Files != "":
		part.Args = role{Files: m.Files}.args(command)
		part.Rights.Read = append(part.Rights.Read, m.Files)
	case m.Proxy != "":
		upstream, err := url.Parse(m.Proxy)
		if err != nil {
			return err
		}
		part.Args = role{Proxy: m.Proxy}.args(command)
		part.Rights.Dial = append(part.Rights.Dial, hostPort(upstream))
	case m.CGI != "":
		part.Args = role{CGI: m.CGI, Prefix: m.Paths[0], Env: m.Env}.args(command)
		part.Rights.Read = append(part.Rights.Read, m.CGI)
		part.Rights.Read = append(part.Rights.Read, present(cgiReads)...)
		part.Rights.Exec = true
	case m.Connect != "":
		socket, ok := socketOf(m.Connect)
		if !ok {
			return errors.New("connect: only unix sockets are served yet")
		}
		p.backs = append(p.backs, distrib.Part{Name: m.Name, Mount: m.Name, UID: uid, GID: gid,
			Socket: socket})
		return nil
	case len(m.Run) > 0:
		part.Program, part.Args, part.Env = m.Run[0], m.Run[1:], append([]string{}, m.Env...)
		part.Dir = startFolder(filepath.Dir(p.config.File), m)
	default:
		return errors.New("nothing serves it yet")
	}
	for i := range m.Instances {
		one := part
		one.Name = m.Name
		if m.Instances > 1 {
			one.Name += "." + strconv.Itoa(i+1)
		}
		p.backs = append(p.backs, one)
	}
	return nil
}

// socketOf is the path of the unix socket that connect leads to; false: it leads elsewhere.
func socketOf(connect string) (path string, ok bool) {
	if path, ok := strings.CutPrefix(connect, unixPrefix); ok {
		return path, true
	}
	address, err := pb.ParseURL(connect)
	return filepath.Clean(address.Host), err == nil && address.Scheme == "pb+unix"
}

// startFolder is where a mount's program starts: in the site's folder, so that it finds what it may
// read and write by the names that stand in the file, or in the root where it sees none of that.
func startFolder(site string, m *Mount) string {
	if m.Sandbox.None {
		return site
	}
	for _, path := range append(append([]string(nil), m.Sandbox.Read...), m.Sandbox.Write...) {
		if path == site || strings.HasPrefix(path, site+"/") {
			return site
		}
	}
	return "/"
}

// rights are those of the sandbox in distrib's words.
func (s *Sandbox) rights() distrib.Rights {
	return distrib.Rights{
		Read:        append([]string(nil), s.Read...),
		Write:       append([]string(nil), s.Write...),
		Net:         s.Network.Any,
		Dial:        append([]string(nil), s.Network.List...),
		Memory:      s.Memory,
		Descriptors: s.Files,
		Processes:   s.Processes,
	}
}

// present are those of the paths that there are.
func present(paths []string) []string {
	var there []string
	for _, path := range paths {
		if _, err := os.Stat(path); err == nil {
			there = append(there, path)
		}
	}
	return there
}

// hostPort is the address that a URL leads to.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// routesOf are the routes of a site's mounts.
func routesOf(config *Config) []distrib.Route {
	routes := make([]distrib.Route, 0, len(config.Mounts))
	for i := range config.Mounts {
		m := &config.Mounts[i]
		r := distrib.Route{Back: m.Name, Paths: m.Paths, Host: m.Host, Sticky: m.Sticky,
			Encode: m.Encode, Strip: m.Strip || m.Files != "", Require: m.Require.Users,
			RequireLogin: m.Require.Login && m.Require.Users == nil}
		if m.Cookies == "shared" {
			r.Cookies = distrib.SharedCookies
		}
		routes = append(routes, r)
	}
	return routes
}

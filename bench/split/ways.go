package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	direct = "direct"
	other  = "other"
)

// patience is how long a server may take to answer for the first time, and to end.
const patience = 30 * time.Second

// A way is one way to serve the handler.
type way struct {
	name, doc string
	// args are the processes to start, each with its arguments. The files that they need are made
	// by it too.
	args func(s *server) ([][]string, error)
	// skips are loads that it does not take.
	skips string
}

func (w *way) takes(l load) bool { return w.skips == "" || !wanted(w.skips, l.name) }

var allWays = []*way{
	{name: direct, doc: "net/http, one process", args: directArgs},
	{name: "split", doc: "`pb web run`, access log, metrics and sandboxes as they come", args: splitArgs},
	{name: other, doc: "the same from another state of the source", args: splitArgs},
	{name: "reverseproxy", doc: "httputil.ReverseProxy before net/http on a unix socket",
		args: proxyArgs},
	{name: "nginx", doc: "nginx with its access log before net/http on a unix socket, " +
		"kept alive", args: nginxArgs},
	{name: "twisted", doc: "twisted.web.distrib over a unix socket, a page in Python",
		args: twistedArgs, skips: "ws64,file16,memory"},
}

func directArgs(s *server) ([][]string, error) {
	return [][]string{s.self("direct", "-addr", s.addr)}, nil
}

func proxyArgs(s *server) ([][]string, error) {
	return [][]string{
		s.self("socket", "-back", s.socket()),
		s.self("proxy", "-addr", s.addr, "-back", s.socket()),
	}, nil
}

// siteFile is a site as an administrator writes it.
const siteFile = `listen  = ["%s"]
metrics = "%s"
log     = { file = "%s.access.log" }

[[mount]]
path = "/"
run  = ["split%s", "-role", "back"]

[[mount]]
path  = "/files/"
files = "files"
`

func splitArgs(s *server) ([][]string, error) {
	metrics, err := freeAddr()
	if err != nil {
		return nil, err
	}
	file, suffix := s.path(s.way.name+".toml"), ""
	if s.way.name == other {
		suffix = "-other"
	}
	text := fmt.Sprintf(siteFile, s.addr, metrics, s.way.name, suffix)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return [][]string{{s.path("pb" + suffix), "web", "run", file}}, nil
}

const nginxFile = `daemon off;
user nobody nogroup;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log %[1]s/nginx.error.log;
events { worker_connections 4096; }
http {
	access_log %[1]s/nginx.access.log;
	client_body_temp_path %[1]s/nginx.body;
	proxy_temp_path %[1]s/nginx.proxy;
	fastcgi_temp_path %[1]s/nginx.fastcgi;
	uwsgi_temp_path %[1]s/nginx.uwsgi;
	scgi_temp_path %[1]s/nginx.scgi;
	keepalive_requests 10000000;
	client_body_buffer_size 128k;
	upstream back { server unix:%[3]s; keepalive 512; keepalive_requests 10000000; }
	map $http_upgrade $connection_upgrade { default upgrade; "" ""; }
	server {
		listen %[2]s;
		location / {
			proxy_pass http://back;
			proxy_http_version 1.1;
			proxy_set_header Host $host;
			proxy_set_header X-Forwarded-For $remote_addr;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection $connection_upgrade;
			proxy_read_timeout 300s;
		}
		location /events {
			proxy_pass http://back;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_buffering off;
			proxy_read_timeout 300s;
		}
	}
}
`

func nginxArgs(s *server) ([][]string, error) {
	file := s.path("nginx.conf")
	text := fmt.Sprintf(nginxFile, s.bench.dir, s.addr, s.socket())
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return [][]string{
		s.self("socket", "-back", s.socket()),
		{"nginx", "-c", file, "-p", s.bench.dir},
	}, nil
}

//go:embed page.py
var twistedProgram []byte

func twistedArgs(s *server) ([][]string, error) {
	file := s.path("page.py")
	if err := os.WriteFile(file, twistedProgram, 0o644); err != nil {
		return nil, err
	}
	return [][]string{
		{"/usr/bin/python3", file, "back", s.socket()},
		{"/usr/bin/python3", file, "front", s.addr, s.socket()},
	}, nil
}

// A server is the processes of a way.
type server struct {
	way   *way
	bench *bench
	addr  string
	procs []*exec.Cmd
}

func (s *server) path(name string) string { return filepath.Join(s.bench.dir, name) }

func (s *server) socket() string { return s.path(s.way.name + ".sock") }

func (s *server) self(role string, args ...string) []string {
	return append([]string{s.path("split"), "-role", role, "-files", s.path("files")}, args...)
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// start starts the processes and waits for the first page.
func (s *server) start() (err error) {
	if s.addr, err = freeAddr(); err != nil {
		return err
	}
	all, err := s.way.args(s)
	if err != nil {
		return err
	}
	log, err := os.Create(s.path(s.way.name + ".log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the processes have it
	for i, args := range all {
		p := exec.Command(args[0], args[1:]...)
		p.Stdout, p.Stderr = log, log
		p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
		if err := p.Start(); err != nil {
			return err
		}
		s.procs = append(s.procs, p)
		if i == 0 && len(all) > 1 { // a back end that has a socket first
			if err := until(func() bool {
				_, err := os.Stat(s.socket())
				return err == nil
			}); err != nil {
				return s.explain(err)
			}
		}
	}
	return s.explain(until(s.answers))
}

func (s *server) answers() bool {
	r, err := http.Get("http://" + s.addr + "/page")
	if err != nil {
		return false
	}
	defer func() { _ = r.Body.Close() }() // only its status counts
	return r.StatusCode == http.StatusOK
}

// explain adds to an error what the processes have said.
func (s *server) explain(err error) error {
	if err == nil {
		return nil
	}
	text, _ := os.ReadFile(s.path(s.way.name + ".log")) // without it there is less to read
	return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(text)))
}

func until(done func() bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return errors.New("it did not get ready")
		case <-tick.C:
		}
	}
	return nil
}

// stop ends the processes.
func (s *server) stop() {
	for _, p := range s.procs {
		_ = p.Process.Signal(syscall.SIGTERM) // it may have ended
		t := time.AfterFunc(patience, func() { _ = p.Process.Kill() })
		_ = p.Wait() // how it ended does not matter
		t.Stop()
	}
	s.procs = nil
}

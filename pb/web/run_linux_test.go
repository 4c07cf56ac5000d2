package web_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"perspective/cred"
	"perspective/pb/distrib"
	"perspective/pb/web"
)

// partCommand is what this test's program is started as, to be a part of a site.
const partCommand = "web-part"

func TestMain(m *testing.M) {
	distrib.RunChild()
	if len(os.Args) > 2 && os.Args[1] == partCommand {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		err := web.RunPart(ctx, os.Args[2])
		stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A siteFolder is a folder with a site file, which other users may enter.
type siteFolder struct {
	t    *testing.T
	path string
}

// newFolder makes a folder for a site that parts with other users can reach.
func newFolder(t *testing.T) *siteFolder {
	t.Helper()
	dir, err := os.MkdirTemp("", "site-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &siteFolder{t, dir}
}

// write writes a file of the site.
func (f *siteFolder) write(name, text string, mode os.FileMode) string {
	f.t.Helper()
	path := filepath.Join(f.path, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// A runningSite is a site that runs in this process, with its parts beside it.
type runningSite struct {
	t     *testing.T
	admin *web.Client
	addr  string
	end   func()
}

// runSite runs the site of a file's text until the test ends.
func (f *siteFolder) runSite(text string) *runningSite {
	f.t.Helper()
	file := f.write("site.toml", text, 0o644)
	config, err := web.Load(file)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	ready := make(chan struct{})
	ended := make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() {
		ended <- web.Run(ctx, config, web.Options{
			Part: partCommand, Ready: func() { close(ready) }, Output: f.t.Output(),
		})
	})
	r := &runningSite{t: f.t, end: sync.OnceFunc(func() { cancel(); running.Wait() })}
	f.t.Cleanup(r.end)
	select {
	case <-ready:
	case err := <-ended:
		f.t.Fatalf("Run() = %v before it was ready", err)
	}
	if r.admin, err = web.Dial(f.t.Context(), config.Admin); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(r.admin.Close)
	status, err := r.admin.Status(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	r.addr = status.Listen[0]
	return r
}

// get asks for a path, of a host if that is not empty.
func (r *runningSite) get(host, path string) (status int, body string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.addr+path,
		nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// buildApp builds examples/site as an administrator would: without cgo, so that it needs nothing
// but itself.
func buildApp(t *testing.T, to string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", to, "perspective/examples/site")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// logIn logs in by the form and sees the page that only this user may see.
func (r *runningSite) logIn(t *testing.T, user, password string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	form := url.Values{"user": {user}, "password": {password}, "next": {"/admin/"}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"http://"+r.addr+"/.pb/login", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "http://"+r.addr)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	page, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(page), "hello, "+user) {
		t.Errorf("after the login: %d %q, %v", resp.StatusCode, page, err)
	}
}

func TestRun(t *testing.T) {
	f := newFolder(t)
	f.write("www/index.html", "<p>pages", 0o644)
	f.write("www/style.css", "p {}", 0o644)
	f.write("other/index.html", "<p>other", 0o644)
	f.write("cgi/hello.sh", "#!/bin/sh\n"+
		`printf "Content-Type: text/plain\r\n\r\nhello from %s as %s\n" "$SCRIPT_NAME" "$(id -u)"`+
		"\n", 0o755)
	if err := os.MkdirAll(filepath.Join(f.path, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	buildApp(t, filepath.Join(f.path, "bin", "app"))
	phc, err := cred.Hash(cred.Password("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := cred.WriteEntry(filepath.Join(f.path, "users"), "ann", phc); err != nil {
		t.Fatal(err)
	}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "legacy %s for %s", r.URL.Path, r.Header.Get("X-Forwarded-For"))
	}))
	defer upstream.Close()
	r := f.runSite(`
listen = ["127.0.0.1:0"]
admin  = "run/admin.sock"
metrics = "127.0.0.1:0"
log    = { file = "log/access.log" }
login  = { users = "users", method = "form" }
degrade = true

[[mount]]
path  = "/"
name  = "pages"
files = "www"

[[mount]]
path      = "/app/"
name      = "app"
run       = ["bin/app"]
instances = 2
sandbox   = { network = "none", memory = "256MiB", processes = 64 }

[[mount]]
path  = "/legacy/"
name  = "legacy"
proxy = "` + upstream.URL + `"
strip = true

[[mount]]
path = "/cgi/"
name = "hello"
cgi  = "cgi/hello.sh"

[[mount]]
host  = "other.test"
name  = "other"
files = "other"

[[mount]]
path    = "/admin/"
name    = "admin"
run     = ["bin/app", "-admin"]
require = ["ann"]
`)
	tests := []struct {
		host, path string
		status     int
		body       string // a part of it
	}{
		{"", "/", 200, "pages"},
		{"", "/style.css", 200, "p {}"},
		{"", "/missing", 404, ""},
		{"", "/app/", 200, "app"},
		{"", "/app/count", 200, ""},
		{"", "/app/whoami", 200, `"instance":"app.`},
		{"", "/legacy/a/b", 200, "legacy /a/b for 127.0.0.1"},
		{"", "/cgi/", 200, "hello from /cgi as "},
		{"", "/admin/", 401, ""},
		{"", "/.pb/login", 200, "password"},
		{"other.test", "/", 200, "other"},
		{"OTHER.test:80", "/", 200, "other"},
	}
	for _, tt := range tests {
		status, body := r.get(tt.host, tt.path)
		if status != tt.status || !strings.Contains(body, tt.body) {
			t.Errorf("GET %s%s: %d %q, want %d %q", tt.host, tt.path, status, body, tt.status,
				tt.body)
		}
	}
	t.Run("parts have users of their own", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("only root runs parts as users of their own")
		}
		status, err := r.admin.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen := map[uint32]string{0: "the monitor"}
		for _, p := range status.Parts[1:] {
			if before, ok := seen[p.UID]; ok && (p.Mount != "app" || before != "app") {
				t.Errorf("%s has the uid of %s", p.Name, before)
			}
			seen[p.UID] = cmp.Or(p.Mount, p.Name)
		}
		_, body := r.get("", "/app/whoami")
		var who struct{ UID uint32 }
		if err := json.Unmarshal([]byte(body), &who); err != nil ||
			seen[who.UID] != "app" {
			t.Errorf("whoami: %s, %v", body, err)
		}
	})
	t.Run("why", func(t *testing.T) {
		for url, want := range map[string]string{
			"/app/x": "app", "http://other.test/x": "other", "/app/../x": "", "/": "pages",
		} {
			why, err := r.admin.Why(t.Context(), url)
			if err != nil || why.Mount != want || why.Why == "" {
				t.Errorf("why %s: %+v, %v; want %q", url, why, err, want)
			}
		}
	})
	t.Run("metrics", func(t *testing.T) {
		status, err := r.admin.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		meter := &runningSite{t: t, addr: status.Metrics}
		if code, body := meter.get("", "/healthz"); code != http.StatusOK {
			t.Errorf("/healthz: %d %q", code, body)
		}
		if _, body := meter.get("", "/metrics"); !strings.Contains(body, `mount="app"`) {
			t.Errorf("/metrics: %.3000s", body)
		}
		if code, _ := r.get("", "/metrics"); code != http.StatusNotFound {
			t.Errorf("/metrics on the site: %d", code)
		}
	})
	t.Run("a login", func(t *testing.T) { r.logIn(t, "ann", "secret") })
	t.Run("a restart", func(t *testing.T) {
		pids := func() map[int]bool {
			status, err := r.admin.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all := map[int]bool{}
			for _, p := range status.Parts {
				if p.Mount == "app" && p.State == string(distrib.Ready) {
					all[p.PID] = true
				}
			}
			return all
		}
		before := pids()
		if err := r.admin.Restart(t.Context(), "app"); err != nil {
			t.Fatal(err)
		}
		for pid := range pids() {
			if before[pid] {
				t.Errorf("process %d serves still", pid)
			}
		}
		if code, body := r.get("", "/app/count"); code != http.StatusOK {
			t.Errorf("after the restart: %d %q", code, body)
		}
		if err := r.admin.Restart(t.Context(), "nobody"); err == nil {
			t.Error("a restart of nothing is no error")
		}
	})
	t.Run("a WebSocket over HTTP/2", func(t *testing.T) { r.webSocketOverHTTP2(t, "/app/ws") })
	t.Run("a WebSocket", func(t *testing.T) {
		//nolint:bodyclose // there is none
		c, _, err := websocket.Dial(t.Context(), "ws://"+r.addr+"/app/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow() //nolint:errcheck // it is over
		if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(t.Context()); string(got) != "hello" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("the access log", func(t *testing.T) {
		r.end() // which writes what is left
		text, err := os.ReadFile(filepath.Join(f.path, "log", "access.log"))
		if err != nil || !strings.Contains(string(text), `"/legacy/a/b"`) {
			t.Errorf("%.2000s, %v", text, err)
		}
	})
	t.Run("the end", func(t *testing.T) {
		r.end()
		dialing, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if nc, err := new(net.Dialer).DialContext(dialing, "tcp", r.addr); err == nil {
			_ = nc.Close()
			t.Error("somebody still listens")
		}
	})
}

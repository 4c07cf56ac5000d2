package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"perspective/pb/web"
)

// A siteCopy is a copy of examples/site with the programs that it needs, as an administrator has
// it.
type siteCopy struct {
	t   *testing.T
	dir string
	pb  string
	cmd *exec.Cmd
}

// copySite copies the example's folder, builds its program and pb, and makes a user. Its ports are
// free ones, and upstream is what its proxy leads to.
func copySite(t *testing.T, upstream string) *siteCopy {
	t.Helper()
	if testing.Short() || raceEnabled {
		t.Skip("builds programs, which the race detector does not watch")
	}
	needProcesses(t)
	dir, err := os.MkdirTemp("", "site-") // t.TempDir lets no other user in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &siteCopy{t: t, dir: dir, pb: filepath.Join(dir, "bin", "pb")}
	if err := os.CopyFS(dir, os.DirFS("../../examples/site")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "site.toml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"127.0.0.1:18090": "127.0.0.1:0",
		"127.0.0.1:18091": "127.0.0.1:0", "http://127.0.0.1:18099": upstream} {
		if !bytes.Contains(text, []byte(from)) {
			t.Fatalf("site.toml says nothing of %s", from)
		}
		text = bytes.ReplaceAll(text, []byte(from), []byte(to))
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	for to, from := range map[string]string{s.pb: "perspective/cmd/pb",
		filepath.Join(dir, "bin", "app"): "perspective/examples/site"} {
		build := exec.CommandContext(t.Context(), "go", "build", "-o", to, from)
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // a part may not be linked with cgo
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	passwd := exec.CommandContext(t.Context(), s.pb, "passwd", "users", "ann")
	passwd.Dir, passwd.Stdin = dir, strings.NewReader("secret\n")
	if out, err := passwd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return s
}

// run runs the site until end, and returns what it says of itself when it is ready.
func (s *siteCopy) run() (status web.Status, end func()) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	s.t.Cleanup(cancel)
	s.cmd = exec.CommandContext(ctx, s.pb, "web", "run", "site.toml")
	s.cmd.Dir, s.cmd.Stderr = s.dir, s.t.Output()
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "ready\n" {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		s.t.Fatalf("it printed %q, %v; and ended: %v", line, err, s.cmd.Wait())
	}
	s.ask(&status, "status", "--json")
	return status, func() {
		s.t.Helper()
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			s.t.Fatal(err)
		}
		if err := s.cmd.Wait(); err != nil {
			s.t.Errorf("after SIGTERM: %v", err)
		}
	}
}

// ask reads the object that pb web prints.
func (s *siteCopy) ask(to any, args ...string) {
	s.t.Helper()
	c := exec.CommandContext(s.t.Context(), s.pb, append([]string{"web"}, args...)...)
	c.Dir = s.dir
	text, err := c.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(text, to); err != nil {
		s.t.Fatal(err)
	}
}

// waitFor waits until something is so, in the time that a test has.
func waitFor(t *testing.T, so func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !so() {
		select {
		case <-tick.C:
		case <-limit.Done():
			t.Fatal("it did not come to be so")
		}
	}
}

// getFrom asks a host for a URL.
func getFrom(t *testing.T, host, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestExampleSite runs a copy of examples/site as it stands: each mount answers, and the number
// that grows does so over all instances, and over an end of the site.
func TestExampleSite(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, "legacy ", r.URL.Path)
	}))
	defer upstream.Close()
	s := copySite(t, upstream.URL)
	check := exec.CommandContext(t.Context(), s.pb, "web", "check", "site.toml")
	check.Dir = s.dir
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}
	count := 0
	for range 2 {
		status, end := s.run()
		if !status.Ready {
			t.Error("status says that it is not ready")
		}
		site := "http://" + status.Listen[0]
		for _, c := range []struct {
			host, path string
			status     int
			body       string // a part of it
		}{
			{"", "/", 200, "pages"},
			{"", "/app/", 200, "app"},
			{"", "/app/whoami", 200, `"instance":"app.`},
			{"", "/admin/", 401, ""},
			{"", "/.pb/login", 200, "password"},
			{"", "/legacy/a", 200, "legacy /a"},
			{"", "/cgi/", 200, "hello from /cgi as "},
			{"other.test", "/", 200, "other"},
		} {
			code, body := getFrom(t, c.host, site+c.path)
			if code != c.status || !strings.Contains(body, c.body) {
				t.Errorf("GET %s%s: %d %q", c.host, c.path, code, body)
			}
		}
		for range 8 { // without the cookie: any instance
			count++
			_, body := getFrom(t, "", site+"/app/count")
			if n, err := strconv.Atoi(strings.TrimSpace(body)); err != nil || n != count {
				t.Errorf("count: %q, want %d", body, count)
			}
		}
		if code, body := getFrom(t, "", "http://"+status.Metrics+"/healthz"); code != 200 {
			t.Errorf("/healthz: %d %s", code, body)
		}
		end()
	}
}

package web_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// siteToReload has %PATH% for the path of its only mount.
const siteToReload = `
listen  = ["127.0.0.1:0"]
admin   = "run/admin.sock"
log     = { file = "log/access.log" }
degrade = true

[[mount]]
path  = "%PATH%"
name  = "pages"
files = "www"
`

// frontPID is the front's process.
func (r *runningSite) frontPID() int {
	r.t.Helper()
	status, err := r.admin.Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range status.Parts {
		if p.Name == "front" && p.State == "ready" {
			return p.PID
		}
	}
	return 0
}

// until waits for what a signal or the clock brings about.
func (r *runningSite) until(what string, holds func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			r.t.Fatalf("waiting for %s", what)
		}
	}
}

// TestReload changes a site while it runs, and its front.
func TestReload(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	f := newFolder(t)
	f.write("www/index.html", "<p>pages", 0o644)
	write := func(path string, more ...string) {
		text := strings.NewReplacer(append([]string{"%PATH%", path}, more...)...)
		f.write("site.toml", text.Replace(siteToReload), 0o644)
	}
	r := f.runSite(strings.ReplaceAll(siteToReload, "%PATH%", "/old/"))
	served := func(path string) bool {
		status, _ := r.get("", path)
		return status == http.StatusOK
	}
	write("/new/")
	if err := r.admin.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if served("/old/") || !served("/new/") {
		t.Error("the table of routes is the old one")
	}
	for change, want := range map[[2]string]string{
		{"files =", "fils ="}:              "site.toml:10: ",
		{`["127.0.0.1:0"]`, `["[::1]:0"]`}: "site.toml:2: listen cannot change",
		{`"www"`, `"log"`}:                 "site.toml:7: what serves mount pages",
		{`"pages"`, `"others"`}:            "mount others is new",
	} {
		write("/refused/", change[0], change[1])
		err := r.admin.Reload(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Reload() = %v, want %q", change[1], err, want)
		}
		if !served("/new/") || served("/refused/") {
			t.Errorf("%s: something has changed", change[1])
		}
	}
	write("/signal/")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.until("SIGHUP", func() bool { return served("/signal/") })
	t.Run("a restart of the front under load", func(t *testing.T) { r.restartFront(t) })
	t.Run("the log", func(t *testing.T) {
		log := filepath.Join(f.path, "log", "access.log")
		if err := os.Rename(log, log+".1"); err != nil {
			t.Fatal(err)
		}
		r.until("the log after it was renamed", func() bool {
			served("/signal/renamed")
			text, _ := os.ReadFile(log)
			return strings.Contains(string(text), "/signal/renamed")
		})
	})
}

// restartFront restarts the front twice under load: no request is lost, and the table of routes is
// that of the last reload.
func (r *runningSite) restartFront(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() { // ends with cancel
			for ctx.Err() == nil {
				resp, err := http.Post("http://"+r.addr+"/signal/", "text/plain",
					strings.NewReader("x"))
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusMethodNotAllowed &&
					resp.StatusCode != http.StatusOK {
					t.Errorf("status %d", resp.StatusCode)
					return
				}
			}
		})
	}
	for range 2 {
		before := r.frontPID()
		if err := r.admin.Restart(t.Context(), "front"); err != nil {
			t.Error(err)
		}
		if r.frontPID() == before {
			t.Error("the front is the same")
		}
	}
	cancel()
	clients.Wait()
}

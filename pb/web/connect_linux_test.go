package web_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// An endPoint is a back end that runs by itself and listens at a socket.
type endPoint struct {
	t      *testing.T
	cmd    *exec.Cmd
	ended  chan struct{}
	socket string
}

// anybody is who runs an end point: another user where root tests.
func anybody() (name string, credential *syscall.Credential) {
	if os.Getuid() != 0 {
		return "", nil
	}
	return "nobody", &syscall.Credential{Uid: 65534, Gid: 65534}
}

// startEndPoint starts a program at a socket.
func startEndPoint(t *testing.T, program, socket string) *endPoint {
	t.Helper()
	_, credential := anybody()
	e := &endPoint{t: t, cmd: exec.Command(program), ended: make(chan struct{}), socket: socket}
	e.cmd.Env = []string{"PB_MOUNT_LISTEN=pb+unix://" + socket}
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	e.cmd.Stdout, e.cmd.Stderr = t.Output(), t.Output()
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process, which the test kills
		defer close(e.ended)
		_ = e.cmd.Wait()
	}()
	t.Cleanup(e.kill)
	return e
}

func (e *endPoint) kill() {
	_ = e.cmd.Process.Kill() // it may have ended
	<-e.ended
}

// eventually waits, for at most a minute, until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !so(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute: no %s", what)
		}
	}
}

// A back end that runs by itself is joined over its socket, and again each time that it was killed,
// without a lost request. One of another user's is not joined.
func TestRunConnect(t *testing.T) {
	f := newFolder(t)
	program := filepath.Join(f.path, "bin", "app")
	buildApp(t, program)
	name, credential := anybody()
	var who string
	for _, folder := range []string{"theirs", "ours"} {
		path := filepath.Join(f.path, folder)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if credential != nil {
			if err := os.Chown(path, int(credential.Uid), int(credential.Gid)); err != nil {
				t.Fatal(err)
			}
			who = fmt.Sprintf("user = %q\n", name)
		}
	}
	socket := filepath.Join(f.path, "theirs", "app.sock")
	e := startEndPoint(t, program, socket)
	text := `
listen  = ["127.0.0.1:0"]
admin   = "run/admin.sock"
degrade = true

[[mount]]
path    = "/app/"
name    = "app"
connect = "unix:theirs/app.sock"
` + who
	if credential != nil { // root's own is expected there
		text += `
[[mount]]
path    = "/wrong/"
name    = "wrong"
connect = "unix:ours/app.sock"
`
		startEndPoint(t, program, filepath.Join(f.path, "ours", "app.sock"))
	}
	r := f.runSite(text)
	up := func() bool {
		status, err := r.admin.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range status.Mounts {
			if m.Name == "wrong" && m.Up > 0 {
				t.Error("the socket of another user was joined")
			}
		}
		return status.Mounts[0].Up == 1
	}
	eventually(t, "link to the end point", up)
	var ending atomic.Bool
	var served atomic.Int64
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() { // ends when ending is set
			for !ending.Load() {
				resp, err := http.Get("http://" + r.addr + "/app/whoami")
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				switch {
				case resp.StatusCode == http.StatusOK:
					served.Add(1)
				case resp.StatusCode != http.StatusServiceUnavailable ||
					resp.Header.Get("Retry-After") == "": // a slow machine may make it wait so long
					t.Errorf("status %d", resp.StatusCode)
				}
			}
		})
	}
	for range 5 {
		seen := served.Load()
		eventually(t, "served request", func() bool { return served.Load() > seen+10 })
		e.kill()
		e = startEndPoint(t, program, socket)
	}
	seen := served.Load()
	eventually(t, "served request at the end", func() bool { return served.Load() > seen+10 })
	ending.Store(true)
	load.Wait()
	if _, body := r.get("", "/app/whoami"); credential != nil &&
		!strings.Contains(body, `"uid":65534`) {
		t.Errorf("whoami: %s", body)
	}
}

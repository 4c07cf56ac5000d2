package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"perspective/pb/distrib"
)

// patience is for what takes no time on a machine with nothing else to do.
const patience = 5 * time.Minute

// needProcesses skips where the kernel holds nothing apart, or fails where the
// environment says that all must be there.
func needProcesses(t *testing.T) {
	t.Helper()
	sep := distrib.Probe(t.Context())
	if sep.Mode != distrib.NotSeparated {
		return
	}
	lacking(t, sep)
}

// demoCommandLine runs pb demo on free ports, with its files in a folder that must be empty
// afterwards.
func demoCommandLine(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	folder, err := os.MkdirTemp("", "pb-demo-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, err := os.ReadDir(folder)
		if err != nil || len(left) > 0 {
			t.Errorf("files left behind: %v, %v", left, err)
		}
		_ = os.RemoveAll(folder)
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	args = append([]string{"demo", "--http", "127.0.0.1:0", "--pb", "pb+tcp://127.0.0.1:0"},
		args...)
	c := exec.CommandContext(ctx, "pb", args...)
	c.Env = append(os.Environ(), "TMPDIR="+folder)
	c.Dir = "/"
	return c
}

// output runs c, which must end with an exit code.
func output(t *testing.T, c *exec.Cmd, want int) string {
	t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	_ = c.Run() // the exit code tells
	if got := c.ProcessState.ExitCode(); got != want {
		t.Errorf("exit code %d, want %d", got, want)
	}
	if t.Failed() || testing.Verbose() {
		t.Logf("%s\n%s", &out, &errs)
	}
	return out.String()
}

// checkLines looks for whole lines, each a regular expression, in their order.
func checkLines(t *testing.T, text string, want ...string) {
	t.Helper()
	lines := strings.Split(text, "\n")
	for _, w := range want {
		re := regexp.MustCompile("^(?:" + w + ")$")
		for len(lines) > 0 && !re.MatchString(lines[0]) {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			t.Fatalf("no line %q in its place in\n%s", w, text)
		}
	}
}

func attackLines(suffix string) (want []string) {
	for _, name := range attacks {
		want = append(want, "attack "+name+": "+suffix)
	}
	return want
}

const (
	readyLine = `ready http://127\.0\.0\.1:[1-9][0-9]*/ pb\+tcp://127\.0\.0\.1:[1-9][0-9]*`
	doneLine  = `requests 2000 answered [0-9]+ begun-and-lost [0-9]+ lost 0 doubled 0`
)

func checkOnce(t *testing.T, text string) {
	t.Helper()
	want := append([]string{`PID +UID +PART.*`, `[0-9]+ +[0-9]+ +monitor .*`,
		`[0-9]+ +[0-9]+ +front .*http=127.*`,
		`[0-9]+ +[0-9]+ +site .*read .*`, `[0-9]+ +[0-9]+ +board .*pb=127.*write .*`},
		attackLines(`refused \(.+\)`)...)
	checkLines(t, text, append(want, readyLine, doneLine)...)
}

func TestDemoOnce(t *testing.T) {
	needProcesses(t)
	text := output(t, demoCommandLine(t, "--once"), exitDone)
	checkOnce(t, text)
	if os.Getuid() == 0 {
		checkLines(t, text, `[0-9]+ +6[12][0-9]{3} +front .*own uid.*`,
			`[0-9]+ +6[12][0-9]{3} +site .*own uid.*`)
	}
}

// TestDemoOnceAsOrdinaryUser is TestDemoOnce for a user without rights.
func TestDemoOnceAsOrdinaryUser(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the processes of the demo; TestDemoOnce does it once")
	}
	if os.Getuid() != 0 {
		t.Skip("already an ordinary user")
	}
	needProcesses(t)
	c := demoCommandLine(t, "--once")
	c.Path = copyOfPB(t)
	const nobody = 65534
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	for _, env := range c.Env {
		if folder, ok := strings.CutPrefix(env, "TMPDIR="); ok {
			if err := os.Chown(folder, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
	}
	text := output(t, c, exitDone)
	checkOnce(t, text)
	checkLines(t, text, `[0-9]+ +65534 +board .*namespaces user mount pid net.*`)
}

// copyOfPB is this program where every user can start it.
func copyOfPB(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "pb-program-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	program, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "pb"), program, 0o755)
	}
	if err == nil {
		err = os.Chmod(folder, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, "pb")
}

// TestDemoNotSeparated runs where no user and no namespace of one's own is to be had: it must say
// so, and what it then claims must be true.
func TestDemoNotSeparated(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the processes of the demo; TestDemoOnce does it once")
	}
	c := demoCommandLine(t, "--once")
	pb, err := exec.LookPath("pb")
	if err != nil {
		t.Fatal(err)
	}
	c.Args = append([]string{"sh", "-c",
		`echo 0 >/proc/sys/user/max_user_namespaces || exit 99; exec "$0" "$@"`, pb}, c.Args[1:]...)
	if c.Path, err = exec.LookPath("sh"); err != nil {
		lacking(t, err)
	}
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: one,
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err = c.Run()
	if c.ProcessState == nil || c.ProcessState.ExitCode() == 99 {
		lacking(t, fmt.Sprintf("no user namespace to try it in: %v", err))
	}
	checkLines(t, out.String(), `NOT SEPARATED BY THE KERNEL.*`, readyLine, doneLine)
	want := exitDone
	if strings.Contains(out.String(), ": SUCCEEDED\n") {
		want = exitFailed
	}
	if got := c.ProcessState.ExitCode(); got != want {
		t.Errorf("exit code %d, want %d, after\n%s%s", got, want, &out, &errs)
	}
}

func TestDemoUnsplit(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the processes of the demo; TestDemoOnce does it once")
	}
	text := output(t, demoCommandLine(t, "--once", "--unsplit"), exitDone)
	want := attackLines("SUCCEEDED")
	want[len(want)-1] = "attack " + takeMount + `: refused \(.+\)` // there is no link to lose
	checkLines(t, text, append(want, readyLine, doneLine)...)
}

// TestDemoServes uses the demo as a person does, until it is told to end.
func TestDemoServes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the processes of the demo; TestDemoOnce does it once")
	}
	for _, mode := range []struct {
		name   string
		args   []string
		signal os.Signal
	}{
		{"split", nil, syscall.SIGTERM},
		{"split, interrupted", nil, os.Interrupt},
		{"split, hung up", nil, syscall.SIGHUP},
		{"unsplit", []string{"--unsplit"}, syscall.SIGTERM},
	} {
		t.Run(mode.name, func(t *testing.T) {
			if mode.args == nil {
				needProcesses(t)
			}
			c := demoCommandLine(t, mode.args...)
			c.Stderr = os.Stderr
			// Caught here, it is not ignored in a child, as it would be where nohup runs the tests.
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP)
			stdout, err := c.StdoutPipe()
			if err == nil {
				err = c.Start()
			}
			signal.Stop(hangups)
			if err != nil {
				t.Fatal(err)
			}
			var site, object string
			var pids []int
			lines := bufio.NewScanner(stdout)
			for object == "" && lines.Scan() {
				words := strings.Fields(lines.Text())
				switch pid, err := strconv.Atoi(words[0]); {
				case err == nil && len(words) > 2 && words[2] != "monitor":
					pids = append(pids, pid)
				case words[0] == "ready":
					site, object = words[1], words[2]
				}
			}
			if object == "" {
				t.Fatalf("it ended early: %v", c.Wait())
			}
			useDemo(t, site, object)
			if err := c.Process.Signal(mode.signal); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, stdout)
			if err := c.Wait(); err != nil {
				t.Errorf("it ended with %v, want exit code 0", err)
			}
			for _, pid := range pids {
				if err := syscall.Kill(pid, 0); err == nil {
					t.Errorf("process %d is still there", pid)
				}
			}
		})
	}
}

func useDemo(t *testing.T, site, object string) {
	t.Helper()
	call := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("pb",
			append([]string{"call", object}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("pb call %q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	get := func(path string) string {
		t.Helper()
		r, err := http.Get(site + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Body.Close() }()
		body, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %s, %v", path, r.Status, err)
		}
		return string(body)
	}
	if got := call("Post", "ann", `hello <b>`); got != "1" {
		t.Errorf("Post = %s, want 1", got)
	}
	if page := get("board/"); !strings.Contains(page, "ann") ||
		!strings.Contains(page, "hello &lt;b&gt;") {
		t.Errorf("the board's page is\n%s", page)
	}
	r, err := http.PostForm(site+"board/", url.Values{"name": {"bob"}, "text": {"and back"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusCreated {
		t.Errorf("POST: %s", r.Status)
	}
	get("board") // leads to board/
	forged, err := http.NewRequestWithContext(t.Context(), http.MethodPost, site+"board/",
		strings.NewReader("name=eve&text=forged"))
	if err != nil {
		t.Fatal(err)
	}
	forged.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	forged.Header.Set("Sec-Fetch-Site", "cross-site")
	if r, err = http.DefaultClient.Do(forged); err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusForbidden {
		t.Errorf("POST from another site: %s", r.Status)
	}
	if got, want := call("Read", "1"), `["2 bob: and back"]`; got != want {
		t.Errorf("Read = %s, want %s", got, want)
	}
	if page := get(""); !strings.Contains(page, "<h1") ||
		!strings.Contains(page, `href="wire-native.html"`) {
		t.Errorf("the first page is\n%s", page)
	}
	if page := get("values.html"); !strings.Contains(page, "<table>") {
		t.Errorf("values.html has no table")
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A docRun does what a document says, word for word, in a folder of its own:
//
//   - a block that begins with a comment that is a file's name is written to that file;
//   - of a block of console the lines behind "$ " are run by a shell, those that end with " &"
//     until the document's end, and must print the lines below them; … stands for anything.
//
// At the end what runs is told to end, and must do so with 0.
type docRun struct {
	t       *testing.T
	dir     string
	env     []string
	running []*docCommand
}

// runDocument does what a document says. Each old string of the pairs is replaced in it by the new
// one that follows: ports, and what lies elsewhere here.
func runDocument(t *testing.T, document string, env []string, pairs ...string) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		lacking(t, err)
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "site-") // t.TempDir lets no other user in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &docRun{t: t, dir: dir, env: append(os.Environ(), env...)}
	defer d.end()
	fence := regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")
	plain := strings.NewReplacer(pairs...).Replace(string(text))
	for _, block := range fence.FindAllStringSubmatch(plain, -1) {
		if block[1] == "console" {
			d.console(block[2])
		} else {
			d.file(block[2])
		}
		if t.Failed() {
			return
		}
	}
}

// file writes a block to the file that its first line names; one that names none is no file.
func (d *docRun) file(text string) {
	d.t.Helper()
	first, rest, _ := strings.Cut(text, "\n")
	named := regexp.MustCompile(`^(?:#|//|<!--) ([a-z/._-]+\.[a-z]+)(?: -->)?$`)
	m := named.FindStringSubmatch(first)
	if m == nil {
		return
	}
	path := filepath.Join(d.dir, m[1])
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755),
		os.WriteFile(path, []byte(rest), 0o644)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *docRun) console(text string) {
	d.t.Helper()
	for _, command := range strings.Split("\n"+text, "\n$ ")[1:] {
		line, want, _ := strings.Cut(command, "\n")
		for strings.HasSuffix(line, "\\") { // it goes on
			var more string
			more, want, _ = strings.Cut(want, "\n")
			line += "\n" + more
		}
		d.command(line, strings.TrimSpace(want))
		if d.t.Failed() {
			return
		}
	}
}

// command runs a line, which must print what is wanted.
func (d *docRun) command(line, want string) {
	d.t.Helper()
	line, stays := strings.CutSuffix(line, " &")
	wanted := "^(?s:" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + ")"
	if stays {
		wanted += "(?m:$)" // it goes on to print
	} else {
		wanted += "$"
	}
	c := &docCommand{wanted: regexp.MustCompile(wanted)}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	d.t.Cleanup(cancel)
	if stays {
		line = "exec " + line
	}
	c.Cmd = exec.CommandContext(ctx, "sh", "-c", line)
	c.Dir, c.Env, c.Stdout, c.Stderr = d.dir, d.env, c, c
	c.WaitDelay = time.Minute // what it started may hold its output
	if !stays {
		err := c.Run()
		if said := c.said(); !c.wanted.MatchString(said) {
			d.t.Errorf("$ %s\n%s\n(%v) want\n%s", line, said, err, want)
		}
		return
	}
	c.matched = make(chan struct{})
	if err := c.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.running = append(d.running, c)
	ended := make(chan struct{})
	c.waiting.Go(func() { // ends with the command
		c.err = c.Wait()
		close(ended)
	})
	select {
	case <-c.matched:
	case <-ended:
		d.t.Errorf("$ %s\n%s\nended (%v), want\n%s", line, c.said(), c.err, want)
	case <-ctx.Done():
		d.t.Errorf("$ %s\n%s\nwant\n%s", line, c.said(), want)
	}
}

// end ends what runs, the last first.
func (d *docRun) end() {
	for _, c := range slices.Backward(d.running) {
		_ = c.Process.Signal(syscall.SIGTERM)
		c.waiting.Wait()
		if c.err != nil {
			d.t.Errorf("%s: after SIGTERM: %v\n%s", c.Args[2], c.err, c.said())
		}
	}
}

// A docCommand is a command whose output is looked at as it comes.
type docCommand struct {
	*exec.Cmd

	wanted  *regexp.Regexp
	matched chan struct{} // closed once it printed what is wanted; nil: nobody waits
	waiting sync.WaitGroup
	err     error // how it ended, after waiting

	mu   sync.Mutex
	text bytes.Buffer
	done bool
}

// Write takes what the command prints.
func (c *docCommand) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(p)
	if c.matched != nil && !c.done && c.wanted.MatchString(strings.TrimSpace(c.text.String())) {
		c.done = true
		close(c.matched)
	}
	return len(p), nil
}

func (c *docCommand) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.TrimSpace(c.text.String())
}

// freePort is a port of this machine that nobody has at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestWebDocument does what docs/web.md says: the first site, and a program as a part of it.
func TestWebDocument(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("builds programs, which the race detector does not watch")
	}
	needProcesses(t)
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	runDocument(t, "../../docs/web.md", []string{"PATH=" + bin + ":" + os.Getenv("PATH"),
		"GOWORK=off", "GOFLAGS=-mod=mod"}, "8080", freePort(t), "=DIR", "="+repo)
}

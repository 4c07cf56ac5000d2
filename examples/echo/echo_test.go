package echo_test

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Both programs are built and run, as two processes.
func TestEcho(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "./server", "./client").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	server := exec.CommandContext(t.Context(), filepath.Join(dir, "server"))
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	client := exec.CommandContext(t.Context(), filepath.Join(dir, "client"), strings.TrimSpace(url), "hello there")
	if got, err := client.CombinedOutput(); string(got) != "hello there <nil>\n" || err != nil {
		t.Errorf("the client printed %q, %v", got, err)
	}
	got, err := exec.CommandContext(t.Context(), filepath.Join(dir, "client")).CombinedOutput()
	if err == nil || !strings.Contains(string(got), "usage: client URL TEXT") || strings.Contains(string(got), "goroutine") {
		t.Errorf("the client without arguments printed %q, %v, want how to use it", got, err)
	}
}

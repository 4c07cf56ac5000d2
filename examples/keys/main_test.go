package main_test

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Two machines know each other's keys; a third one is turned away.
func TestKeys(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "keys")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	key := func(name string) string { return filepath.Join(dir, name+".key") }
	run := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	friend, err := run(key("b"))
	if err != nil {
		t.Fatal(friend, err)
	}
	server := exec.CommandContext(t.Context(), program, key("a"), "serve", friend)
	printed, err := server.StdoutPipe()
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
	url, err := bufio.NewReader(printed).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url = strings.TrimSpace(url)
	if self, err := run(key("a")); err != nil || !strings.Contains(url, self) {
		t.Errorf("the URL %q names another key than %q, %v", url, self, err)
	}
	if got, err := run(key("b"), "call", url); got != "a quarter past nine" || err != nil {
		t.Errorf("the friend got %q, %v", got, err)
	}
	if got, err := run(key("c"), "call", url); err == nil || strings.Contains(got, "quarter") {
		t.Errorf("a stranger got %q, %v", got, err)
	}
	if got, err := run(key("b"), "call", strings.Replace(url, "pb://", "pb://"+friend+"@", 1)); err == nil {
		t.Errorf("a URL with two node ids was dialed: %q", got)
	}
	_, host, _ := strings.Cut(url, "@")
	if got, err := run(key("b"), "call", "pb://"+friend+"@"+host); err == nil || !strings.Contains(got, "key") && !strings.Contains(got, "node") {
		t.Errorf("the key of somebody else was accepted: %q, %v", got, err)
	}
}

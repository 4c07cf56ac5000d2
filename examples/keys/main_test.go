package main_test

import (
	"strings"
	"testing"

	"perspective/examples/internal/program"
)

// Two machines know each other's keys; a third one is turned away.
func TestKeys(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	p := program.Build(t, ".")
	key := func(name string) string { return p.File(name + ".key") }
	run := func(args ...string) (string, error) {
		out, err := p.Run("keys", args...)
		return strings.TrimSpace(out), err
	}
	friend, err := run(key("b"))
	if err != nil {
		t.Fatal(friend, err)
	}
	url := p.Start("keys", key("a"), "serve", friend)
	if self, err := run(key("a")); err != nil || !strings.Contains(url, self) {
		t.Errorf("the URL %q names another key than %q, %v", url, self, err)
	}
	if got, err := run(key("b"), "call", url); got != "a quarter past nine" || err != nil {
		t.Errorf("the friend got %q, %v", got, err)
	}
	if got, err := run(key("c"), "call", url); err == nil || strings.Contains(got, "quarter") {
		t.Errorf("a stranger got %q, %v", got, err)
	}
	if got, err := run(key("b"), "call",
		strings.Replace(url, "pb://", "pb://"+friend+"@", 1)); err == nil {
		t.Errorf("a URL with two node ids was dialed: %q", got)
	}
	_, host, _ := strings.Cut(url, "@")
	if got, err := run(key("b"), "call", "pb://"+friend+"@"+host); err == nil ||
		!strings.Contains(got, "key") && !strings.Contains(got, "node") {
		t.Errorf("the key of somebody else was accepted: %q, %v", got, err)
	}
}

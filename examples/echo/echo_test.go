package echo_test

import (
	"strings"
	"testing"

	"perspective/examples/internal/program"
)

// Both programs are built and run, as two processes.
func TestEcho(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	p := program.Build(t, "./server", "./client")
	url := p.Start("server")
	if got, err := p.Run("client", url, "hello there"); got != "hello there <nil>\n" || err != nil {
		t.Errorf("the client printed %q, %v", got, err)
	}
	got, err := p.Run("client")
	if err == nil || !strings.Contains(got, "usage: client URL TEXT") ||
		strings.Contains(got, "goroutine") {
		t.Errorf("the client without arguments printed %q, %v, want how to use it", got, err)
	}
}

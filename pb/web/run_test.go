package web

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"perspective/pb/distrib"
)

// TestWarnOfSeparation wants a warning of each thing that does not hold the parts apart, and none
// where all does.
func TestWarnOfSeparation(t *testing.T) {
	config := &Config{Mounts: []Mount{{Name: "app"}, {Name: "open", Sandbox: Sandbox{None: true}}}}
	for _, c := range []struct {
		mode   distrib.Mode
		config *Config
		want   []string // in order
	}{
		{distrib.ByUser, &Config{}, nil},
		{distrib.ByUser, config, []string{"no sandbox"}},
		{distrib.ByNamespace, config, []string{"not separated by users", "no sandbox"}},
		{distrib.NotSeparated, &Config{}, []string{"nothing separates", "degraded"}},
	} {
		var out bytes.Buffer
		warnOfSeparation(slog.New(slog.NewTextHandler(&out, nil)),
			distrib.Separation{Mode: c.mode}, c.config)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		said := 0
		for _, line := range lines {
			if strings.Contains(line, "degraded") && c.mode != distrib.NotSeparated {
				continue // of a Separation that nobody probed
			}
			if line != "" {
				if said >= len(c.want) || !strings.Contains(line, c.want[said]) ||
					!strings.Contains(line, "level=WARN") {
					t.Errorf("mode %v: %s", c.mode, line)
				}
				said++
			}
		}
		if said != len(c.want) {
			t.Errorf("mode %v: %d warnings, want %q", c.mode, said, c.want)
		}
	}
}

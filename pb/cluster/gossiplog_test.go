package cluster

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestGossipLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var c Cluster
		g := &gossipLog{
			logger: slog.New(slog.NewTextHandler(&out, nil)),
			enter:  c.enter,
			leave:  c.leave,
		}
		write := func(line string) string {
			out.Reset()
			if n, err := g.Write([]byte(line + "\n")); n != len(line)+1 || err != nil {
				t.Errorf("Write = %d, %v", n, err)
			}
			return out.String()
		}
		tests := []struct{ line, want string }{
			{"[DEBUG] memberlist: Stream connection", ""},
			{"[INFO] memberlist: Marking x as failed", ""},
			{"[WARN] memberlist: ignoring", "level=WARN msg=gossip text=ignoring"},
			{"[ERR] memberlist: a\nb=\x1b[0m", `level=WARN msg=gossip text="a\nb=\x1b[0m"`},
			{"Err: no level", `level=WARN msg=gossip text="Err: no level"`},
		}
		for _, test := range tests {
			if got := write(test.line); !strings.Contains(got, test.want) ||
				test.want == "" && got != "" {
				t.Errorf("%q was logged as %q, want %q", test.line, got, test.want)
			}
		}
		if got := write("[WARN] " + strings.Repeat("x", 10_000)); len(got) > longestLine+100 {
			t.Errorf("a line of %d bytes was logged", len(got))
		}
		lines := 0
		for i := range 10_000 {
			if write(fmt.Sprintf("[ERR] memberlist: %d", i)) != "" {
				lines++
			}
		}
		if lines > linesEach {
			t.Errorf("%d lines were logged at once", lines)
		}
		time.Sleep(logWindow + 1)
		if got := write("[ERR] memberlist: later"); !strings.Contains(got, "later") ||
			!strings.Contains(got, fmt.Sprint("count=", 10_000-lines)) {
			t.Errorf("after the flood was logged %q", got)
		}
		time.Sleep(logWindow + 1)
		_ = c.Close()
		if got := write("[ERR] memberlist: too late"); got != "" {
			t.Errorf("after the end was logged %q", got)
		}
	})
}

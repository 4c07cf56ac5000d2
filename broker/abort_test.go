package broker_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"perspective/broker"
)

// TestAbortIsLogged: an ABORT that is sent, and one that comes, is one Warn line with the rule.
func TestAbortIsLogged(t *testing.T) {
	for name, tt := range map[string]struct {
		say  []byte
		rule string
	}{
		"sent": {messageOf(t, 3, 0), "FINISH: element 1, q: want a question, not 0, got 0"},
		"came": {messageOf(t, 13, 0, "because"), "because"},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := tcp(t)
			deadline(t, c)
			var log bytes.Buffer
			w, b := against(t, c, s,
				broker.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			w.greet().say(tt.say)
			for err := error(nil); err == nil; {
				_, err = w.hear()
			}
			_ = c.Close()
			<-b.Done()
			if got := log.String(); strings.Count(got, "\n") != 1 ||
				!strings.Contains(got, "level=WARN") || !strings.Contains(got, tt.rule) {
				t.Errorf("logged %q, want one Warn line with %q", got, tt.rule)
			}
		})
	}
}

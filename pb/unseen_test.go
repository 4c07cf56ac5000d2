package pb

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// A leveled handler keeps the text of what is logged.
type leveled struct {
	slog.LevelVar
	mu   sync.Mutex
	text strings.Builder
}

func (l *leveled) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// Nothing is made for failures that are not going to be logged.
func TestUnseenAtInfo(t *testing.T) {
	var log leveled
	n := &Node{
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: &log.LevelVar})),
	}
	defer n.Close() //nolint:errcheck // it has no connection
	no := wrapCall("call", "peer", Executed, errors.New("no"))
	made := func() bool {
		d := &Deferred[int]{src: &goJob{log: &n.unseen}}
		d.Errback(no)
		_, made := d.err.(*unseen)              //nolint:errorlint // it alone
		if _, err, _ := d.Result(); err != no { //nolint:errorlint // it alone
			t.Errorf("the error is %v, want it as it was", err)
		}
		return made
	}
	for _, step := range []struct {
		level slog.Level
		want  bool
	}{{slog.LevelInfo, false}, {slog.LevelDebug, true}, {slog.LevelWarn, false}} {
		log.Set(step.level)
		n.watchUnseen()
		if got := made(); got != step.want {
			t.Errorf("at %v it was made: %t, want %t", step.level, got, step.want)
		}
	}
	if n.unseen.live.Load() != 0 {
		t.Error("what was looked at counts still")
	}
}

// What nobody looked at is bounded, and the rest is counted.
func TestUnseenBound(t *testing.T) {
	var log leveled
	log.Set(slog.LevelDebug)
	n := &Node{
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: &log.LevelVar})),
	}
	n.watchUnseen()
	for range maxUnseen + 5 {
		n.unseen.live.Add(1)
		n.unseen.collected(&unseenNote{log: &n.unseen, call: "buy", text: "no"})
	}
	if got := len(n.unseen.lost); got != maxUnseen || !n.unseen.pending() {
		t.Errorf("%d are kept, want %d", got, maxUnseen)
	}
	_ = n.Close()
	if s := log.text.String(); !strings.Contains(s, "count=5") || !strings.Contains(s, "call=buy") {
		t.Errorf("the log has not how many more there were:\n%s", s)
	}
	if n.unseen.pending() {
		t.Error("something is left")
	}
}

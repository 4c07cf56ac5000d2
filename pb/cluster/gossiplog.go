package cluster

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// What strangers can make memberlist log is bounded: linesEach lines in each
// logWindow, each cut at longestLine bytes.
const (
	linesEach   = 20
	logWindow   = 10 * time.Second
	longestLine = 300
)

// gossipLog is the writer behind memberlist's logger: it hands lines on to slog
// at their level. memberlist writes each line with one call.
type gossipLog struct {
	logger *slog.Logger
	enter  func() bool // false: it is over, nothing is logged any more
	leave  func()

	mu      sync.Mutex
	begun   time.Time // of the window
	written int
	dropped int
}

// Write logs one line. It never fails.
func (g *gossipLog) Write(line []byte) (int, error) {
	level, text := gossipLevel(string(line))
	if !g.enter() {
		return len(line), nil
	}
	defer g.leave()
	ctx := context.Background()
	if !g.logger.Enabled(ctx, level) {
		return len(line), nil
	}
	dropped, ok := g.pass(time.Now())
	if dropped > 0 {
		g.logger.Warn("lines of the gossip were not logged", "count", dropped)
	}
	if ok {
		g.logger.Log(ctx, level, "gossip", "text", text)
	}
	return len(line), nil
}

// pass says whether another line may be logged, and how many were not in the
// window before.
func (g *gossipLog) pass(now time.Time) (dropped int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.begun) > logWindow {
		dropped = g.dropped
		g.begun, g.written, g.dropped = now, 0, 0
	}
	if g.written == linesEach {
		g.dropped++
		return dropped, false
	}
	g.written++
	return dropped, true
}

// gossipLevel takes memberlist's word for the level off a line. Its errors are
// mostly what others sent, so none is more than a warning.
func gossipLevel(line string) (slog.Level, string) {
	line = strings.TrimSpace(line)
	level := slog.LevelWarn
	if strings.HasPrefix(line, "[") {
		word, rest, _ := strings.Cut(line[1:], "] ")
		switch word {
		case "DEBUG", "INFO": // a member's coming and going is logged by the cluster
			level = slog.LevelDebug
		}
		line = rest
	}
	line = strings.TrimPrefix(line, "memberlist: ")
	if len(line) > longestLine {
		line = line[:longestLine]
	}
	return level, line
}

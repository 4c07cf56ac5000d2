package pb_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// The tests in the files rules_… hold the rules of meaning, each by what a
// program sees of it.

// bubble runs f in a bubble, with a caller's connection to root. Nothing may be
// left at the end.
func bubble(t *testing.T, root any, f func(t *testing.T, c *pb.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		pbtest.NoLeaks(t)
		f(t, pbtest.Connect(t, root).Conn())
	})
}

// logged is what a node logs.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// line gives the first line with the word.
func (l *logged) line(word string) string {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, word) {
			return line
		}
	}
	return ""
}

// silent is a logger for what a test provokes on purpose.
func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

// hand is an object of the caller's that holds up its callers until the test lets them go.
type hand struct {
	pb.Referenceable
	open chan struct{}
}

func newHand() *hand { return &hand{open: make(chan struct{})} }

func (h *hand) RemoteHold(ctx context.Context) error {
	select {
	case <-h.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

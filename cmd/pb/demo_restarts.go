package main

import (
	"context"
	"log/slog"
	"sync"
)

// restarts is a slog.Handler for the monitor: of its comings and goings it passes
// on one record for each part that was started again, with the reason, and
// everything that is worse. Any number of goroutines may use it.
type restarts struct {
	slog.Handler

	mu   *sync.Mutex
	ends map[string]string // of parts that do not run now: how they ended
}

func newRestarts(next slog.Handler) *restarts {
	return &restarts{Handler: next, mu: new(sync.Mutex), ends: make(map[string]string)}
}

// Handle knows "part ended" with part and how, and "part started" with part and pid.
func (h *restarts) Handle(ctx context.Context, r slog.Record) error {
	if r.Level > slog.LevelInfo {
		return h.Handler.Handle(ctx, r)
	}
	attrs := make(map[string]slog.Value)
	r.Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value
		return true
	})
	part := attrs["part"].String()
	h.mu.Lock()
	how, ended := h.ends[part]
	switch r.Message {
	case "part ended":
		h.ends[part] = attrs["how"].String()
	case "part started":
		delete(h.ends, part)
	}
	h.mu.Unlock()
	if !ended || r.Message != "part started" {
		return nil
	}
	again := slog.NewRecord(r.Time, r.Level, "part started again", r.PC)
	again.AddAttrs(slog.String("part", part), slog.String("ended", how),
		slog.Attr{Key: "pid", Value: attrs["pid"]})
	return h.Handler.Handle(ctx, again)
}

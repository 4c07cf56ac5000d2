//go:build !linux

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/urfave/cli/v3"

	"perspective/pb/distrib"
)

func partCommands() []*cli.Command { return nil }

func quietLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}

func (s *show) split(context.Context) error {
	return fmt.Errorf("pb: demo: %w; see --unsplit", distrib.ErrUnsupported)
}

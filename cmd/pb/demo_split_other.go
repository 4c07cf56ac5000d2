//go:build !linux

package main

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"perspective/pb/distrib"
)

func claim(string) (*os.File, error) { return nil, nil }

func sweep(string) {}

func partCommands() []*cli.Command { return nil }

func (s *show) split(context.Context) error {
	return fmt.Errorf("pb: demo: %w; see --unsplit", distrib.ErrUnsupported)
}

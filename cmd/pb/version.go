package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v3"
)

const versionHelp = `Prints the version of pb, the revision it was built from if that is known, and
the Go that built it.`

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "print the version",
		Description: versionHelp,
		Action:      version,
	}
}

func version(_ context.Context, c *cli.Command) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	name, revision := "(devel)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			name = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " " + s.Value
			}
		}
	}
	_, err := fmt.Fprintf(c.Root().Writer, "pb %s%s %s %s/%s\n", name, revision, runtime.Version(),
		runtime.GOOS, runtime.GOARCH)
	return err
}

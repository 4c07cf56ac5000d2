package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"perspective/pb/web"
)

const webCheckHelp = `Tells all that is wrong with a site's file and with the machine it would run
on: a line FILE:LINE: problem each, on standard error, and exit code 2. What is
more open than the file says is a warning: FILE:LINE: warning: …, and changes no
exit code. Run it as whoever runs the site.`

func webCheckCommand() *cli.Command {
	return &cli.Command{
		Name:         "check",
		Usage:        "tell what is wrong with a site's file, and with this machine",
		ArgsUsage:    "FILE",
		Description:  webCheckHelp,
		OnUsageError: onUsageError,
		Action:       webCheck,
	}
}

func webCheck(ctx context.Context, c *cli.Command) error {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	config, err := web.Load(args[0])
	problems, inFile := errors.AsType[web.Problems](err)
	switch {
	case err != nil && !inFile:
		return &exitError{exitUsage, err}
	case err == nil:
		problems = web.Check(ctx, config)
	}
	for _, p := range problems {
		_, _ = fmt.Fprintln(c.Root().ErrWriter, printable(p.Error()))
	}
	if problems.Err() != nil {
		return &exitError{exitUsage, nil} // all has been said
	}
	_, err = fmt.Fprintf(c.Root().Writer, "%s: ok, %d mounts\n", printable(args[0]),
		len(config.Mounts))
	return err
}

package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"
)

const lsHelp = `Prints what may be called on the peer's root object, or with --user on the
avatar of that user: one method a line, as Name(types) result, sorted by name.

` + dialHelp

func lsCommand() *cli.Command {
	return &cli.Command{
		Name:        "ls",
		Usage:       "list the methods of a remote object",
		ArgsUsage:   "URL",
		Description: lsHelp,
		Flags:       dialFlags(),
		Action:      ls,
	}
}

func ls(ctx context.Context, c *cli.Command) error {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	s, ctx, cancel, err := meet(ctx, c, args[0])
	if err != nil {
		return err
	}
	defer cancel()
	defer s.close()
	before := s.sent()
	methods, err := s.object.Methods(ctx)
	if err != nil {
		return s.asked(err, before)
	}
	for _, m := range methods {
		if _, err := fmt.Fprintln(c.Root().Writer, printable(m.String())); err != nil {
			return err
		}
	}
	return nil
}

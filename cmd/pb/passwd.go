package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"perspective/cred"
)

//nolint:gosec // it holds no password
const passwdHelp = `Writes USER's line, user:hash, into a password file for cred.PasswordFile, in
place of an older one. The file is made, mode 0600, if it is missing. The hash is
argon2id in the PHC form.

The password is typed twice on the terminal, or is the first line of
--password-file or of standard input. It is never an argument.`

func passwdCommand() *cli.Command {
	return &cli.Command{
		Name:        "passwd",
		Usage:       "set a user's password in a password file",
		ArgsUsage:   "FILE USER",
		Description: passwdHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "password-file",
				Usage: "read the password from the first line of `FILE`"},
		},
		Action: passwd,
	}
}

func passwd(ctx context.Context, c *cli.Command) error {
	args, err := arguments(c, 2, 2)
	if err != nil {
		return err
	}
	password, err := readPassword(ctx, c, true)
	if err != nil {
		return err
	}
	phc, err := cred.Hash(password, nil)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	err = cred.WriteEntry(args[0], args[1], phc)
	if _, inFile := errors.AsType[*cred.FileError](err); errors.Is(err, cred.ErrBadUsername) &&
		!inFile {
		return &exitError{exitUsage, err}
	}
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(c.Root().ErrWriter, "pb: %s has a new password in %s\n", printable(args[1]),
		printable(args[0]))
	return nil
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v3"
	"golang.org/x/term"

	"perspective/cred"
)

// maxPasswordLine is more than any password may have.
const maxPasswordLine = 64 << 10

// readPassword takes a password from --password-file, from standard input, or
// from the terminal, where a new one is typed twice.
func readPassword(ctx context.Context, c *cli.Command, isNew bool) (cred.Password, error) {
	if path := c.String("password-file"); path != "" {
		f, err := os.Open(path)
		if err != nil {
			return "", &exitError{exitUsage, fmt.Errorf("pb: password file: %w", err)}
		}
		defer f.Close() //nolint:errcheck // only read
		return firstLine(f)
	}
	in := c.Root().Reader
	f, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return firstLine(in)
	}
	password, err := typed(ctx, c, f, "Password: ")
	if err != nil || !isNew {
		return password, err
	}
	again, err := typed(ctx, c, f, "Once more: ")
	if err != nil {
		return "", err
	}
	if again != password {
		return "", usage("the two passwords differ")
	}
	return password, nil
}

func firstLine(r io.Reader) (cred.Password, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxPasswordLine)).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", &exitError{exitUsage, fmt.Errorf("pb: read password: %w", err)}
	}
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	if len(line) == 0 {
		return "", usage("the password is empty: its first line counts")
	}
	return cred.Password(line), nil
}

// typed asks on the terminal, which shows nothing of what is typed. When ctx
// ends it puts the terminal right again.
func typed(
	ctx context.Context, c *cli.Command, terminal *os.File, prompt string,
) (cred.Password, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("pb: terminal: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		_ = term.Restore(fd, before)
		os.Exit(exitNotSent) // reading from a terminal cannot be called off
	})
	defer stop()
	stderr := c.Root().ErrWriter
	_, _ = fmt.Fprint(stderr, prompt)
	password, err := term.ReadPassword(fd)
	_, _ = fmt.Fprintln(stderr)
	if err != nil {
		return "", fmt.Errorf("pb: terminal: %w", err)
	}
	if len(password) == 0 {
		return "", usage("the password is empty")
	}
	return cred.Password(password), nil
}

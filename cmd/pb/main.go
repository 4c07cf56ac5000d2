// Pb talks to objects over the Perspective broker from a shell, and shows a web
// site split across processes with `pb demo`.
//
//	pb call pb+tcp://127.0.0.1:8787 Post ann "hello"
//
// Results stand on standard output, one line of JSON each; everything else goes
// to standard error. `pb help` lists the commands and the exit codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v3"

	"perspective/internal/prefix"
	"perspective/pb/distrib"
)

const rootHelp = `Results stand on standard output, everything else on standard error.

Exit codes:
   0   done
   1   the method answered with an error; or the command failed by itself
   2   the command line is wrong
   3   the call was not sent: nobody there, or what was given cannot cross
   4   refused: by the login, or before the method began
   5   the connection or the time ended after sending: it may have happened
   6   overloaded: nothing was done, try again later
   70  a mistake in this program`

func main() {
	distrib.RunChild() // the demo's parts are this program started again
	os.Exit(guarded(os.Stderr, func() int {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
	}))
}

// guarded runs f and gives its exit code, that of a bug if it panics.
func guarded(stderr io.Writer, f func() int) (code int) {
	defer func() {
		if r := recover(); r != nil {
			_, _ = fmt.Fprintf(stderr, "pb: this is a mistake in pb: %v\n%s", r, debug.Stack())
			code = exitBug
		}
	}()
	return f()
}

// run is the program. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	err := newCommand(stdin, stdout, stderr).Run(ctx, args)
	if text := explain(err); text != "" {
		_, _ = fmt.Fprintln(stderr, printable(prefix.Once(text)))
	}
	return codeOf(err)
}

func newCommand(stdin io.Reader, stdout, stderr io.Writer) *cli.Command {
	root := &cli.Command{
		Name:            "pb",
		Usage:           "call remote objects; split a web site across processes",
		Description:     rootHelp,
		HideHelpCommand: true, // it would take the word "help" from every argument
		Reader:          stdin,
		Writer:          stdout,
		ErrWriter:       stderr,
		Commands: append([]*cli.Command{
			callCommand(), lsCommand(), pingCommand(), passwdCommand(), idCommand(), demoCommand(),
			genCommand(), webCommand(), webPartCommand(), versionCommand(),
		}, partCommands()...),
		Action:         rootAction,
		OnUsageError:   onUsageError,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // run maps errors to codes
	}
	for _, c := range root.Commands {
		c.OnUsageError = onUsageError
	}
	return root
}

func rootAction(ctx context.Context, c *cli.Command) error {
	switch name := c.Args().First(); {
	case name == "help" && c.Args().Len() < 2:
		return cli.ShowRootCommandHelp(c)
	case name == "help":
		if sub := c.Command(c.Args().Get(1)); sub != nil {
			return sub.Run(ctx, []string{sub.Name, "--help"})
		}
		return usage("there is no command %q; pb help lists them", c.Args().Get(1))
	case name == "":
		return usage("name a command; pb help lists them")
	default:
		return usage("there is no command %q; pb help lists them", name)
	}
}

func onUsageError(_ context.Context, c *cli.Command, err error, _ bool) error {
	return &exitError{exitUsage, fmt.Errorf("pb: %s: %w; see pb help %s", c.Name, err, c.Name)}
}

// arguments gives the arguments of c, which has at least least and at most most of them.
func arguments(c *cli.Command, least, most int) ([]string, error) {
	args := c.Args().Slice()
	if most == 0 && len(args) > 0 {
		return nil, usage("%s takes no argument, got %q; see pb help %s", c.Name, args[0], c.Name)
	}
	if len(args) < least || most >= 0 && len(args) > most {
		return nil, usage("usage: pb %s %s", c.Name, c.ArgsUsage)
	}
	return args, nil
}

// explain is what the person in front of the shell is told, if anything.
func explain(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*exitError](err); ok && e.err == nil {
		return ""
	}
	return err.Error()
}

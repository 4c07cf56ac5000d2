package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"perspective/pb"
)

const callHelp = `Calls METHOD and prints the result as one line of JSON.

An ARG is JSON if it parses as JSON, else a string: 5 is a number, hello and
'"5"' are strings, null is nothing. Options stand before METHOD; what follows it
is an argument even if it begins with a minus.

In the result bytes are base64, times are RFC 3339, and a remote object is its
number. A value of a type that its program registered by a name has no meaning
here and is an error, though the method has run.

` + dialHelp

func callCommand() *cli.Command {
	stop := 2
	return &cli.Command{
		Name:         "call",
		Usage:        "call a method of a remote object",
		ArgsUsage:    "URL METHOD [ARG…]",
		Description:  callHelp,
		Flags:        dialFlags(),
		StopOnNthArg: &stop,
		Action:       call,
	}
}

func call(ctx context.Context, c *cli.Command) error {
	args, err := arguments(c, 2, -1)
	if err != nil {
		return err
	}
	for _, late := range args[2:] {
		if strings.HasPrefix(late, "--") && isFlag(c, late) {
			_, _ = fmt.Fprintf(c.Root().ErrWriter,
				"pb: note: %s is an argument here; options stand before the method\n",
				printable(late))
		}
	}
	s, ctx, cancel, err := meet(ctx, c, args[0])
	if err != nil {
		return err
	}
	defer cancel()
	defer s.close()
	values := make([]any, len(args)-2)
	for i, arg := range args[2:] {
		values[i] = parseArg(arg)
	}
	before := s.sent()
	result, err := pb.Do[any](ctx, s.object, args[1], values...)
	if err != nil {
		return s.called(err, before)
	}
	line, err := resultLine(result)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.Root().Writer, line)
	return err
}

// isFlag reports whether a word would be an option of c in another place.
func isFlag(c *cli.Command, word string) bool {
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	for _, f := range c.Flags {
		if slices.Contains(f.Names(), name) {
			return true
		}
	}
	return false
}

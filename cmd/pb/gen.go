package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v3"
)

const genHelp = `Writes Go code for the objects of a type: adaptors, with which peers' calls to
their methods run without reflection, and a client, with which a program calls
them by their own types. For a type Board the client is a BoardClient, made by
NewBoardClient. It has each method of Board twice: Post waits for the answer,
PostLater gives a Deferred.

The type is a struct that embeds pb.Referenceable, pb.Viewable or pb.Avatar, or
an interface by which objects are lent with pb.AsReferenceable. DIR is the
folder of its package, the current one by default, where the file is written
too. The command is meant for go generate. Once in a module

   go get -tool perspective/cmd/pb

and in a line beside the type

   //go:generate go tool pb gen -type Board

Run go generate again when a method has changed. The compiler tells when one
is gone or has other types than the file, but not when one has come.

It reads the source and needs the go command, for the types of other packages.`

func genCommand() *cli.Command {
	return &cli.Command{
		Name:        "gen",
		Usage:       "write adaptors and a typed client for a Go type",
		ArgsUsage:   "[DIR]",
		Description: genHelp,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{
				Name:     "type",
				Usage:    "the `TYPE`; several, with commas between, come into one file",
				Required: true,
			},
			&cli.StringFlag{
				Name: "out",
				Usage: "write to `FILE` in the package's folder; default: the first type's name " +
					"and _pb.go",
			},
		},
		Action: gen,
	}
}

func gen(ctx context.Context, c *cli.Command) error {
	args, err := arguments(c, 0, 1)
	if err != nil {
		return err
	}
	dir := "."
	if len(args) > 0 {
		dir = args[0]
	}
	names := c.StringSlice("type")
	out := c.String("out")
	if out == "" {
		out = strings.ToLower(names[0]) + "_pb.go"
	}
	if filepath.Base(out) != out || filepath.Ext(out) != ".go" {
		return usage("--out %q is no name of a Go file in the package's folder", out)
	}
	source, err := genSource(ctx, dir, names, out)
	if err != nil {
		return err
	}
	//nolint:gosec // every user may read source
	if err := os.WriteFile(filepath.Join(dir, out), source, 0o644); err != nil {
		return fmt.Errorf("pb: gen: %w", err)
	}
	return nil
}

// genSource gives the text of the file out in dir for the named types.
func genSource(ctx context.Context, dir string, names []string, out string) ([]byte, error) {
	p, err := loadPackage(ctx, dir, out)
	if err != nil {
		return nil, fmt.Errorf("pb: gen: %w", err)
	}
	var found []*genType
	for _, name := range names {
		t, err := p.find(name)
		if err != nil {
			return nil, fmt.Errorf("pb: gen: type %s: %w", name, err)
		}
		found = append(found, t)
	}
	return writeSource(p.types, found)
}

package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v3"
)

const demoHelp = `Serves a web site from several processes, each with its own user or namespaces
and only the rights it needs: a front that owns the port, a static site, and a
message board with a journal on disk. It prints who they are and what they may
do, attacks itself from inside the board, and then serves until it is interrupted.

   pb call pb+tcp://127.0.0.1:8787 Post ann "hello"

shows up at http://127.0.0.1:8080/board/. As root the parts get user ids of their
own; an ordinary user's get namespaces; where the kernel allows neither, it
says NOT SEPARATED BY THE KERNEL.`

func demoCommand() *cli.Command {
	return &cli.Command{
		Name:        "demo",
		Usage:       "serve a web site split across processes",
		Description: demoHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "http", Usage: "serve the web site at `ADDR`; port 0 is any free one", Value: "127.0.0.1:8080"},
			&cli.StringFlag{Name: "pb", Usage: "serve the board object at `URL`; port 0 is any free one", Value: "pb+tcp://127.0.0.1:8787"},
			&cli.StringFlag{Name: "root", Usage: "serve the files in `DIR` instead of the documentation; others must be able to read them"},
			&cli.BoolFlag{Name: "once", Usage: "check everything under load with the board killed again and again, then end"},
			&cli.BoolFlag{Name: "unsplit", Usage: "run the same handlers in one process, for comparison"},
		},
		Action: demo,
	}
}

func demo(context.Context, *cli.Command) error { return errors.New("pb: the demo is not there yet") }

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/urfave/cli/v3"

	"perspective/pb/web"
)

// webPartName is the command that a part of a site is started as. It is for the monitor alone.
const webPartName = "web-part"

const webHelp = `FILE describes the site: which parts of the URL space there are, what
serves each of them and with which rights. docs/config.md has all of it.

run serves the site; the other commands, but for check, ask one that runs,
over its control socket: that of the file's key admin, or --admin PATH.`

func webCommand() *cli.Command {
	return &cli.Command{
		Name:            "web",
		Usage:           "run a web site, split across processes, from its file",
		Description:     webHelp,
		HideHelpCommand: true,
		OnUsageError:    onUsageError,
		Action: func(_ context.Context, c *cli.Command) error {
			if name := c.Args().First(); name != "" {
				return usage("web: there is no command %q; pb help web lists them", name)
			}
			return usage("web: name a command; pb help web lists them")
		},
		Commands: []*cli.Command{
			webSub("run", "FILE",
				"serve the site until SIGTERM; prints ready when every mount answers", webRun),
			webCheckCommand(),
			webAsk("status", "", "tell what runs", webStatus, jsonFlag()),
			webAsk("why", "URL", "tell where a URL leads, and why", webWhy, jsonFlag()),
			webAsk("reload", "", "read the file again, at once or not at all", webTell(
				func(ctx context.Context, site *web.Client, _ string) error {
					return site.Reload(ctx)
				})),
			webAsk("restart", "[MOUNT]",
				"start the parts of a mount again without losing a request; without MOUNT all",
				webTell(func(ctx context.Context, site *web.Client, mount string) error {
					return site.Restart(ctx, mount)
				})),
			webAsk("drain", "", "end the site: let what is under way end", webTell(
				func(ctx context.Context, site *web.Client, _ string) error {
					return site.Drain(ctx)
				})),
		},
	}
}

func webSub(name, args, what string, action cli.ActionFunc, flags ...cli.Flag) *cli.Command {
	return &cli.Command{Name: name, Usage: what, ArgsUsage: args, Action: action, Flags: flags,
		OnUsageError: onUsageError}
}

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print one JSON object"} }

// webAsk is a command that asks a site that runs.
func webAsk(
	name, args, what string, ask func(context.Context, *cli.Command, *web.Client, string) error,
	flags ...cli.Flag,
) *cli.Command {
	flags = append(flags,
		&cli.StringFlag{Name: "admin", Usage: "the site's control socket is at `PATH`"},
		&cli.StringFlag{Name: "site", Usage: "the site's file is `FILE`", Value: "site.toml"},
		&cli.DurationFlag{Name: "timeout", Usage: "give up after `TIME`; 0: never",
			Value: time.Minute})
	most := 1
	if args == "" {
		most = 0
	}
	least := most
	if args != "" && args[0] == '[' {
		least = 0
	}
	return webSub(name, args, what, func(ctx context.Context, c *cli.Command) error {
		given, err := arguments(c, least, most)
		if err != nil {
			return err
		}
		path := c.String("admin")
		if path == "" {
			config, err := loadSite(c.String("site"))
			if err != nil {
				return err
			}
			if path = config.Admin; path == "" {
				return usage("%s has no key admin; name the control socket with --admin PATH",
					c.String("site"))
			}
		}
		ctx, cancel := limited(ctx, c)
		defer cancel()
		site, err := web.Dial(ctx, path)
		if err != nil {
			return notSent(err)
		}
		defer site.Close()
		argument := ""
		if len(given) > 0 {
			argument = given[0]
		}
		return ask(ctx, c, site, argument)
	}, flags...)
}

// webTell is what a command does that prints nothing.
func webTell(
	tell func(context.Context, *web.Client, string) error,
) func(context.Context, *cli.Command, *web.Client, string) error {
	return func(ctx context.Context, _ *cli.Command, site *web.Client, argument string) error {
		return tell(ctx, site, argument)
	}
}

func webStatus(ctx context.Context, c *cli.Command, site *web.Client, _ string) error {
	status, err := site.Status(ctx)
	if err != nil {
		return err
	}
	return printAs(c, status)
}

func webWhy(ctx context.Context, c *cli.Command, site *web.Client, url string) error {
	why, err := site.Why(ctx, url)
	if err != nil {
		return err
	}
	return printAs(c, why)
}

// printAs prints a value as JSON where --json says so, else for people.
func printAs(c *cli.Command, v interface{ Print(io.Writer) error }) error {
	if !c.Bool("json") {
		return v.Print(c.Root().Writer)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Root().Writer, "%s\n", text)
	return err
}

func webPartCommand() *cli.Command {
	return &cli.Command{Name: webPartName, Hidden: true,
		Action: func(ctx context.Context, c *cli.Command) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			return web.RunPart(ctx, args[0])
		}}
}

// loadSite reads a site's file, all of whose problems are a mistake of the command line's.
func loadSite(path string) (*web.Config, error) {
	config, err := web.Load(path)
	if problems, ok := errors.AsType[web.Problems](err); ok {
		return nil, &exitError{exitUsage, problems}
	}
	return config, err
}

func webRun(ctx context.Context, c *cli.Command) error {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	config, err := loadSite(args[0])
	if err != nil {
		return err
	}
	root := c.Root()
	return web.Run(ctx, config, web.Options{
		Part:   webPartName,
		Ready:  func() { _, _ = fmt.Fprintln(root.Writer, "ready") },
		Output: root.ErrWriter,
		Logger: slog.New(slog.NewTextHandler(root.ErrWriter, nil)),
	})
}

package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/urfave/cli/v3"

	"perspective/pb"
	"perspective/pb/distrib"
)

// partName is the command that a part of the demo is started as. It is for the
// monitor alone.
const partName = "demo-part"

func partCommands() []*cli.Command {
	part := func(name string, run func(context.Context, *distrib.Handover, string) error) *cli.Command {
		return &cli.Command{Name: name, Action: func(ctx context.Context, c *cli.Command) error {
			signal.Ignore(os.Interrupt) // a terminal sends it to all; the monitor says when to end
			slog.SetDefault(quietLogger())
			h, err := distrib.Inherited()
			if err != nil {
				return err
			}
			return run(ctx, h, c.Args().First())
		}}
	}
	return []*cli.Command{{Name: partName, Hidden: true, Commands: []*cli.Command{
		part("front", runFront), part("site", runSite), part("board", runBoard),
	}}}
}

// quietLogger tells what went wrong, on standard error.
func quietLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}

// drain is how long the front lets requests end.
const drain = 3 * time.Second

// runFront serves the web site until ctx ends.
func runFront(ctx context.Context, h *distrib.Handover, keyFile string) error {
	if _, err := pb.LoadKey(keyFile); err != nil {
		return err
	}
	ln, err := h.Listener("http")
	if err != nil {
		return err
	}
	if err := h.Confine(); err != nil {
		return err
	}
	site := &distrib.Site{Logger: slog.Default()}
	site.Handle("/", distrib.Route{Back: "site"})
	site.Handle(boardPath, distrib.Route{Back: "board"})
	server := newServer(site)
	following, unfollow := context.WithCancel(ctx)
	defer unfollow()
	failed := make(chan error, 2)
	go func() { failed <- site.Follow(following, h) }() // ends with following
	go func() { failed <- server.Serve(ln) }()          // ends with Shutdown
	if err := h.Ready(); err != nil {
		return err
	}
	select {
	case err = <-failed:
	case <-ctx.Done():
		unfollow()
		err = <-failed
	}
	ending, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	late := server.Shutdown(ending)
	unfollow()
	if end := <-failed; err == nil {
		err = end
	}
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, context.Canceled) {
		err = nil
	}
	if late != nil {
		_ = server.Close() // who is not done by now is cut off
	}
	return errors.Join(err, site.Close())
}

// runSite serves the files of a folder until ctx ends.
func runSite(ctx context.Context, _ *distrib.Handover, folder string) error {
	files, err := newStatic(folder)
	if err != nil {
		return err
	}
	return distrib.Serve(ctx, files)
}

// runBoard serves the board until ctx ends.
func runBoard(ctx context.Context, h *distrib.Handover, journal string) error {
	file, err := h.File("orders")
	if err != nil {
		return err
	}
	first, err := (&orders{file}).first()
	if err != nil {
		return err
	}
	if first.Do == doRehearse {
		return rehearse(ctx, h, &orders{file})
	}
	b, err := newBoard(journal)
	if err != nil {
		return err
	}
	defer b.close()
	ln, err := h.Listener("pb")
	if err != nil {
		return err
	}
	node := &pb.Node{Root: b, Logger: slog.Default()}
	defer node.Close() //nolint:errcheck // it gives none
	served := make(chan error, 1)
	go func() { served <- node.Serve(ln) }() // ends with the node
	pages := newBoardSite(b)
	if first.Do == doOverdo {
		pages = alsoOverreach(pages)
	}
	err = distrib.Serve(ctx, pages)
	ending, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	_ = node.Shutdown(ending) // what is late is cut off
	if end := <-served; !errors.Is(end, pb.ErrNodeClosed) {
		err = errors.Join(err, end)
	}
	return err
}

func alsoOverreach(pages http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", pages)
	mux.HandleFunc("GET "+overreachPath, overreach)
	return mux
}

package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"perspective/pb"
	"perspective/pb/distrib"
	"perspective/pb/web"
)

// partName is the command that a part of the demo is started as. It is for the
// monitor alone.
const partName = "demo-part"

func partCommands() []*cli.Command {
	part := func(
		name string, run func(context.Context, *distrib.Handover, string) error,
	) *cli.Command {
		return &cli.Command{Name: name, Action: func(ctx context.Context, c *cli.Command) error {
			// a terminal sends them to all; the monitor says when to end
			signal.Ignore(os.Interrupt, syscall.SIGHUP)
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

// drain is how long a part lets what is under way end.
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
	limits := distrib.Limits{HeaderTimeout: answerLimit}
	site.Handle("/", distrib.Route{Back: "site", Limits: limits})
	site.Handle(boardPath, distrib.Route{Back: "board", Limits: limits})
	server := site.Server()
	server.ReadTimeout, server.WriteTimeout = readLimit, writeLimit // nothing here takes longer

	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var running sync.WaitGroup
	running.Go(func() { end(site.Follow(ctx, h)) })            // ends with ctx
	running.Go(func() { end(server.Serve(site.Clients(ln))) }) // ends with Shutdown
	if err := h.Ready(); err != nil {
		return err
	}
	<-ctx.Done()
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if server.Shutdown(draining) != nil {
		_ = server.Close() // a client that is not done by now is cut off
	}
	_ = site.Close() // it gives none
	running.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// runSite serves the files of a folder until ctx ends.
func runSite(ctx context.Context, _ *distrib.Handover, folder string) error {
	files, err := web.NewFileServer(folder, true)
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
	pages := newBoardSite(b)
	if first.Do == doOverdo {
		pages = alsoOverreach(pages)
	}
	if err := h.Confine(); err != nil {
		return err
	}
	node := &pb.Node{Root: b, Logger: slog.Default()}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var running sync.WaitGroup
	running.Go(func() { end(node.Serve(ln)) }) //nolint:contextcheck // ends with the node
	err = distrib.Serve(ctx, pages)
	cause := context.Cause(ctx)
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	_ = node.Shutdown(draining) // what is late is cut off
	running.Wait()
	if err == nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

func alsoOverreach(pages http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", pages)
	mux.HandleFunc("GET "+overreachPath, overreach)
	return mux
}

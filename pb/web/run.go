package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"perspective/internal/prefix"
	"perspective/pb/distrib"
)

// Options are what Run needs beside the site's file. The zero value but for Part is right for a
// program of one's own.
type Options struct {
	// Part is the command that this program is started as again, with one argument that goes to
	// RunPart.
	Part string
	// Ready is called once, when every mount that starts with the site answers; nil: nobody is
	// told.
	Ready func()
	// Output gets what the parts print; nil: os.Stderr.
	Output io.Writer
	// Logger gets what an administrator should know; nil: slog.Default.
	Logger *slog.Logger
}

// Run serves the site until ctx ends; then it lets the requests under way end and returns nil. The
// process becomes the site's monitor: it reads nothing from any network. Its main must call
// distrib.RunChild first, and RunPart for Options.Part.
func Run(ctx context.Context, config *Config, options Options) (err error) {
	s := &site{config: config, options: options, log: options.Logger,
		turn: make(chan struct{}, 1)}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.separation = distrib.Probe(ctx)
	if missing := s.separation.Missing(); len(missing) > 0 && !config.Degrade {
		return fmt.Errorf("web: this system cannot hold the parts of the site apart: %v; set "+
			"degrade = true to run all the same", missing)
	}
	warnOfSeparation(s.log, s.separation, config)
	if err = s.routing.Configure(routesOf(config)); err != nil {
		return prefix.Errorf("web: %w", err)
	}
	defer func() { err = errors.Join(err, s.routing.Close()) }()
	if s.plan, err = newPlan(ctx, config, options.Part, s.log); err != nil {
		return err
	}
	defer func() { s.plan.close() }()
	return s.run(ctx)
}

// warnOfSeparation says what of the site's parts is not held apart.
func warnOfSeparation(log *slog.Logger, sep distrib.Separation, config *Config) {
	switch sep.Mode {
	case distrib.ByUser:
	case distrib.ByNamespace:
		log.Warn("the site's parts are not separated by users: all run as this one, and " +
			"namespaces alone hold them apart; start the site as root to give each its own user")
	default:
		log.Warn("nothing separates the site's parts: each can do all that this user can",
			"why", sep.Reason)
	}
	if missing := sep.Missing(); len(missing) > 0 {
		log.Warn("the site runs degraded: this system lacks what its parts are to be held by",
			"missing", missing)
	}
	for i := range config.Mounts {
		if m := &config.Mounts[i]; m.Sandbox.None {
			log.Warn("a mount has no sandbox: its user alone holds it", "mount", m.Name)
		}
	}
}

// backoff is short beside the time that requests wait for a part, so that one that dies again and
// again costs nobody else's requests their wait.
var backoff = distrib.Backoff{Min: 50 * time.Millisecond, Max: 2 * time.Second,
	Stable: 2 * time.Second}

// A site is one that runs.
type site struct {
	config     *Config
	options    Options
	log        *slog.Logger
	separation distrib.Separation
	monitor    *distrib.Monitor
	end        func() // in order

	turn    chan struct{} // has what changes what runs
	routing distrib.Site  // knows where requests go, and serves none

	mu   sync.Mutex
	plan *plan
}

func (s *site) run(ctx context.Context) error {
	s.monitor = &distrib.Monitor{
		Front:      s.plan.front,
		Backs:      s.plan.backs,
		Separation: &s.separation,
		Grace:      drainTime + drainTime/2,
		Backoff:    backoff,
		Output:     s.options.Output,
		Logger:     s.log,
	}
	if s.monitor.Output == nil {
		s.monitor.Output = os.Stderr
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, reopenSignal) // else one that comes early would end it
	defer signal.Stop(signals)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s.end = func() { end(nil) }
	if s.config.Admin != "" {
		admin, err := openAdmin(ctx, s.config.Admin, s)
		if err != nil {
			return err
		}
		defer admin.close()
	}
	var running sync.WaitGroup
	if s.plan.tls != nil {
		running.Go(func() { s.plan.tls.watch(ctx) }) // ends with ctx
	}
	running.Go(func() { end(s.monitor.Run(ctx)) }) // ends with ctx, or where a part cannot be made
	err := s.monitor.WaitReady(ctx)
	if err == nil {
		if s.options.Ready != nil {
			s.options.Ready()
		}
		s.watch(ctx, signals)
	}
	end(nil)
	running.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

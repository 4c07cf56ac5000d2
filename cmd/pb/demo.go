package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"perspective/pb"
)

const demoHelp = `Serves a web site from several processes, each with its own user or namespaces
and only the rights it needs: a front that owns the port, a static site, and a
message board with a journal on disk. It prints who they are and what they may
do, attacks itself from inside the board, and then serves until it is interrupted.

   pb call pb+tcp://127.0.0.1:8787 Post ann "hello"

shows up at http://127.0.0.1:8080/board/, and what is written there comes back with

   pb call pb+tcp://127.0.0.1:8787 Read 10

As root the parts get user ids of their own, an ordinary user's parts get
namespaces, and where the kernel allows neither it says NOT SEPARATED BY THE
KERNEL. With --once it exits 0 only if every attack was refused and no message was
lost or doubled while the board's process was killed.`

// onceLimit is how long --once may take, but for the parts to end.
const onceLimit = 45 * time.Second

func demoCommand() *cli.Command {
	return &cli.Command{
		Name:        "demo",
		Usage:       "serve a web site split across processes",
		Description: demoHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name:  "http",
				Usage: "serve the web site at `ADDR`; port 0 is any free one",
				Value: "127.0.0.1:8080",
			},
			&cli.StringFlag{
				Name:  "pb",
				Usage: "serve the board object at `URL`; port 0 is any free one",
				Value: "pb+tcp://127.0.0.1:8787",
			},
			&cli.StringFlag{
				Name: "root",
				Usage: "serve the files in `DIR` instead of the documentation; others must be " +
					"able to read them",
			},
			&cli.BoolFlag{
				Name: "once",
				Usage: "check everything under load while the board is killed again and again, " +
					"then end",
			},
			&cli.BoolFlag{Name: "unsplit",
				Usage: "run the same handlers in one process, for comparison"},
		},
		Action: demo,
	}
}

// A show is one run of the demo, split or not.
type show struct {
	out, err io.Writer
	root     string // files to serve instead of the documentation; empty: none
	once     bool

	http     net.Listener // of the web site
	pb       net.Listener // of the board object
	httpAddr string       // host and port, as they are
	pbURL    string

	folder *folder
}

func demo(ctx context.Context, c *cli.Command) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	s := &show{out: c.Root().Writer, err: c.Root().ErrWriter, once: c.Bool("once")}
	if dir := c.String("root"); dir != "" {
		var err error
		if s.root, err = readableByOthers(dir); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	if err := s.listen(ctx, c.String("http"), c.String("pb")); err != nil {
		return err
	}
	defer s.close()
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		hungUp, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
		defer stop()
		ctx = hungUp
	}
	if s.once {
		limited, cancel := context.WithTimeoutCause(ctx, onceLimit,
			fmt.Errorf("pb: demo: not done after %v", onceLimit))
		defer cancel()
		ctx = limited
	}
	run := s.split
	if c.Bool("unsplit") {
		run = s.unsplit
	}
	err := run(ctx)
	if s.once && errors.Is(ctx.Err(), context.Canceled) {
		return errors.Join(errors.New("pb: demo: interrupted before everything was checked"),
			besides(err, context.Canceled))
	}
	if s.once && ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), besides(err, context.Cause(ctx), ctx.Err()))
	}
	if ctx.Err() != nil {
		return besides(err, context.Canceled) // told to end, maybe while it was still starting
	}
	return err
}

// besides is err without those of the errors joined in it that only say what is
// known.
func besides(err error, known ...error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var rest []error
		for _, e := range joined.Unwrap() {
			rest = append(rest, besides(e, known...))
		}
		return errors.Join(rest...)
	}
	for _, k := range known {
		if errors.Is(err, k) {
			return nil
		}
	}
	return err
}

// listen opens both ports, so that the parts need not be allowed to.
func (s *show) listen(ctx context.Context, httpAddr, pbURL string) (err error) {
	if err := checkAddress(httpAddr); err != nil {
		return usage("demo: wrong --http: %v", err)
	}
	if s.http, err = new(net.ListenConfig).Listen(ctx, "tcp", httpAddr); err != nil {
		return fmt.Errorf("pb: demo: cannot listen, choose another --http: %w", err)
	}
	s.httpAddr = s.http.Addr().String()
	a, err := pb.ParseURL(pbURL)
	if err == nil && a.Scheme != "pb+tcp" {
		err = fmt.Errorf("pb: %s: the board is served in plain, to this machine: want pb+tcp://",
			pbURL)
	}
	if err != nil {
		s.close()
		return usage("demo: wrong --pb: %v", err)
	}
	node := &pb.Node{}
	if s.pb, err = node.Listen(pbURL); err != nil {
		s.close()
		return fmt.Errorf("pb: demo: cannot listen, choose another --pb: %w", err)
	}
	s.pbURL = "pb+tcp://" + s.pb.Addr().String()
	return nil
}

// checkAddress tells a mistake on the command line from an address that is not to be had.
func checkAddress(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%w: want HOST:PORT", err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("address %s: want a port from 0 to 65535", addr)
	}
	return nil
}

// close ends what listen made.
func (s *show) close() {
	_ = s.http.Close()
	if s.pb != nil {
		_ = s.pb.Close()
	}
}

// ready prints the URLs once both listeners serve.
func (s *show) ready() error {
	_, err := fmt.Fprintf(s.out, "ready http://%s/ %s\n", s.httpAddr, s.pbURL)
	return err
}

// quietLogger tells what went wrong, on standard error.
func quietLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}

const (
	// answerLimit is how long a part may take to begin its answer. Twice that,
	// and the time that a request waits for a part that is away, stay below
	// writeLimit: what is late is told, not cut off.
	answerLimit = 20 * time.Second
	writeLimit  = time.Minute
	readLimit   = time.Minute // for a whole request
)

// newServer is the web server of the one process.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       readLimit,
		WriteTimeout:      writeLimit,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

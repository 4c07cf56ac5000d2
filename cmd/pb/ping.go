package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"
)

const pingHelp = `Measures how long a question to the peer and its answer take, and prints one
line for each and a summary. The peer's program is not asked, only its broker.

` + dialHelp

func pingCommand() *cli.Command {
	return &cli.Command{
		Name:        "ping",
		Usage:       "measure round trips to a peer",
		ArgsUsage:   "URL",
		Description: pingHelp,
		Flags: append(dialFlags(),
			&cli.IntFlag{
				Name:    "count",
				Aliases: []string{"c"},
				Usage:   "stop after `N` round trips; 0: when interrupted",
				Value:   4,
			},
			&cli.DurationFlag{
				Name:    "interval",
				Aliases: []string{"i"},
				Usage:   "begin one each `TIME`",
				Value:   time.Second,
			},
		),
		Action: ping,
	}
}

func ping(ctx context.Context, c *cli.Command) error {
	args, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	count, interval := c.Int("count"), c.Duration("interval")
	if count < 0 || interval < time.Millisecond {
		return usage("ping: -c wants 0 or more, -i at least 1ms")
	}
	s, _, cancel, err := meet(ctx, c, args[0])
	if err != nil {
		return err
	}
	defer cancel()
	defer s.close()
	out := c.Root().Writer
	var times summary
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for n := 1; ; n++ {
		took, err := roundTrip(ctx, c, s)
		if ctx.Err() != nil {
			break // interrupted, which is the way to end it
		}
		if err != nil {
			_, _ = fmt.Fprintln(out, &times)
			return &exitError{s.codeOfLost(), fmt.Errorf("pb: ping %d: %w", n, err)}
		}
		times.add(took)
		if _, err := fmt.Fprintf(out, "%s: ping %d in %s\n", printable(s.conn.String()), n,
			milliseconds(took)); err != nil {
			return err
		}
		if n == count {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	_, err = fmt.Fprintln(out, &times)
	return err
}

// roundTrip measures one. The time limit holds for each.
func roundTrip(ctx context.Context, c *cli.Command, s *session) (time.Duration, error) {
	ctx, cancel := limited(ctx, c)
	defer cancel()
	began := time.Now()
	err := s.conn.Sync(ctx)
	return time.Since(began), err
}

// A summary is of the round trips so far.
type summary struct {
	n                int
	least, most, all time.Duration
}

func (s *summary) add(d time.Duration) {
	if s.n == 0 || d < s.least {
		s.least = d
	}
	s.most = max(s.most, d)
	s.all += d
	s.n++
}

// String is the last line of a ping.
func (s *summary) String() string {
	if s.n == 0 {
		return "0 answered"
	}
	return fmt.Sprintf("%d answered, shortest %s, mean %s, longest %s",
		s.n, milliseconds(s.least), milliseconds(s.all/time.Duration(s.n)), milliseconds(s.most))
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.3f ms", d.Seconds()*1e3) }

package pb_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// A luckless object has methods that fail.
type luckless struct {
	pb.Referenceable
	pb.Concurrent
	inside func(context.Context)
}

func (*luckless) RemoteFail(context.Context, ...any) (int, error) {
	return 0, errors.New("no luck today")
}

func (*luckless) RemoteGive(context.Context) (int, error) { return 1, nil }

func (*luckless) RemoteOther(context.Context) (*luckless, error) {
	return nil, errors.New("no other here")
}

func (*luckless) RemoteHold(ctx context.Context) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func (l *luckless) RemoteInside(ctx context.Context) error {
	l.inside(ctx)
	return nil
}

// unseenLine is the line about a Deferred that nobody looked at.
const unseenLine = `msg="a Deferred failed and nobody looked at it"`

// toldOf gives the lines that a client logs of the Deferreds that begin leaves behind, but for one
// of toldOf's own, by which it knows that the collector has been there. The client's root calls
// begin, if inside.
func toldOf(
	t *testing.T, inside bool, begin func(ctx context.Context, c *pb.Conn),
) (lines []string) {
	t.Helper()
	var log logLines
	synctest.Test(t, func(t *testing.T) {
		logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		root := &luckless{inside: func(ctx context.Context) { begin(ctx, pb.ConnFrom(ctx)) }}
		c, peer := pbtest.Join(t, &pb.Node{Logger: logger, Root: root},
			&pb.Node{Logger: silent(), Root: &luckless{}})
		if inside {
			if _, err := pb.Do[any](t.Context(), peer.Root(), "inside"); err != nil {
				t.Error(err)
			}
		} else {
			begin(t.Context(), c)
		}
		synctest.Wait() // what fails has failed
		pb.Call[int](t.Context(), c.Root(), "mark")
		collect(t, func() bool { return strings.Contains(log.String(), "call=mark") })
	})
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, unseenLine) && !strings.Contains(line, "call=mark") {
			lines = append(lines, line)
		}
	}
	return lines
}

// collect has the collector and the nodes' sweeps run until done, and twice more.
func collect(t *testing.T, done func() bool) {
	t.Helper()
	for n, more := 0, 2; more > 0; n++ {
		if n == 500 {
			t.Fatal("the collector has not told of what is gone")
		}
		synctest.Wait()
		runtime.GC()
		runtime.Gosched()
		<-time.NewTimer(1100 * time.Millisecond).C // the next sweep
		if done() {
			more--
		}
	}
}

// A failure that nobody looked at is logged once, by the last Deferred of its chain.
func TestUnseenFailures(t *testing.T) {
	fail := func(ctx context.Context, c *pb.Conn) *pb.Deferred[int] {
		return pb.Call[int](ctx, c.Root(), "fail")
	}
	give := func(ctx context.Context, c *pb.Conn) *pb.Deferred[int] {
		return pb.Call[int](ctx, c.Root(), "give")
	}
	same := func(n int) (int, error) { return n, nil }
	worse := func(int) (int, error) { return 0, errors.New("it got worse") }
	tests := []struct {
		name  string
		begin func(ctx context.Context, c *pb.Conn)
		want  []string // each in a line of its own
	}{
		{"a call", func(ctx context.Context, c *pb.Conn) { fail(ctx, c) }, []string{"call=fail"}},
		{"no method", func(ctx context.Context, c *pb.Conn) { pb.Call[int](ctx, c.Root(), "none") },
			[]string{"call=none"}},
		{"not sent", func(ctx context.Context, c *pb.Conn) {
			pb.Call[int](ctx, c.Root(), "fail", make(chan int))
		}, []string{"chan int"}},
		{"a result of another type", func(ctx context.Context, c *pb.Conn) {
			pb.Call[string](ctx, c.Root(), "give")
		}, []string{"call=give"}},
		{"the connection ends", func(ctx context.Context, c *pb.Conn) {
			pb.Call[int](ctx, c.Root(), "hold")
			synctest.Wait()
			_ = c.Close()
		}, []string{"call=hold"}},
		{"the connection has ended", func(ctx context.Context, c *pb.Conn) {
			_ = c.Close()
			fail(ctx, c)
		}, []string{"call=fail"}},
		{"the ctx ends", func(ctx context.Context, c *pb.Conn) {
			ctx, cancel := context.WithCancel(ctx)
			pb.Call[int](ctx, c.Root(), "hold")
			cancel()
		}, []string{"call=hold"}},
		{"a timeout", func(ctx context.Context, c *pb.Conn) {
			pb.Call[int](ctx, c.Root(), "hold").AddTimeout(time.Second)
			<-time.NewTimer(2 * time.Second).C
		}, []string{"no result within 1s"}},
		{"a timeout of a chain", func(ctx context.Context, c *pb.Conn) {
			pb.Call[int](ctx, c.Root(), "hold").AddCallback(same).AddTimeout(time.Second)
			<-time.NewTimer(2 * time.Second).C
		}, []string{"no result within 1s"}},
		{"a chain", func(ctx context.Context, c *pb.Conn) {
			pb.Then(fail(ctx, c).AddCallback(same), func(int) (string, error) { return "", nil })
		}, []string{"call=fail"}},
		{"a chain that was made late", func(ctx context.Context, c *pb.Conn) {
			d := fail(ctx, c)
			<-d.Done()
			d.AddCallback(same)
		}, []string{"call=fail"}},
		{"a callback", func(ctx context.Context, c *pb.Conn) {
			give(ctx, c).AddCallback(same).AddCallback(worse)
		}, []string{"it got worse"}},
		{"a callback that panics", func(ctx context.Context, c *pb.Conn) {
			give(ctx, c).AddCallback(func(int) (int, error) { panic("boom") })
		}, []string{"boom"}},
		{"an errback that fails", func(ctx context.Context, c *pb.Conn) {
			fail(ctx,
				c).AddErrback(func(error) (int, error) { return 0, errors.New("nor tomorrow") })
		}, []string{"nor tomorrow"}},
		{"two branches", func(ctx context.Context, c *pb.Conn) {
			d := give(ctx, c)
			d.AddCallback(worse)
			d.AddCallback(func(int) (int, error) { return 0, errors.New("and worse") })
		}, []string{"it got worse", "and worse"}},
		{"Gather", func(ctx context.Context, c *pb.Conn) {
			pb.Gather(give(ctx, c), fail(ctx, c), fail(ctx, c))
		}, []string{"call=fail"}},
		{"First", func(ctx context.Context, c *pb.Conn) { pb.First(fail(ctx, c), fail(ctx, c)) },
			[]string{"no luck"}},
		{"an executor", func(ctx context.Context, c *pb.Conn) {
			fail(ctx, c).On(pb.ExecutorFunc(func(f func()) { f() })).AddCallback(same)
		}, []string{"call=fail"}},
		{"a broken promise", func(ctx context.Context, c *pb.Conn) {
			pb.Call[int](ctx, pb.Call[*pb.RemoteReference](ctx, c.Root(), "other"), "fail")
		}, []string{"call=fail"}},
		{"a promise that is broken already", func(ctx context.Context, c *pb.Conn) {
			d := pb.Call[*pb.RemoteReference](ctx, c.Root(), "other")
			<-d.Done()
			pb.Call[int](ctx, d, "fail")
		}, []string{"no other here"}},
		{"an argument", func(ctx context.Context, c *pb.Conn) {
			pb.Call[int](ctx, c.Root(), "give", pb.Then(fail(ctx, c), same))
		}, []string{"no luck"}},

		{"a success",
			func(ctx context.Context, c *pb.Conn) { give(ctx, c).AddCallback(same) }, nil},
		{"Wait", func(ctx context.Context, c *pb.Conn) { _, _ = fail(ctx, c).Wait(ctx) }, nil},
		{"Do", func(ctx context.Context, c *pb.Conn) {
			_, _ = pb.Do[int](ctx, c.Root(), "fail")
		}, nil},
		{"Do with a promise", func(ctx context.Context, c *pb.Conn) {
			_, _ = pb.Do[int](ctx, c.Root(), "fail", fail(ctx, c))
		}, nil},
		{"Do on a promise", func(ctx context.Context, c *pb.Conn) {
			_, _ = pb.Do[int](ctx, pb.Call[*pb.RemoteReference](ctx, c.Root(), "other"), "fail")
		}, nil},
		{"Send", func(ctx context.Context, c *pb.Conn) { _ = c.Root().Send(ctx, "fail") }, nil},
		{"Result", func(ctx context.Context, c *pb.Conn) {
			d := fail(ctx, c)
			<-d.Done()
			_, _, _ = d.Result()
		}, nil},
		{"AddErrback", func(ctx context.Context, c *pb.Conn) {
			fail(ctx, c).AddCallback(same).AddErrback(func(error) (int, error) { return 0, nil })
		}, nil},
		{"AddBoth", func(ctx context.Context, c *pb.Conn) {
			fail(ctx, c).AddBoth(func(n int, _ error) (int, error) { return n, nil })
		}, nil},
		{"List",
			func(ctx context.Context, c *pb.Conn) { pb.List(fail(ctx, c), give(ctx, c)) }, nil},
		{"First that finds one",
			func(ctx context.Context, c *pb.Conn) { pb.First(fail(ctx, c), give(ctx, c)) }, nil},
		{"the child alone is waited for", func(ctx context.Context, c *pb.Conn) {
			_, _ = fail(ctx, c).AddCallback(same).Wait(ctx)
		}, nil},
		{"Cancel", func(ctx context.Context, c *pb.Conn) {
			pb.Call[int](ctx, c.Root(), "hold").Cancel()
			pb.Call[int](ctx, c.Root(), "hold").AddCallback(same).AddCallback(same).Cancel()
		}, nil},
		{"by hand", func(context.Context, *pb.Conn) {
			new(pb.Deferred[int]).Errback(errors.New("by hand"))
		}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := toldOf(t, false, test.begin)
			// The collector may take what a stack still seems to hold for something that is in use.
			for tries := 1; len(got) < len(test.want) && tries < 20; tries++ {
				got = toldOf(t, false, test.begin)
			}
			unseenAre(t, got, test.want)
		})
	}
	t.Run("Go in a method", func(t *testing.T) {
		unseenAre(t, toldOf(t, true, func(ctx context.Context, _ *pb.Conn) {
			pb.Go(context.WithoutCancel(ctx),
				func(context.Context) (int, error) { return 0, errors.New("gone wrong") })
		}), []string{"gone wrong"})
	})
}

func unseenAre(t *testing.T, got, want []string) {
	t.Helper()
	lacks := func(w string) bool {
		return !slices.ContainsFunc(got,
			func(line string) bool { return strings.Contains(line, w) })
	}
	if len(got) != len(want) || slices.ContainsFunc(want, lacks) {
		t.Errorf("logged:\n%s\nwant lines with %q", strings.Join(got, ""), want)
	}
}

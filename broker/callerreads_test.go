package broker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"perspective/broker"
	"perspective/internal/pollpipe"
)

// alone asks the root as a caller does that waits for the answer and for nothing else.
func (q *question) alone(ctx context.Context, b *broker.Broker, method string) error {
	h := &broker.Header{Export: 1, Method: method, Flags: broker.FlagFinal, Call: &q.call}
	if err := b.Ask(ctx, h, q); err != nil {
		return err
	}
	b.ReadFor(ctx, &q.call)
	return nil
}

// callersRead calls until callers read the connection themselves.
func callersRead(t *testing.T, b *broker.Broker) {
	t.Helper()
	for before := b.Reader().Callers; b.Reader().Callers < before+3; {
		q := ask(1)
		if err := q.alone(t.Context(), b, "echo"); err != nil {
			t.Fatal(err)
		}
		if _, err := q.wait(t); err != nil {
			t.Fatal(err)
		}
	}
}

// onDescriptors runs f where callers may read: over sockets, and in bubbles over a pipe that is
// used as a socket is. f opens no byte streams, for yamux cannot run in bubbles.
func onDescriptors(t *testing.T, f func(t *testing.T, c, s net.Conn)) {
	onTheirSockets(t, f)
	bubble := func(f func(t *testing.T, c, s net.Conn)) func(t *testing.T) {
		return func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := pollpipe.New(64 << 10)
				f(t, c, s)
			})
		}
	}
	t.Run("polled pipe in a bubble", bubble(f))
	t.Run("tls over a polled pipe in a bubble", bubble(func(t *testing.T, c, s net.Conn) {
		tc, ts := shaken(t, broker.UnderTLS(c), broker.UnderTLS(s))
		f(t, tc, ts)
	}))
}

// onTheirSockets runs f over sockets, and TLS over one.
func onTheirSockets(t *testing.T, f func(t *testing.T, c, s net.Conn)) {
	t.Run("tcp", func(t *testing.T) {
		c, s := tcp(t)
		f(t, c, s)
	})
	t.Run("unix", func(t *testing.T) {
		if testing.Short() {
			t.Skip("read and written as tcp is")
		}
		c, s := sockets(t, "unix", filepath.Join(t.TempDir(), "s"))
		f(t, c, s)
	})
	t.Run("tls", func(t *testing.T) {
		c, s := overMemory(t)
		f(t, c, s)
	})
}

// TestCallersRead: what comes while callers read, and after they have stopped, is
// taken in as ever.
func TestCallersRead(t *testing.T) {
	onDescriptors(t, func(t *testing.T, c, s net.Conn) {
		both := broker.Config{Root: echo()}
		cb, sb := pair(t, c, s, both, both)
		for range 20 {
			callersRead(t, cb)
			q := ask("back")
			if v, err := q.to(t, sb, "echo").wait(t); v != "back" || err != nil {
				t.Fatalf("%v, %v", v, err)
			}
			callersRead(t, cb)
			if err := cb.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			callersRead(t, cb)
			if v, err := ask("there").to(t, cb, "echo").wait(t); v != "there" || err != nil {
				t.Fatalf("%v, %v", v, err)
			}
			if v, err := ask().to(t, cb, "fail").wait(t); !errors.Is(err, errTest) {
				t.Fatalf("%v, %v", v, err)
			}
		}
	})
}

// TestCallerReadsNoLonger: the end of its ctx ends a caller's read, and not the
// connection.
func TestCallerReadsNoLonger(t *testing.T) {
	onDescriptors(t, func(t *testing.T, c, s net.Conn) {
		g := newGate(true)
		g.m["echo"] = echo().m["echo"]
		cb, _ := pair(t, c, s, broker.Config{}, broker.Config{Root: g})
		for range 10 {
			callersRead(t, cb)
			ctx, cancel := context.WithCancel(t.Context())
			q := ask()
			var wg sync.WaitGroup
			wg.Go(func() {
				<-g.entered
				cancel()
			})
			if err := q.alone(ctx, cb, "hold"); err != nil {
				t.Fatal(err)
			}
			select {
			case <-q.done:
				t.Fatal("answered, though nobody let it")
			case <-ctx.Done():
			}
			wg.Wait()
			if v, err := ask(2).to(t, cb, "echo").wait(t); err != nil {
				t.Fatal(v, err)
			}
			g.open <- struct{}{}
			if v, err := q.wait(t); v != true || err != nil {
				t.Fatalf("%v, %v", v, err)
			}
		}
	})
}

// TestCallerReadsToTheEnd: the end of the connection ends a caller's read.
func TestCallerReadsToTheEnd(t *testing.T) {
	onDescriptors(t, func(t *testing.T, c, s net.Conn) {
		g := newGate(true)
		g.m["echo"] = echo().m["echo"]
		cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: g})
		callersRead(t, cb)
		var wg sync.WaitGroup
		wg.Go(func() {
			<-g.entered
			_ = sb.Close()
		})
		q := ask()
		if err := q.alone(t.Context(), cb, "hold"); err != nil {
			t.Fatal(err)
		}
		if _, err := q.wait(t); err == nil || q.outcome != broker.MaybeExecuted {
			t.Errorf("%v, %v", err, q.outcome)
		}
		wg.Wait()
		close(g.open)
	})
}

// TestCallersReadInAMix: no answer is left unread, whichever caller reads and whichever leaves.
func TestCallersReadInAMix(t *testing.T) {
	onDescriptors(t, func(t *testing.T, c, s net.Conn) {
		both := broker.Config{Root: echo()}
		cb, sb := pair(t, c, s, both, both)
		rounds := 60
		if testing.Short() {
			rounds = 15
		}
		for round := range rounds {
			callersRead(t, cb)
			var wg sync.WaitGroup
			shared, end := context.WithCancel(t.Context())
			for k := range 1 + round%3 {
				r := rand.New(rand.NewPCG(uint64(round), uint64(k)))
				wg.Go(func() {
					for range 40 {
						b := cb
						if r.IntN(8) == 0 {
							b = sb
						}
						n := int64(r.IntN(1000))
						q := ask(n)
						switch r.IntN(4) {
						case 0:
							h := &broker.Header{Export: 1, Method: "echo", Call: &q.call}
							if err := b.Ask(t.Context(), h, q); err != nil {
								t.Error(err)
								return
							}
						case 1:
							ctx, cancel := context.WithCancel(t.Context())
							if r.IntN(4) == 0 {
								ctx = context.WithValue(shared, t, k)
							}
							if err := q.alone(ctx, b, "echo"); err != nil {
								t.Error(err)
							}
							cancel()
						default:
							if err := q.alone(t.Context(), b, "echo"); err != nil {
								t.Error(err)
								return
							}
						}
						<-q.done
						if q.result != n || q.err != nil {
							t.Errorf("%v, %v, want %v", q.result, q.err, n)
						}
					}
				})
			}
			wg.Wait()
			end()
		}
	})
}

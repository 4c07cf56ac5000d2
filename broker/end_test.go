package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"perspective/broker"
)

// counted is a root whose method "count" adds up which calls were executed.
type counted struct {
	*methods
	mu   sync.Mutex
	seen map[int64]int
}

func newCounted() *counted {
	o := &counted{methods: echo(), seen: make(map[int64]int)}
	o.m["count"] = func(in *broker.Incoming, args []any) {
		o.mu.Lock()
		o.seen[args[0].(int64)]++
		o.mu.Unlock()
		in.Return(value(args[0]))
	}
	return o
}

// cutConn ends after so many bytes were written to it.
type cutConn struct {
	net.Conn
	left atomic.Int64
}

func (c *cutConn) Write(p []byte) (int, error) {
	left := c.left.Add(-int64(len(p)))
	if left >= 0 {
		return c.Conn.Write(p)
	}
	n := max(int(left)+len(p), 0)
	if n > 0 {
		_, _ = c.Conn.Write(p[:n])
	}
	_ = c.Conn.Close()
	return n, net.ErrClosed
}

// TestOutcomes cuts the connection in the middle of a stream of calls: what is
// said not to have been executed was not, and what was answered was, once.
func TestOutcomes(t *testing.T) {
	for cut := int64(1000); cut < 60_000; cut += 3877 {
		c, s := tcp(t)
		o := newCounted()
		faulty := &cutConn{Conn: c}
		faulty.left.Store(cut)
		cb, sb := pair(t, faulty, s, broker.Config{}, broker.Config{Root: o})
		var qs []*question
		refused := make(map[int64]bool)
		for i := range int64(3000) {
			q := ask(i, "some more bytes in each")
			q.impure = i%10 == 0
			h := &broker.Header{Export: 1, Method: "count", Flags: broker.FlagFinal, Call: &q.call}
			if err := cb.Ask(t.Context(), h, q); err != nil {
				refused[i] = true
				continue
			}
			qs = append(qs, q)
		}
		for _, q := range qs {
			<-q.done
		}
		<-cb.Done()
		<-sb.Done()
		sb.Wait()
		o.mu.Lock()
		for i := range refused {
			if o.seen[i] != 0 {
				t.Errorf("cut %d: call %d was refused and executed", cut, i)
			}
		}
		for _, q := range qs {
			i, _ := q.args[0].(int64)
			n := o.seen[i]
			if n > 1 || q.outcome == broker.NotExecuted && n != 0 ||
				q.outcome == broker.Executed && n != 1 || q.times != 1 {
				t.Errorf("cut %d: call %d: executed %d times, %v, %v, finished %d times", cut, i, n,
					q.outcome, q.err, q.times)
			}
		}
		o.mu.Unlock()
		for _, b := range []*broker.Broker{cb, sb} {
			if st := b.Stats(); st.Asked+st.Unanswered+st.Kept+st.Exports+st.Imports+st.Handlers+
				st.Queued != 0 {
				t.Errorf("cut %d: %+v", cut, st)
			}
		}
	}
}

// slowConn gives and takes bytes in small pieces.
type slowConn struct{ net.Conn }

func (c slowConn) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(len(p), 7)]) }

func (c slowConn) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = c.Conn.Write(p[n:min(len(p), n+1000)])
		n += k
	}
	return n, err
}

// TestSmallPieces: it does not matter how the connection cuts what is sent.
func TestSmallPieces(t *testing.T) {
	c, s := tcp(t)
	cb, sb := pair(t, slowConn{c}, slowConn{s}, broker.Config{}, broker.Config{Root: echo()})
	<-cb.Greeted()
	for _, n := range []int{0, 100, 70_000} {
		want := make([]byte, n)
		if got, err := ask(want).to(t, cb, "echo").wait(t); err != nil || !equal(got, want) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	settled(t, cb, sb)
}

// TestShutdown: no call that was taken is lost, and none is taken afterwards.
func TestShutdown(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		g := newGate(true)
		cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: g})
		<-cb.Greeted()
		var qs []*question
		for range 20 {
			qs = append(qs, ask().to(t, cb, "hold"))
		}
		for range qs {
			<-g.entered
		}
		ended := make(chan error, 1)
		go func() { ended <- sb.Shutdown(t.Context()) }() // ends when the calls are answered
		for !cb.GoingAway() {
			_ = cb.Sync(t.Context())
		}
		q := ask(1)
		if err := cb.Ask(t.Context(), &broker.Header{Export: 1, Method: "echo", Call: &q.call},
			q); !errors.Is(err, broker.ErrGoingAway) {
			t.Errorf("Ask = %v, want ErrGoingAway", err)
		}
		close(g.open)
		for _, q := range qs {
			if v, err := q.wait(t); v != true || err != nil {
				t.Errorf("%v, %v", v, err)
			}
		}
		if err := <-ended; err != nil || !errors.Is(sb.Err(), broker.ErrClosed) {
			t.Errorf("Shutdown = %v, Err = %v, the peer's %v", err, sb.Err(), cb.Err())
		}
		<-cb.Done()
		if !errors.Is(cb.Err(), broker.ErrPeerClosed) {
			t.Errorf("the peer's Err = %v", cb.Err())
		}
	})
}

// TestShutdownStorm: calls that race with a shutdown are answered, or are said not
// to have been executed, and were not.
func TestShutdownStorm(t *testing.T) {
	for range 20 {
		c, s := tcp(t)
		o := newCounted()
		cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: o})
		var wg sync.WaitGroup
		for w := range int64(4) {
			wg.Go(func() {
				for i := range int64(200) {
					q := ask(w*1000 + i)
					h := &broker.Header{
						Export: 1,
						Method: "count",
						Flags:  broker.FlagFinal,
						Call:   &q.call,
					}
					if cb.Ask(t.Context(), h, q) != nil {
						return
					}
					if _, err := q.wait(t); err != nil {
						if q.outcome != broker.NotExecuted {
							t.Errorf("a call that crossed the GOAWAY: %v, %v", q.outcome, err)
						}
						o.mu.Lock()
						if o.seen[w*1000+i] != 0 {
							t.Errorf("a call was executed and its answer lost: %v, %v",
								q.outcome, err)
						}
						o.mu.Unlock()
					}
				}
			})
		}
		<-cb.Greeted()
		if err := sb.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
}

// TestCallsCrossGoAway: a Shutdown waits for the calls that crossed its GOAWAY, so that they are
// refused as not begun; a peer that does not answer its PING does not hold it for long.
func TestCallsCrossGoAway(t *testing.T) {
	for name, silent := range map[string]bool{"answered": false, "silent": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := net.Pipe()
				w, b := against(t, c, s, broker.Config{Root: newCounted()})
				came := w.watch()
				w.greet()
				<-b.Greeted()
				start := time.Now()
				ended := make(chan error, 1)
				go func() { ended <- b.Shutdown(t.Context()) }() // ends when the peer has answered
				goaway, ping := (<-came).message, (<-came).message
				if num(goaway[0]) != 12 || num(ping[0]) != 10 {
					t.Fatalf("%v and %v came, want GOAWAY and PING", goaway, ping)
				}
				<-time.NewTimer(time.Second).C
				w.say(callOf(t, 1, broker.FlagFinal, "count", 1))
				w.sayParts(callOf(t, 2, broker.FlagFinal, "echo", make([]byte, 70<<10))[4:])
				for q := range int64(2) {
					m := (<-came).message
					if num(m[0]) != 2 || num(m[1]) != q+1 || len(m) != 5 ||
						m[3] != broker.ErrGoingAway.Error() || num(m[4]) != 1 {
						t.Errorf("%v came, want a RETURN of %d that says not begun", m, q+1)
					}
				}
				want := 10 * time.Second
				if !silent {
					want = time.Second
					w.say(messageOf(t, 11, 0, ping[2]))
				}
				err := <-ended
				if d := time.Since(start); err != nil || d != want ||
					!errors.Is(b.Err(), broker.ErrClosed) {
					t.Errorf("Shutdown = %v after %v, Err = %v; want the end after %v", err,
						d, b.Err(), want)
				}
			})
		})
	}
}

func TestShutdownCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := net.Pipe()
		g := newGate(true)
		defer close(g.open)
		cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: g})
		q := ask().to(t, cb, "hold")
		<-g.entered
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := sb.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v", err)
		}
		if _, err := q.wait(t); err == nil || q.outcome != broker.MaybeExecuted {
			t.Errorf("%v, %v", err, q.outcome)
		}
	})
}

// TestKeepalive: a peer that says nothing is asked, and lost if it stays silent.
func TestKeepalive(t *testing.T) {
	const (
		silence = 30 * time.Second
		tick    = silence / 8
	)
	for _, tt := range []struct {
		name  string
		again bool // the peer says something once, when it has been asked
	}{{"silent", false}, {"silent after a word", true}} {
		t.Run(tt.name, func(t *testing.T) {
			for range 20 { // each begins its ticks somewhere else
				synctest.Test(t, func(t *testing.T) {
					c, s := net.Pipe()
					w, b := against(t, c, s, broker.Config{Logger: slog.New(slog.DiscardHandler)})
					came := w.watch()
					w.greet()
					last := time.Now()
					asked := <-came
					if tt.again {
						<-time.NewTimer(silence - time.Second).C
						w.say(messageOf(t, 11, 0, 5))
						last = time.Now()
						asked = <-came
					}
					if d := asked.at.Sub(last); num(asked.message[0]) != 10 ||
						d < silence-tick || d > silence {
						t.Errorf("%v came after %v, want a PING after %v to %v", asked.message, d,
							silence-tick, silence)
					}
					end := <-came
					if d := end.at.Sub(asked.at); num(end.message[0]) != 13 || d != silence ||
						end.message[2] !=
							"peer does not answer: nothing came for 30s after a PING" {
						t.Errorf("%v came %v after the PING, want an ABORT after %v",
							end.message, d, silence)
					}
					<-b.Done()
					if d := time.Since(end.at); !errors.Is(b.Err(), broker.ErrTimeout) ||
						d > time.Second {
						t.Errorf("Err = %v, %v after the ABORT", b.Err(), d)
					}
				})
			}
		})
	}
	t.Run("idle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, s := net.Pipe()
			cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: echo()})
			<-time.NewTimer(time.Hour).C
			if v, err := ask("still").to(t, cb, "echo").wait(t); v != "still" || err != nil ||
				sb.Err() != nil {
				t.Errorf("after an hour: %v, %v", v, err)
			}
		})
	})
}

// A call that is given up, or called on, while it is being sent: a FINISH, or a call on the answer,
// that came before the CALL would be about a question that the peer does not know, and the answer
// be kept for ever under a number that is used again. TestTables found that.
func TestCancelBeforeTheCall(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		cb, _ := pair(t, c, s, broker.Config{}, broker.Config{Root: echo()})
		q := ask()
		if err := cb.Register(t.Context(),
			&broker.Header{Export: 1, Method: "echo", Call: &q.call}, q); err != nil {
			t.Fatal(err)
		}
		cb.Cancel(&q.call)
		if cb.Finished(&q.call) {
			t.Error("Cancel of a call that is not sent yet has sent FINISH")
		}
		if _, err := cb.Pin(&q.call); !errors.Is(err, broker.ErrAnswered) {
			t.Errorf("Pin of a call that is not sent yet: %v, want ErrAnswered", err)
		}
	})
}

func TestCancel(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		entered := make(chan struct{}, 1)
		o := echo()
		o.m["wait"] = func(in *broker.Incoming, _ []any) {
			entered <- struct{}{}
			<-in.Done()
			in.Fail(in.Err())
		}
		cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: o})
		q := ask().to(t, cb, "wait")
		<-entered
		behind := ask().to(t, cb, "wait") // its method never begins
		cb.Cancel(&behind.call)
		cb.Cancel(&q.call)
		cb.Cancel(&q.call)
		if _, err := q.wait(t); !errors.Is(err, context.Canceled) || q.outcome != broker.Executed {
			t.Errorf("%v, %v", err, q.outcome)
		}
		if _, err := behind.wait(t); !errors.Is(err, context.Canceled) ||
			behind.outcome != broker.NotExecuted {
			t.Errorf("behind: %v, %v", err, behind.outcome)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		late := ask()
		if err := cb.Ask(ctx,
			&broker.Header{Export: 1, Method: "wait", Call: &late.call}, late); err != nil {
			t.Fatal(err)
		}
		if _, err := late.wait(t); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a deadline: %v", err)
		}
		settled(t, cb, sb)
	})
}

// TestFinishBehindLong: a number is not used again while its FINISH waits
// behind a long message, or that FINISH would cancel another call.
func TestFinishBehindLong(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		o := echo()
		o.concurrent = true
		o.m["check"] = func(in *broker.Incoming, _ []any) {
			if in.Err() != nil {
				in.Fail(in.Err())
				return
			}
			in.Return(value(true))
		}
		cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: o})
		<-cb.Greeted()
		rounds := 30
		if raceEnabled || testing.Short() {
			rounds = 5
		}
		for range rounds {
			long := ask(make([]byte, 1<<20)).to(t, cb, "echo")
			gone := ask().to(t, cb, "check")
			cb.Cancel(&gone.call)
			<-gone.done
			for range 5 {
				if v, err := ask().to(t, cb, "check").wait(t); v != true {
					t.Fatalf("a call that nobody cancelled: %v", err)
				}
			}
			if _, err := long.wait(t); err != nil {
				t.Fatal(err)
			}
		}
		settled(t, cb, sb)
	})
}

// TestNotes: notes come before the answer, in their order, and never after it.
func TestNotes(t *testing.T) {
	everywhere(t, func(t *testing.T, c, s net.Conn) {
		o := echo()
		o.concurrent = true
		o.m["noisy"] = func(in *broker.Incoming, _ []any) {
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					for in.Note(value("note")) == nil { //nolint:revive // the condition does it all
					}
				})
			}
			for range 3 {
				_ = in.Note(value("note"))
			}
			in.Return(value(nil))
			wg.Wait()
		}
		o.m["three"] = func(in *broker.Incoming, _ []any) {
			for i := range 3 {
				_ = in.Note(value(i))
			}
			if err := in.Note(value(make([]byte, 70<<10))); !errors.Is(err, broker.ErrTooLarge) {
				t.Errorf("a note of 70 KiB: %v", err)
			}
			in.Return(value(nil))
		}
		cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: o})
		q := ask().to(t, cb, "three")
		if _, err := q.wait(t); err != nil {
			t.Fatal(err)
		}
		for i := range int64(3) {
			if n := <-q.notes; n != i {
				t.Errorf("note %v, want %d", n, i)
			}
		}
		for range 50 {
			q := ask()
			q.notes = make(chan any, 1<<16)
			if _, err := q.to(t, cb, "noisy").wait(t); err != nil {
				t.Fatal(err)
			}
		}
		settled(t, cb, sb)
	})
}

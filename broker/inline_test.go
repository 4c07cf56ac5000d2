package broker_test

import (
	"context"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perspective/broker"
)

// timed is a method that keeps its Timing, as pb's do.
type timed struct {
	f      method
	timing *broker.Timing
}

func (m timed) Invoke(in *broker.Incoming)           { m.f.Invoke(in) }
func (m timed) Timing() *broker.Timing               { return m.timing }
func (o *timedObject) Discipline() broker.Discipline { return o.discipline }

type timedObject struct {
	discipline broker.Discipline
	m          map[string]timed
}

func timedMethods(ms map[string]method) *timedObject {
	o := &timedObject{m: map[string]timed{}}
	for name, f := range ms {
		o.m[name] = timed{f, new(broker.Timing)}
	}
	return o
}

func (o *timedObject) Method(name []byte) (broker.Method, error) {
	if m, ok := o.m[string(name)]; ok {
		return m, nil
	}
	return nil, errNoMethod
}

// onReaderGoroutine reports whether the caller runs on a connection's reader.
func onReaderGoroutine() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		f, more := frames.Next()
		if f.Function == "perspective/broker/link.(*Link).read" {
			return true
		}
		if !more {
			return false
		}
	}
}

func TestInlineWhenQuick(t *testing.T) { onDescriptors(t, inlineWhenQuick) }

func inlineWhenQuick(t *testing.T, c, s net.Conn) {
	var inline atomic.Int64
	root := timedMethods(map[string]method{"quick": func(in *broker.Incoming, _ []any) {
		if onReaderGoroutine() {
			inline.Add(1)
		}
		in.Return(value(nil))
	}})
	cb, _ := pair(t, c, s, broker.Config{}, broker.Config{Root: root})
	for i := 0; inline.Load() == 0; i++ {
		if raceEnabled {
			root.m["quick"].timing.SetQuick()
		}
		if i == 100_000 {
			t.Fatal("a quick method never runs on the reader")
		}
		if _, err := ask().to(t, cb, "quick").wait(t); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnswersLeaveBetween: a caller that sends many calls at once has the first answers while the
// reader runs the others.
func TestAnswersLeaveBetween(t *testing.T) { onDescriptors(t, answersLeaveBetween) }

func answersLeaveBetween(t *testing.T, c, s net.Conn) {
	const calls = 64
	var root *timedObject
	root = timedMethods(map[string]method{"quick": func(in *broker.Incoming, _ []any) {
		in.Return(value(nil))
		root.m["quick"].timing.SetQuick() // however busy the machine is
	}})
	root.m["quick"].timing.SetQuick()
	deadline(t, c)
	w, _ := against(t, c, s, broker.Config{Root: root})
	w.greet()
	w.say(callOf(t, 1, broker.FlagFinal, "quick"))
	w.returned(1)
	for try := range 50 { // where the machine is busy another goroutine may answer them
		var all [][]byte
		for q := range calls {
			all = append(all, callOf(t, 2+q, broker.FlagFinal, "quick"))
		}
		w.say(all...)
		before := w.frames
		for q := range calls {
			w.returned(2 + q)
		}
		n := w.frames - before
		if n >= 3 {
			return
		}
		t.Logf("%d. time: %d calls that came at once were answered with %d writes", try+1, calls, n)
	}
	t.Error("never were calls answered while others ran")
}

// TestReaderIsReplaced: what a method that was quick for long does on the
// reader, nobody else must feel.
func TestReaderIsReplaced(t *testing.T) {
	t.Run("unix", func(t *testing.T) {
		readerIsReplaced(t, func(t *testing.T) (net.Conn, net.Conn) {
			return sockets(t, "unix", filepath.Join(t.TempDir(), "s"))
		})
	})
	t.Run("tls", func(t *testing.T) {
		readerIsReplaced(t, func(t *testing.T) (net.Conn, net.Conn) { return overMemory(t) })
	})
}

func readerIsReplaced(t *testing.T, conns func(t *testing.T) (net.Conn, net.Conn)) {
	for _, kind := range []string{"blocks", "yields", "calls back", "panics",
		"ends its goroutine"} {
		t.Run(kind, func(t *testing.T) {
			release := make(chan struct{})
			let := sync.OnceFunc(func() { close(release) })
			t.Cleanup(let)
			onReader := make(chan struct{}, 1)
			var back atomic.Pointer[broker.Broker]
			root := timedMethods(map[string]method{
				"turn": func(in *broker.Incoming, args []any) {
					if args[0] == int64(0) || !onReaderGoroutine() {
						in.Return(value(false))
						return
					}
					onReader <- struct{}{}
					switch kind {
					case "blocks":
						<-release
					case "yields":
						in.EndTurn()
						<-release
					case "calls back":
						q := ask("x")
						if err := back.Load().Ask(in.Context(), &broker.Header{
							Export: 1,
							Method: "echo",
							Call:   &q.call,
						}, q); err != nil {
							t.Error(err)
						}
						in.EndTurn()
						<-q.done
					case "panics":
						defer func() { _ = recover() }()
						defer in.Fail(errTest)
						panic("on the reader")
					case "ends its goroutine":
						defer in.Fail(errTest)
						runtime.Goexit()
					}
					in.Return(value(true))
				},
				"other": func(in *broker.Incoming, _ []any) { in.Return(value("other")) },
			})
			c, s := conns(t)
			cb, sb := pair(t, c, s, broker.Config{Root: echo()}, broker.Config{Root: root})
			back.Store(sb)
			var stuck *question
			for i := 0; ; i++ {
				if i == 100_000 {
					t.Fatal("the method never ran on the reader")
				}
				if i%100 != 99 {
					if _, err := ask(0).to(t, cb, "turn").wait(t); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if err := cb.Sync(t.Context()); err != nil { // the turn before is over by then
					t.Fatal(err)
				}
				root.m["turn"].timing.SetQuick()
				stuck = ask(1).to(t, cb, "turn")
				select {
				case <-onReader:
				case <-stuck.done:
					if len(onReader) == 0 {
						continue // it ran beside the reader
					}
				}
				if kind == "blocks" || kind == "yields" {
					// behind the method that is stuck the connection goes on
					if err := cb.Sync(t.Context()); err != nil {
						t.Fatal(err)
					}
					if kind == "yields" {
						if got, err := ask().to(t, cb, "other").wait(t); got != "other" ||
							err != nil {
							t.Fatalf("behind a yield: %v, %v", got, err)
						}
					}
					let()
				}
				_, err := stuck.wait(t)
				if want := kind == "panics" || kind == "ends its goroutine"; (err != nil) != want {
					t.Fatalf("the method's own answer: %v", err)
				}
				break
			}
			for range 100 {
				if got, err := ask().to(t, cb, "other").wait(t); got != "other" || err != nil {
					t.Fatalf("afterwards: %v, %v", got, err)
				}
			}
		})
	}
}

// TestOrderInline sends calls of all tempers to several objects at once, and
// looks whether any two of one object have changed places.
func TestOrderInline(t *testing.T) {
	total := 100_000
	if raceEnabled || testing.Short() {
		total = 20_000
	}
	total = orderCalls(t, total)
	t.Run("tcp",
		func(t *testing.T) { orderOf(t, total, func() (net.Conn, net.Conn) { return tcp(t) }) })
	t.Run("unix", func(t *testing.T) {
		orderOf(t, total, func() (net.Conn, net.Conn) {
			return sockets(t, "unix", filepath.Join(t.TempDir(), "s"))
		})
	})
	t.Run("tls", func(t *testing.T) {
		orderOf(t, total, func() (net.Conn, net.Conn) { return overMemory(t) })
	})
	t.Run("pipe", func(t *testing.T) { orderOf(t, total/10, net.Pipe) })
}

func orderOf(t *testing.T, total int, conns func() (net.Conn, net.Conn)) {
	const objects = 4
	var inversions, panics atomic.Int64
	var last [objects]atomic.Int64
	var back atomic.Pointer[broker.Broker]
	seen := func(args []any) {
		i, n := args[0].(int64), args[1].(int64)
		if last[i].Swap(n) >= n {
			inversions.Add(1)
		}
	}
	make1 := func() *timedObject {
		return timedMethods(map[string]method{
			"quick": func(in *broker.Incoming, args []any) { seen(args); in.Return(value(nil)) },
			"slow": func(in *broker.Incoming, args []any) {
				seen(args)
				for start := time.Now(); time.Since(start) < 100*time.Microsecond; {
					runtime.Gosched()
				}
				in.Return(value(nil))
			},
			"blocks": func(in *broker.Incoming, args []any) {
				seen(args)
				ch := make(chan struct{})
				time.AfterFunc(3*time.Millisecond, func() { close(ch) })
				<-ch
				in.Return(value(nil))
			},
			"nested": func(in *broker.Incoming, args []any) {
				seen(args)
				q := ask("x")
				if err := back.Load().Ask(in.Context(),
					&broker.Header{Export: 1, Method: "echo", Call: &q.call}, q); err != nil {
					in.Fail(err)
					return
				}
				in.EndTurn()
				<-q.done
				in.Return(value(nil))
			},
			"panics": func(in *broker.Incoming, args []any) {
				seen(args)
				defer func() {
					if recover() != nil {
						panics.Add(1)
						in.Fail(errTest)
					}
				}()
				panic("as it does")
			},
		})
	}
	c, s := conns()
	all := make([]*timedObject, objects)
	for i := range all {
		all[i] = make1()
	}
	cb, sb := pair(t, c, s, broker.Config{Root: echo()}, broker.Config{Root: echo()})
	back.Store(sb)
	for i, o := range all {
		if id, err := sb.Export(o, o); err != nil || id != uint64(i+2) {
			t.Fatal(id, err)
		}
	}
	kinds := []string{"quick", "quick", "quick", "quick", "quick", "quick", "quick", "quick",
		"slow", "nested", "panics"}
	var wg sync.WaitGroup
	for i := range objects {
		wg.Go(func() {
			window := make(chan *question, 100)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for q := range window {
					<-q.done
				}
			}()
			for n := 1; n <= total/objects; n++ {
				kind := "quick"
				if n%7 == 0 {
					kind = kinds[n/7%len(kinds)]
				}
				if n%5000 == 0 {
					kind = "blocks"
				}
				q := ask(i, n)
				h := &broker.Header{
					Export: uint64(i + 2),
					Method: kind,
					Call:   &q.call,
					Flags:  broker.FlagFinal,
				}
				if err := cb.Ask(context.Background(), h, q); err != nil {
					t.Error(err)
					break
				}
				window <- q
			}
			close(window)
			<-done
		})
	}
	wg.Wait()
	t.Logf("%d inversions in %d calls", inversions.Load(), total)
	if inversions.Load() > 0 {
		t.Errorf("%d calls changed places", inversions.Load())
	}
	if panics.Load() == 0 && total > 10_000 {
		t.Error("nothing panicked")
	}
}

// TestCrowd: one call after another are no crowd, those that come together are, and so are the
// first that come after them.
func TestCrowd(t *testing.T) {
	var c broker.Crowd
	alone := func() bool {
		c.Count(1)
		return c.Count(0)
	}
	for range 10 {
		if alone() {
			t.Fatal("calls that come alone are a crowd")
		}
	}
	for range 2 {
		c.Count(1)
		for n := 2; n >= 0; n-- {
			if !c.Count(n) {
				t.Fatalf("no crowd when %d of two calls are left", n)
			}
		}
	}
	for i := range 4 {
		if crowd := alone(); crowd != (i < 2) {
			t.Errorf("after %d calls that came alone: crowd is %v", i+1, crowd)
		}
	}
}

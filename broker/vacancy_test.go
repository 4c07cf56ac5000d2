package broker_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perspective/broker"
	"perspective/jelly"
)

// TestNestedCallsHaveAReader: the calls of a method, which does not read for itself,
// never find that nobody reads.
func TestNestedCallsHaveAReader(t *testing.T) {
	onDescriptors(t, func(t *testing.T, c, s net.Conn) {
		back, _ := pair(t, c, s, broker.Config{}, broker.Config{Root: echo()})
		c2, s2 := tcp(t)
		front, _ := pair(
			t, c2, s2, broker.Config{}, broker.Config{Root: &methods{m: map[string]method{
				"nest": func(in *broker.Incoming, _ []any) {
					for range 50 {
						q := ask(1)
						h := &broker.Header{
							Export: 1,
							Method: "echo",
							Flags:  broker.FlagFinal,
							Call:   &q.call,
						}
						if err := back.Ask(in.Context(), h, q); err != nil {
							t.Error(err)
							break
						}
						<-q.done
						runtime.Gosched()
						if back.Reader().Vacant {
							t.Error("nobody reads for who handles a call")
							break
						}
					}
					in.Return(value(true))
				},
			}}})
		for range 3 {
			if _, err := ask().to(t, front, "nest").wait(t); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestLongReadNeedsNoTimer: while one caller reads for long nothing wakes, and after it another
// goroutine reads.
func TestLongReadNeedsNoTimer(t *testing.T) {
	onTheirSockets(t, func(t *testing.T, c, s net.Conn) {
		g := newGate(true)
		g.m["echo"] = echo().m["echo"]
		cb, sb := pair(t, c, s, broker.Config{Root: echo()}, broker.Config{Root: g})
		for seen := 0; seen < 5; {
			callersRead(t, cb)
			var wg sync.WaitGroup
			q := ask()
			wg.Go(func() {
				if err := q.alone(t.Context(), cb, "hold"); err != nil {
					t.Error(err)
				}
			})
			<-g.entered
			for cb.Reader().Vacant {
				runtime.Gosched()
			}
			if cb.Reader().Caller { // else the reader was faster than the caller
				seen++
				for !cb.Reader().Dozing {
					runtime.Gosched()
				}
			}
			if v, err := ask("while").to(t, sb, "echo").wait(t); v != "while" || err != nil {
				t.Fatalf("%v, %v", v, err)
			}
			g.open <- struct{}{}
			wg.Wait()
			if v, err := q.wait(t); v != true || err != nil {
				t.Fatalf("%v, %v", v, err)
			}
			if v, err := ask("after").to(t, sb, "echo").wait(t); v != "after" || err != nil {
				t.Fatalf("%v, %v", v, err)
			}
		}
	})
}

// noter calls f for each note.
type noter struct {
	*question
	f func()
}

func (n noter) Note(*jelly.Decoder) { n.f() }

// TestReaderThatIsEnded: a listener to notes that panics, or ends its goroutine, leaves no
// connection behind without a reader.
func TestReaderThatIsEnded(t *testing.T) {
	for name, f := range map[string]func(){"panic": func() { panic("by a listener") },
		"goexit": runtime.Goexit} {
		for _, who := range []string{"caller", "reader"} {
			if name == "panic" && who == "reader" {
				continue // that ends the process
			}
			t.Run(name+" "+who, func(t *testing.T) {
				c, s := tcp(t)
				root := echo()
				root.m["tell"] = func(in *broker.Incoming, _ []any) {
					_ = in.Note(value(1)) // an error is the connection's end
					in.Return(value(true))
				}
				cb, _ := pair(t, c, s, broker.Config{}, broker.Config{Root: root})
				if who == "caller" {
					callersRead(t, cb)
				}
				q := ask()
				var wg sync.WaitGroup
				wg.Go(func() {
					defer func() { _ = recover() }()
					h := &broker.Header{
						Export: 1,
						Method: "tell",
						Flags:  broker.FlagFinal,
						Call:   &q.call,
					}
					if err := cb.Ask(t.Context(), h, noter{q, f}); err != nil {
						t.Error(err)
						return
					}
					if who == "caller" {
						cb.ReadFor(t.Context(), &q.call)
					}
				})
				wg.Wait()
				<-cb.Done()
				if _, err := q.wait(t); err == nil {
					t.Error("answered, though nobody reads")
				}
			})
		}
	}
}

// TestTooLargeForACaller: a caller that reads leaves with an answer that is thrown
// away because of its size, too.
func TestTooLargeForACaller(t *testing.T) {
	onDescriptors(t, func(t *testing.T, c, s net.Conn) {
		w, b := against(t, c, s, broker.Config{Limits: broker.Limits{Message: 100_000}})
		w.greet()
		<-b.Greeted()
		var wg sync.WaitGroup
		wg.Go(func() { // ends with the connection
			for {
				m, err := w.hear()
				if err != nil {
					return
				}
				switch {
				case num(m[0]) != 1:
				case m[4] == "large":
					w.sayParts(messageOf(t, 2, num(m[1]), make([]byte, 200_000))[4:])
				default:
					w.say(messageOf(t, 2, num(m[1]), true))
				}
			}
		})
		callersRead(t, b)
		q := ask()
		if err := q.alone(t.Context(), b, "large"); err != nil {
			t.Fatal(err)
		}
		if _, err := q.wait(t); !errors.Is(err, broker.ErrTooLarge) {
			t.Errorf("%v", err)
		}
		_ = b.Close()
		wg.Wait()
	})
}

// TestErrOfAContextStays: the error of a method's context does not change.
func TestErrOfAContextStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := net.Pipe()
		kept := make(chan context.Context, 1)
		cb, _ := pair(t, c, s, broker.Config{}, broker.Config{Root: &methods{m: map[string]method{
			"keep": func(in *broker.Incoming, _ []any) {
				at, _ := in.Context().Deadline()
				<-time.After(time.Until(at))
				if err := in.Context().Err(); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				kept <- in.Context()
				in.Return(value(true))
			},
		}}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		q := ask()
		if err := cb.Ask(ctx,
			&broker.Header{Export: 1, Method: "keep", Call: &q.call}, q); err != nil {
			t.Fatal(err)
		}
		_, _ = q.wait(t)
		in := <-kept
		if err := in.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it became %v", err)
		}
		<-in.Done()
	})
}

// TestTurnThatEndsItsGoroutine: it is over all the same.
func TestTurnThatEndsItsGoroutine(t *testing.T) {
	c, s := tcp(t)
	cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: &methods{m: map[string]method{
		"exit": func(in *broker.Incoming, _ []any) {
			in.InTurn(runtime.Goexit)
			in.Return(value(true))
		},
	}}})
	if _, err := ask().to(t, cb, "exit").wait(t); err != nil {
		t.Fatal(err)
	}
	if err := sb.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestTurnAfterLentAgain: a function in the turn of an object that was released, and
// lent again since, runs beside no call that keeps its turn.
func TestTurnAfterLentAgain(t *testing.T) {
	c, s := tcp(t)
	kept, entered, leave := make(chan *broker.Incoming, 1), make(chan struct{}), make(chan struct{})
	obj := &methods{m: map[string]method{
		"keep": func(in *broker.Incoming, _ []any) {
			in.Return(value(nil))
			kept <- in
		},
		"slow": func(in *broker.Incoming, _ []any) {
			entered <- struct{}{}
			<-leave
			in.Return(value(nil))
		},
	}}
	cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: lender(obj)})
	call := func(h *held, method string) *question {
		q := ask()
		if err := cb.Ask(t.Context(),
			&broker.Header{Handle: &h.Handle, Method: method, Call: &q.call}, q); err != nil {
			t.Fatal(err)
		}
		return q
	}
	first, err := askRef(t, cb, "same")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := call(first, "keep").wait(t); err != nil {
		t.Fatal(err)
	}
	in := <-kept
	cb.Release(&first.Handle)
	for sb.Stats().Exports > 0 {
		if err := cb.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ran := make(chan struct{}, 3)
	turn := func() { ran <- struct{}{} }
	in.InTurn(turn) // nobody holds the object
	<-ran
	second, err := askRef(t, cb, "same")
	if err != nil {
		t.Fatal(err)
	}
	q := call(second, "slow")
	<-entered
	in.InTurn(turn)
	if err := cb.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	runtime.Gosched()
	if len(ran) > 0 {
		t.Error("it runs beside a call that keeps its turn")
	}
	leave <- struct{}{}
	if _, err := q.wait(t); err != nil {
		t.Error(err)
	}
	<-ran
	cb.Release(&second.Handle)
	settled(t, cb, sb)
}

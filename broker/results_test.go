package broker_test

import (
	"bytes"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"perspective/broker"
	"perspective/jelly"
)

// texts is a result of n times 16 KiB, of which each piece counts when it is encoded.
func texts(n int, pieces *atomic.Int64) func(*jelly.Encoder) error {
	piece := strings.Repeat("x", 16<<10)
	return func(e *jelly.Encoder) error {
		e.EncodeArrayLen(n)
		for range n {
			e.EncodeString(piece)
			if e.Denied() == nil {
				pieces.Add(1)
			}
		}
		return nil
	}
}

// TestResultsWaitBeforeTheyAreEncoded: of the results that have no room among what waits for the
// peer no more than their first 64 KiB are encoded, but for one, and what they take counts. A peer
// that reads slowly gets them all, after a time that is longer than Limits.MemoryWait.
func TestResultsWaitBeforeTheyAreEncoded(t *testing.T) {
	for _, name := range []string{"large", "small"} { // with a turn and without
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answers, pieces, queued := 60, 64, 1<<20
				if name == "small" {
					answers, pieces = 250, 2
				}
				ahead := min(pieces, 4) * answers << 14 // of those that wait
				c, s := net.Pipe()
				all := make(chan struct{})
				var encoded atomic.Int64
				o := &methods{concurrent: true,
					m: map[string]method{"big": func(in *broker.Incoming, _ []any) {
						<-all // so that they answer at once
						in.Return(texts(pieces, &encoded))
					}}}
				w, b := against(t, c, s,
					broker.Config{Root: o, Limits: broker.Limits{Queued: queued, Keepalive: -1}})
				w.greet()
				for q := range answers {
					w.say(callOf(t, q+1, broker.FlagFinal, "big"))
				}
				synctest.Wait()
				close(all)
				look := func(read int) {
					t.Helper()
					synctest.Wait()
					here := int(encoded.Load())<<14 - read
					if most := queued + ahead + pieces<<14; here > most {
						t.Fatalf("%d bytes are encoded when %d were read; want at most %d",
							here, read, most)
					}
					if n := b.Stats().Memory; n < 2*(here-answers<<12)-1<<20 || n > 3*here+1<<20 {
						t.Fatalf("%d bytes count when %d are encoded and not read", n, here)
					}
				}
				look(0)
				if err := w.frame(); err != nil { // the preface
					t.Fatal(err)
				}
				got := 0
				for got < answers*pieces<<14 {
					kind, stream, body, err := w.readFrame()
					if err != nil {
						t.Fatalf("after %d bytes: %v, %v", got, err, b.Err())
					}
					if kind != frameData || stream != 1 {
						continue
					}
					got += len(body)
					time.Sleep(8 * time.Second) // slow, and yet within Limits.WriteStall
					w.grant(uint32(len(body)))
					look(got)
				}
				if n := encoded.Load(); n != int64(answers*pieces) || b.Err() != nil ||
					b.Stats().Handlers != 0 || b.Stats().Memory > 64<<10 {
					t.Errorf("at the end %d of %d pieces, %v, %+v", n, answers*pieces,
						b.Err(), b.Stats())
				}
			})
		})
	}
}

// TestResultsCount: a result that finds no room in Config.Memory waits for it, for
// Limits.MemoryWait, and is the error ErrOverloaded then. Meanwhile no other call begins. What is
// over what the peer takes is not encoded to its end.
func TestResultsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 4 << 20
		var pieces atomic.Int64
		enough := make(chan struct{})
		m := broker.NewMemory(size)
		o := &methods{concurrent: true, m: map[string]method{
			"keep": func(in *broker.Incoming, _ []any) { <-enough; in.Return(value(nil)) },
			"echo": func(in *broker.Incoming, args []any) { in.Return(value(args[0])) },
			"big": func(in *broker.Incoming, args []any) {
				in.Return(texts(int(args[0].(int64)), &pieces))
			},
		}}
		limits := broker.Limits{
			Keepalive:  -1,
			MemoryWait: 3 * time.Second,
			Message:    8 << 20,
			HeldTurn:   time.Hour,
		}
		c, s := net.Pipe()
		cb, sb := pair(t, c, s, broker.Config{Limits: limits},
			broker.Config{Root: o, Memory: m, Limits: limits})
		call := func(pieces int) (time.Duration, error) {
			begin := time.Now()
			_, err := ask(pieces).to(t, cb, "big").wait(t)
			return time.Since(begin), err
		}
		if d, err := call(20); err != nil || d != 0 {
			t.Errorf("320 KiB with all the room: %v after %v", err, d)
		}
		if d, err := call(200); !errors.Is(err, broker.ErrOverloaded) || d != 3*time.Second {
			t.Errorf("3 MiB, which never find room: %v after %v", err, d)
		}
		before := pieces.Load()
		if _, err := call(2000); !errors.Is(err, broker.ErrOverloaded) ||
			pieces.Load()-before > 200 {
			t.Errorf("31 MiB: %v with %d pieces encoded", err, pieces.Load()-before)
		}
		kept := make([]*question, 2) // a quarter is left by them
		for i := range kept {
			kept[i] = ask(make([]byte, 300<<10)).to(t, cb, "keep")
		}
		synctest.Wait()
		behind := make(chan time.Duration, 1)
		time.AfterFunc(time.Second, func() { close(enough) })
		time.AfterFunc(time.Second/2, func() { // ends when room comes
			begin := time.Now()
			if _, err := ask(7).to(t, cb, "echo").wait(t); err != nil {
				t.Error(err)
			}
			behind <- time.Since(begin)
		})
		if d, err := call(40); err != nil || d != time.Second {
			t.Errorf("640 KiB, for which room comes after a second: %v after %v", err, d)
		}
		if d := <-behind; d != time.Second/2 {
			t.Errorf("a call that came meanwhile was answered after %v", d)
		}
		for _, q := range kept {
			if _, err := q.wait(t); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if m.Used() != 0 || sb.Stats().Memory != 0 {
			t.Errorf("in the end %d bytes are used, %d by the connection", m.Used(),
				sb.Stats().Memory)
		}
	})
	synctest.Test(t, func(t *testing.T) { // the caller takes 1 MiB
		var pieces atomic.Int64
		c, s := net.Pipe()
		o := &methods{
			m: map[string]method{
				"big": func(in *broker.Incoming, _ []any) { in.Return(texts(1000, &pieces)) },
			},
		}
		cb, sb := pair(t, c, s, broker.Config{Limits: broker.Limits{Message: 1 << 20}},
			broker.Config{Root: o})
		if _, err := ask().to(t, cb, "big").wait(t); !errors.Is(err, broker.ErrTooLarge) ||
			pieces.Load() > 64 {
			t.Errorf("16 MiB for who takes 1: %v with %d pieces encoded", err, pieces.Load())
		}
		synctest.Wait()
		if n := sb.Stats().Memory; n != 0 {
			t.Errorf("in the end %d bytes are used", n)
		}
	})
}

// TestResultsThatAreNotAnswered: what a result took is given back whatever becomes of the call:
// encoding fails, panics or ends its goroutine, the call was answered before, the connection ends.
func TestResultsThatAreNotAnswered(t *testing.T) {
	for _, name := range []string{"fails", "ends its goroutine", "is answered before", "is a note",
		"connection ends"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var pieces atomic.Int64
				m := broker.NewMemory(64 << 20)
				halfway := make(chan struct{})
				o := &methods{m: map[string]method{
					"big": func(in *broker.Incoming, _ []any) {
						encode := texts(100, &pieces)
						switch name {
						case "is answered before":
							in.Return(value(nil))
						case "is a note":
							_ = in.Note(encode) // too large for one
							in.Return(value(nil))
						}
						in.Return(func(e *jelly.Encoder) error {
							_ = encode(e)
							switch name {
							case "fails":
								return errTest
							case "ends its goroutine":
								runtime.Goexit()
							case "connection ends":
								close(halfway)
								<-in.Done()
							}
							return nil
						})
					},
					"echo": func(in *broker.Incoming, args []any) { in.Return(texts(10, &pieces)) },
				}}
				c, s := net.Pipe()
				cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: o, Memory: m})
				q := ask().to(t, cb, "big")
				if name == "connection ends" {
					<-halfway
					if m.Used() == 0 {
						t.Error("1.6 MiB that are being encoded do not count")
					}
					_ = sb.Close()
					sb.Wait()
				} else {
					_, _ = q.wait(t)
					if _, err := ask(1).to(t, cb, "echo").wait(t); err != nil {
						t.Errorf("the next one: %v", err)
					}
				}
				synctest.Wait()
				if m.Used() != 0 || sb.Stats().Memory != 0 {
					t.Errorf("in the end %d bytes are used, %d by the connection", m.Used(),
						sb.Stats().Memory)
				}
			})
		})
	}
}

// TestReaderDoesNotEncodeMuch: a quick method that the reader runs waits for others' results
// elsewhere: the reader goes on.
func TestReaderDoesNotEncodeMuch(t *testing.T) {
	var pieces, inline atomic.Int64
	var root *timedObject
	begun, release := make(chan struct{}), make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	t.Cleanup(let)
	root = timedMethods(map[string]method{
		"slow": func(in *broker.Incoming, _ []any) {
			in.Return(func(e *jelly.Encoder) error {
				e.EncodeArrayLen(2)
				_ = e.Encode(string(bytes.Repeat([]byte{'x'}, 200<<10)))
				close(begun) // it has the turn
				<-release
				return e.Encode(nil)
			})
		},
		"big": func(in *broker.Incoming, _ []any) {
			if onReaderGoroutine() {
				inline.Add(1)
			}
			in.Return(texts(20, &pieces))
		},
		"echo": func(in *broker.Incoming, args []any) { in.Return(value(args[0])) },
	})
	root.discipline = broker.Concurrent
	c, s := tcp(t)
	deadline(t, c)
	cb, _ := pair(t, c, s, broker.Config{},
		broker.Config{Root: root, Limits: broker.Limits{MemoryWait: time.Minute}})
	slow := ask().to(t, cb, "slow")
	<-begun
	var bigs []*question
	for i := 0; inline.Load() == 0; i++ {
		if i == 100 {
			t.Fatal("a quick method never runs on the reader")
		}
		root.m["big"].timing.SetQuick()
		bigs = append(bigs, ask().to(t, cb, "big"))
		if v, err := ask(i).to(t, cb, "echo").wait(t); num(v) != int64(i) || err != nil {
			t.Fatalf("a call behind a result that waits: %v, %v", v, err)
		}
	}
	if pieces.Load() > int64(4*len(bigs)) {
		t.Errorf("%d pieces of %d results are encoded beside another", pieces.Load(), len(bigs))
	}
	let()
	for _, q := range append(bigs, slow) {
		if _, err := q.wait(t); err != nil {
			t.Error(err)
		}
	}
}

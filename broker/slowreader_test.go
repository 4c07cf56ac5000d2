package broker_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"perspective/broker"
)

// readFrame reads one frame that is none of the preface.
func (w *wire) readFrame() (kind byte, stream uint32, body []byte, err error) {
	var h [12]byte
	if _, err := io.ReadFull(w.conn, h[:]); err != nil {
		return 0, 0, nil, err
	}
	if h[1] == frameData {
		body = make([]byte, binary.BigEndian.Uint32(h[8:]))
		_, err = io.ReadFull(w.conn, body)
	}
	return h[1], binary.BigEndian.Uint32(h[4:]), body, err
}

// grant lets the broker send n bytes more.
func (w *wire) grant(n uint32) { w.write(frameOf(frameWindow, 0, 1, n)) }

// TestAnswersWaitForRoom: answers wait while Limits.Queued bytes do, one after
// another goes when there is room, and a peer that reads slowly gets them all.
func TestAnswersWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const answers, size, queued = 60, 200 << 10, 1 << 20
		c, s := net.Pipe()
		all := make(chan struct{})
		o := &methods{concurrent: true,
			m: map[string]method{"big": func(in *broker.Incoming, _ []any) {
				<-all // so that they answer at once
				in.Return(value(make([]byte, size)))
			}}}
		w, b := against(t, c, s,
			broker.Config{Root: o, Limits: broker.Limits{Queued: queued, Keepalive: -1}})
		w.greet()
		for q := range answers {
			w.say(callOf(t, q+1, broker.FlagFinal, "big"))
		}
		synctest.Wait()
		close(all)
		most := 0
		look := func() {
			synctest.Wait()
			most = max(most, b.Stats().Queued)
		}
		look()
		if most < queued {
			t.Fatalf("%d bytes wait, want the %d that may and one answer", most, queued)
		}
		if err := w.frame(); err != nil { // the preface
			t.Fatal(err)
		}
		got := 0
		for got < answers*size {
			kind, stream, body, err := w.readFrame()
			if err != nil {
				t.Fatalf("after %d bytes: %v, %v", got, err, b.Err())
			}
			if kind != frameData || stream != 1 {
				continue
			}
			got += len(body)
			look()
			time.Sleep(8 * time.Second) // slow, and yet within Limits.WriteStall
			w.grant(uint32(len(body)))
			look()
		}
		if limit := queued + size + 1<<10; most > limit {
			t.Errorf("%d bytes waited at once, want at most %d: what may, and one answer",
				most, limit)
		}
		if b.Err() != nil || b.Stats().Handlers != 0 {
			t.Errorf("at the end: %v, %+v", b.Err(), b.Stats())
		}
	})
}

// TestShortMessagesUnread: what nobody waits with may be as much as
// Limits.Queued; one message more ends the connection.
func TestShortMessagesUnread(t *testing.T) {
	kinds := map[string]func(q int) []byte{
		"pongs": func(int) []byte { return messageOf(t, 10, 0, 1) },
		"credits": func(int) []byte {
			return messageOf(t, 1, 0, broker.FlagOneway, 99, "x", []any{})
		},
		"refusals": func(q int) []byte {
			return messageOf(t, 1, q, broker.FlagFinal, 99, "x", []any{})
		},
	}
	for name, message := range kinds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const queued = 50_000
				c, s := net.Pipe()
				w, b := against(t, c, s, broker.Config{Root: echo(), Limits: broker.Limits{
					Queued:     queued,
					Keepalive:  -1,
					WriteStall: 1000 * time.Hour,
					HeldTurn:   1000 * time.Hour}})
				// it takes the bytes and gives no window; ends with the connection
				go func() { _, _ = io.Copy(io.Discard, c) }()
				w.greet()
				q, before, last := 0, 0, 0
				for b.Err() == nil {
					q++
					w.say(message(q))
					synctest.Wait()
					if b.Err() == nil {
						before, last = last, b.Stats().Queued
					}
				}
				if !errors.Is(b.Err(), broker.ErrSlowReader) {
					t.Errorf("it ended with %v", b.Err())
				}
				one := last - before
				if last > queued || last+one <= queued || one > 100 {
					t.Errorf("%d bytes waited when the last of %d bytes came, of at most %d",
						last, one, queued)
				}
			})
		})
	}
	t.Run("own calls do not count", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const queued = 50_000
			c, s := net.Pipe()
			w, b := against(t, c, s, broker.Config{
				Limits: broker.Limits{Queued: queued, Keepalive: -1, WriteStall: 1000 * time.Hour},
			})
			go func() { _, _ = io.Copy(io.Discard, c) }() // ends with the connection
			w.greet()
			for range 500 {
				ask(make([]byte, 1000)).to(t, b, "x")
			}
			w.say(messageOf(t, 10, 0, 1))
			synctest.Wait()
			if n := b.Stats().Queued; n < 2*queued || b.Err() != nil {
				t.Errorf("%d bytes wait, and it ended with %v", n, b.Err())
			}
		})
	})
}

// TestWindowInDrops: window is used when it is worth a frame, and a peer must
// give so much within Limits.WriteStall.
func TestWindowInDrops(t *testing.T) {
	const worthwhile, stall = 16 << 10, 10 * time.Second
	tests := []struct {
		name  string
		drops int // of 1 KiB, before the time is over
		more  uint32
		reads bool // enough to be one that reads
	}{
		{"nothing", 0, 0, false},
		{"all but a byte", 15, 1<<10 - 1, false},
		{"enough", 15, 1 << 10, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := net.Pipe()
				o := &methods{
					m: map[string]method{
						"big": func(in *broker.Incoming, _ []any) {
							in.Return(value(make([]byte, 1<<20)))
						},
					},
				}
				w, b := against(t, c, s,
					broker.Config{Root: o, Limits: broker.Limits{Keepalive: -1, WriteStall: stall}})
				frames := make(chan int, 1000)
				go func() { // ends with the connection
					_ = w.frame() // the preface
					for {
						kind, stream, body, err := w.readFrame()
						if err != nil {
							return
						}
						if kind == frameData && stream == 1 {
							frames <- len(body)
						}
					}
				}()
				w.greet()
				w.say(callOf(t, 1, broker.FlagFinal, "big"))
				synctest.Wait() // the window is used up
				for round := range 5 {
					for len(frames) > 0 {
						<-frames
					}
					for range tt.drops {
						time.Sleep(stall / 20)
						w.grant(1 << 10)
					}
					synctest.Wait()
					if len(frames) > 0 {
						t.Fatalf("round %d: a frame of %d bytes for %d drops of window", round,
							<-frames, tt.drops)
					}
					w.grant(tt.more)
					synctest.Wait()
					if !tt.reads {
						break
					}
					if n := <-frames; n != worthwhile {
						t.Fatalf("round %d: a frame of %d bytes, want %d", round, n, worthwhile)
					}
				}
				if b.Err() != nil {
					t.Fatalf("it ended too early with %v", b.Err())
				}
				time.Sleep(stall)
				synctest.Wait()
				if !errors.Is(b.Err(), broker.ErrSlowReader) {
					t.Errorf("it ended with %v, want ErrSlowReader", b.Err())
				}
			})
		})
	}
}

// TestUnfinishedBudget: a peer whose messages are to be small may begin so many
// long ones, and not a byte more.
func TestUnfinishedBudget(t *testing.T) {
	const limit = 8 << 10
	c, s := tcp(t)
	deadline(t, c)
	w, b := against(t, c, s,
		broker.Config{Root: newGate(true), Limits: broker.Limits{Message: limit}})
	w.greet()
	begin := func(n, size int) {
		p := callOf(t, n, broker.FlagFinal, "size", make([]byte, 2*limit))[4:]
		w.say(messageOf(t, 5, 0, n, false, p[:size]))
	}
	for n := 1; n <= 17; n++ {
		begin(n, limit)
	}
	begin(18, limit/2)
	begin(19, limit/2) // 18 times the limit: of two the whole, of sixteen the beginning
	w.say(callOf(t, 100, broker.FlagFinal, "echo", 7))
	if v, failure := w.returned(100); num(v) != 7 {
		t.Fatalf("at the budget: %v, %q", v, failure)
	}
	w.say(messageOf(t, 5, 0, 19, false, []byte{0}))
	if reason := w.aborted(); reason !=
		"PART: element 4, bytes: want unfinished messages of at most 147456 bytes, got 147457" {
		t.Errorf("a byte over the budget: %q", reason)
	}
	_ = c.Close()
	broken(t, b)
}

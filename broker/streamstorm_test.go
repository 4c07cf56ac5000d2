package broker_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"perspective/broker"
)

// TestStreamStorm opens, uses and ends many streams from both sides in every
// way at once; none is left.
func TestStreamStorm(t *testing.T) {
	onSockets(t, streamStorm)
}

// TestStreamsAtTheEnd: connections that end under many streams leave nothing
// running.
func TestStreamsAtTheEnd(t *testing.T) {
	before := runtime.NumGoroutine()
	rounds := 10
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		c, s := tcp(t)
		got := make(chan broker.Stream, 64)
		limits := broker.Limits{Streams: 64}
		cb, sb := pair(t, c, s, broker.Config{Limits: limits},
			broker.Config{Root: claimer(got), Limits: limits})
		var wg sync.WaitGroup
		var all []broker.Stream
		for range 64 {
			a, b := streamPair(t, cb, got)
			all = append(all, a, b)
		}
		pumping := make(chan struct{}, len(all))
		for _, x := range all {
			wg.Go(func() { _, _ = io.Copy(io.Discard, x) })
			wg.Go(func() {
				_, err := x.Write(make([]byte, 50_000))
				for pumping <- struct{}{}; err == nil; {
					_, err = x.Write(make([]byte, 50_000))
				}
				_ = x.Close()
			})
		}
		for range all {
			<-pumping
		}
		_ = sb.Close()
		wg.Wait()
		cb.Wait()
		sb.Wait()
	}
	for began := time.Now(); time.Since(began) < time.Minute; {
		if runtime.NumGoroutine() <= before+2 {
			return
		}
		runtime.Gosched()
		runtime.GC()
	}
	buf := make([]byte, 1<<16)
	t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before,
		buf[:runtime.Stack(buf, true)])
}

// TestReadStreamsHoldNothing: what was read counts no more, though the stream goes on and the peer
// was granted nothing for it.
func TestReadStreamsHoldNothing(t *testing.T) {
	c, s := tcp(t)
	got := make(chan broker.Stream, 1)
	cb, sb := pair(t, c, s, broker.Config{},
		broker.Config{Root: claimer(got), Limits: broker.Limits{StreamBytes: 300 << 10}})
	want := bytes.Repeat([]byte("x"), 100<<10)
	var all []broker.Stream
	for i := range 10 {
		a, b := streamPair(t, cb, got)
		if _, err := a.Write(want); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, make([]byte, len(want))); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		all = append(all, a, b)
	}
	if n := sb.Stats().StreamBytes; n != 0 {
		t.Errorf("%d bytes are unread", n)
	}
	for _, x := range all {
		_ = x.Close()
	}
	noStreams(t, cb, sb)
}

// TestStreamBytes: what comes over all streams and is not read is bounded; the
// stream that exceeds it is reset, and no other.
func TestStreamBytes(t *testing.T) {
	c, s := tcp(t)
	got := make(chan broker.Stream, 1)
	cb, sb := pair(t, c, s, broker.Config{},
		broker.Config{Root: claimer(got), Limits: broker.Limits{StreamBytes: 300 << 10}})
	a1, b1 := streamPair(t, cb, got)
	a2, b2 := streamPair(t, cb, got)
	want := bytes.Repeat([]byte("x"), 200<<10)
	if _, err := a1.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := a1.CloseWrite(nil); err != nil {
		t.Fatal(err)
	}
	_, err := a2.Write(want)
	for err == nil {
		_, err = a2.Write([]byte("y"))
	}
	// A stream that is reset before yamux has acknowledged it looks refused.
	if !errors.Is(err, broker.ErrStreamReset) && !errors.Is(err, broker.ErrTooManyStreams) {
		t.Errorf("Write over StreamBytes = %v, want ErrStreamReset", err)
	}
	if _, err := io.ReadAll(b2); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Read of the reset stream = %v", err)
	}
	if p, err := io.ReadAll(b1); !bytes.Equal(p, want) || err != nil {
		t.Errorf("the other stream: %d bytes, %v", len(p), err)
	}
	for _, x := range []broker.Stream{a1, a2, b1, b2} {
		_ = x.Close()
	}
	noStreams(t, cb, sb)
	if sb.Err() != nil {
		t.Error(sb.Err())
	}
}

// TestStreamsOverTheCap: openings over the cap are reset and cost the peer
// nothing else.
func TestStreamsOverTheCap(t *testing.T) {
	c, s := tcp(t)
	deadline(t, c)
	w, b := against(t, c, s, broker.Config{Root: echo(), Limits: broker.Limits{Streams: 2}})
	w.greet()
	for i := range uint32(5) {
		w.write(frameOf(frameData, flagSYN, 3+2*i, 1, 0xc0))
	}
	w.write(frameOf(frameData, 0, 9, 3, 1, 2, 3)) // crossed with the reset
	w.say(callOf(t, 1, broker.FlagFinal, "echo", "alive"))
	if v, failure := w.returned(1); v != "alive" {
		t.Errorf("%v, %q", v, failure)
	}
	if n := b.Stats().Streams; n != 2 || b.Err() != nil {
		t.Errorf("%d streams, %v", n, b.Err())
	}
}

// TestStreamGarbage: what is neither chunk nor mark costs the stream.
func TestStreamGarbage(t *testing.T) {
	for _, p := range []string{"\x01", "\xc4", "\xc4\x05abc", "\x91\x01", "\x91\xc4\x01\xc1",
		"\x91\xc6\xff\xff\xff\xff", "\xd9\x01x", "\xc6\xff\xff\xff\xffx"} {
		c, s := tcp(t)
		deadline(t, c)
		w, b := against(t, c, s, broker.Config{Root: echo()})
		w.greet()
		w.write(frameOf(frameData, flagSYN|flagFIN, 3, uint32(len(p)), []byte(p)...))
		w.say(callOf(t, 1, broker.FlagFinal, "echo", "read"))
		w.returned(1)
		st, err := b.ClaimStream(3)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(st); err == nil {
			t.Errorf("%q was taken", p)
		}
		_ = st.Close()
		w.say(callOf(t, 2, broker.FlagFinal, "echo", "alive"))
		if v, _ := w.returned(2); v != "alive" {
			t.Errorf("%q cost the connection: %v", p, b.Err())
		}
	}
}

func streamStorm(t *testing.T, c, s net.Conn) {
	rounds := 30
	if testing.Short() {
		rounds = 15
	}
	limits := broker.Limits{Streams: 40}
	cgot, sgot := make(chan broker.Stream, 64), make(chan broker.Stream, 64)
	cb, sb := pair(t, c, s, broker.Config{Root: claimer(cgot), Limits: limits},
		broker.Config{Root: claimer(sgot), Limits: limits})
	var wg, taken sync.WaitGroup
	finish := func(x broker.Stream, way int) {
		defer x.Close() //nolint:errcheck // some are closed already
		switch way % 5 {
		case 0:
			_ = x.CloseWrite(nil)
			_, _ = io.Copy(io.Discard, x)
		case 1:
			_, _ = x.Write(make([]byte, rand.IntN(200<<10)))
		case 2:
			_, _ = x.Write(make([]byte, 10))
			_ = x.CloseWrite(errTest)
			_, _ = io.Copy(io.Discard, x)
		case 3:
			_ = x.CloseRead()
			_, _ = x.Write(make([]byte, 100))
		}
	}
	for _, side := range []struct {
		from *broker.Broker
		got  chan broker.Stream
	}{{cb, sgot}, {sb, cgot}} {
		taken.Go(func() {
			for x := range side.got {
				wg.Go(func() { finish(x, rand.IntN(5)) })
			}
		})
		for range 10 {
			wg.Go(func() {
				for range rounds {
					x, err := side.from.OpenStream(t.Context())
					if err != nil {
						if !errors.Is(err, broker.ErrTooManyStreams) {
							t.Error(err)
						}
						continue
					}
					_, _ = ask(int64(x.ID())).to(t, side.from, "take").wait(t)
					finish(x, rand.IntN(5))
				}
			})
		}
	}
	wg.Wait()
	close(cgot)
	close(sgot)
	taken.Wait()
	wg.Wait()
	noStreams(t, cb, sb)
	if cb.Err() != nil || sb.Err() != nil {
		t.Error(cb.Err(), sb.Err())
	}
}

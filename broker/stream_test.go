package broker_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"perspective/broker"
)

// onSockets runs a test that makes a yamux session, which must not be done
// under synctest: yamux pools timers for the whole process.
func onSockets(t *testing.T, f func(t *testing.T, c, s net.Conn)) {
	onTheirSockets(t, f)
	t.Run("tls that is read and written", func(t *testing.T) {
		c, s := overTLS(t)
		f(t, c, s)
	})
}

// claimer hands out the streams that calls mention.
func claimer(got chan<- broker.Stream) *methods {
	o := echo()
	o.m["take"] = func(in *broker.Incoming, args []any) {
		st, err := in.Broker().ClaimStream(uint64(args[0].(int64)))
		if err != nil {
			in.Fail(err)
			return
		}
		got <- st
		in.Return(value(nil))
	}
	return o
}

// streamPair is a stream's two ends; a opened it.
func streamPair(t *testing.T, from *broker.Broker, got <-chan broker.Stream) (a, b broker.Stream) {
	t.Helper()
	a, err := from.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	q := ask(int64(a.ID())).to(t, from, "take")
	if _, err := q.wait(t); err != nil {
		t.Fatal(err)
	}
	return a, <-got
}

// noStreams waits until the table of streams is empty.
func noStreams(t *testing.T, bs ...*broker.Broker) {
	t.Helper()
	for _, b := range bs {
		for began := time.Now(); time.Since(began) < time.Minute; {
			if b.Stats().Streams == 0 {
				break
			}
			if err := b.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := b.Stats().Streams; n != 0 {
			t.Errorf("%d streams are left", n)
		}
	}
}

func TestStream(t *testing.T) {
	onSockets(t, func(t *testing.T, c, s net.Conn) {
		got := make(chan broker.Stream, 1)
		cb, sb := pair(t, c, s, broker.Config{Root: claimer(got)},
			broker.Config{Root: claimer(got)})
		for _, from := range []*broker.Broker{cb, sb, cb} {
			a, b := streamPair(t, from, got)
			var wg sync.WaitGroup
			for _, x := range [][2]broker.Stream{{a, b}, {b, a}} {
				wg.Go(func() { pump(t, x[0], 3<<20) })
				wg.Go(func() { drain(t, x[1]) })
			}
			wg.Wait()
			if err := errors.Join(a.Close(), b.Close()); err != nil {
				t.Fatal(err)
			}
		}
		noStreams(t, cb, sb)
	})
}

// pump writes n random bytes and their sum.
func pump(t *testing.T, w broker.Stream, n int) {
	h := sha256.New()
	buf := make([]byte, 100<<10)
	for n > 0 {
		k := min(1+rand.IntN(len(buf)), n)
		h.Write(buf[:k])
		if m, err := w.Write(buf[:k]); err != nil || m != k {
			t.Errorf("Write = %d, %v", m, err)
			return
		}
		n -= k
	}
	if _, err := w.Write(h.Sum(nil)); err != nil {
		t.Error(err)
	}
	if err := w.CloseWrite(nil); err != nil {
		t.Error(err)
	}
	if _, err := w.Write([]byte("more")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after the end = %v", err)
	}
}

// drain reads what pump wrote.
func drain(t *testing.T, r io.Reader) {
	all, err := io.ReadAll(r)
	if err != nil || len(all) < sha256.Size {
		t.Errorf("ReadAll = %d bytes, %v", len(all), err)
		return
	}
	n := len(all) - sha256.Size
	if sum := sha256.Sum256(all[:n]); !bytes.Equal(sum[:], all[n:]) {
		t.Error("other bytes came out")
	}
}

func TestStreamEnds(t *testing.T) {
	c, s := tcp(t)
	got := make(chan broker.Stream, 1)
	cb, sb := pair(t, c, s, broker.Config{}, broker.Config{Root: claimer(got)})
	t.Run("error", func(t *testing.T) {
		a, b := streamPair(t, cb, got)
		_, _ = a.Write([]byte("half"))
		_ = a.CloseWrite(errTest)
		if p, err := io.ReadAll(b); string(p) != "half" || !errors.Is(err, errTest) {
			t.Errorf("ReadAll = %q, %v, want the writer's error", p, err)
		}
		_, _ = a.Close(), b.Close()
		noStreams(t, cb, sb)
	})
	t.Run("stop", func(t *testing.T) {
		a, b := streamPair(t, cb, got)
		done := make(chan error)
		go func() { // ends when the reader stops
			_, err := a.Write(make([]byte, 4<<20))
			done <- err
		}()
		_, _ = io.ReadFull(b, make([]byte, 10))
		_ = b.CloseRead()
		if err := <-done; !errors.Is(err, broker.ErrStopped) {
			t.Errorf("Write = %v, want ErrStopped", err)
		}
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Read after CloseRead = %v", err)
		}
		_, _ = b.Write([]byte("still"))
		_, _ = b.Close(), a.CloseWrite(nil)
		if p, err := io.ReadAll(a); string(p) != "still" || err != nil {
			t.Errorf("ReadAll = %q, %v", p, err)
		}
		_ = a.Close()
		noStreams(t, cb, sb)
	})
	t.Run("deadlines", func(t *testing.T) {
		a, b := streamPair(t, cb, got)
		_ = a.SetDeadline(time.Now())
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read = %v", err)
		}
		want := make([]byte, 1<<20)
		for i := range want {
			want[i] = byte(i >> 8)
		}
		n, err := a.Write(want)
		if !errors.Is(err, os.ErrDeadlineExceeded) || n < 200<<10 {
			t.Errorf("Write = %d, %v", n, err)
		}
		_ = a.SetDeadline(time.Time{})
		go func() { // ends when all is read
			_, _ = a.Write(want[n:])
			_ = a.CloseWrite(nil)
		}()
		if p, err := io.ReadAll(b); !bytes.Equal(p, want) || err != nil {
			t.Errorf("ReadAll = %d bytes, %v", len(p), err)
		}
		_, _ = a.Close(), b.Close()
		noStreams(t, cb, sb)
	})
	t.Run("claims", func(t *testing.T) {
		a, b := streamPair(t, cb, got)
		for _, id := range []uint64{a.ID(), a.ID() + 2, a.ID() - 1, 1, 0, 1 << 40} {
			if _, err := sb.ClaimStream(id); !errors.Is(err, broker.ErrNoSuchStream) {
				t.Errorf("ClaimStream(%d) = %v", id, err)
			}
		}
		_, _ = a.Close(), b.Close()
		noStreams(t, cb, sb)
	})
	t.Run("connection", func(t *testing.T) {
		a, b := streamPair(t, cb, got)
		_, _ = a.Write([]byte("half"))
		_, _ = io.ReadFull(b, make([]byte, 4))
		_ = cb.Close()
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) ||
			!errors.Is(err, broker.ErrPeerClosed) {
			t.Errorf("Read = %v", err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, broker.ErrClosed) {
			t.Errorf("Write = %v", err)
		}
		_, _ = a.Close(), b.Close()
		<-sb.Done()
		if cb.Stats().Streams != 0 || sb.Stats().Streams != 0 {
			t.Error("streams outlive their connection")
		}
	})
}

func TestStreamCap(t *testing.T) {
	c, s := tcp(t)
	got := make(chan broker.Stream, 3)
	cb, sb := pair(t, c, s, broker.Config{},
		broker.Config{Root: claimer(got), Limits: broker.Limits{Streams: 3}})
	var ends []broker.Stream
	for range 3 {
		a, b := streamPair(t, cb, got)
		ends = append(ends, a, b)
	}
	for _, b := range []*broker.Broker{cb, sb} {
		if _, err := b.OpenStream(t.Context()); !errors.Is(err, broker.ErrTooManyStreams) {
			t.Errorf("OpenStream over the cap = %v", err)
		}
	}
	for _, e := range ends {
		_ = e.Close()
	}
	noStreams(t, cb, sb)
	a, b := streamPair(t, cb, got)
	_, _ = a.Close(), b.Close()
}

func TestStreamUnclaimed(t *testing.T) {
	c, s := tcp(t)
	cb, sb := pair(t, c, s, broker.Config{},
		broker.Config{Root: echo(), Limits: broker.Limits{Handshake: 50 * time.Millisecond}})
	a, err := cb.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, broker.ErrStreamReset) {
		t.Errorf("Read of a stream that nobody claims = %v", err)
	}
	_ = a.Close()
	noStreams(t, cb, sb)
	if sb.Err() != nil {
		t.Error(sb.Err())
	}
}

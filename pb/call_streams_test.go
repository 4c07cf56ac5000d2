package pb_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// source is endless, or waits for ever, and counts how often it is closed.
type source struct {
	quiet  chan struct{} // if not nil, Read waits for it to be closed
	closed atomic.Int32
	gone   chan struct{} // closed with the first Close
}

func newSource(quiet bool) *source {
	s := &source{gone: make(chan struct{})}
	if quiet {
		s.quiet = make(chan struct{})
	}
	return s
}

func (s *source) Read(p []byte) (int, error) {
	if s.quiet != nil {
		<-s.gone
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func (s *source) Close() error {
	if s.closed.Add(1) == 1 {
		close(s.gone)
	}
	return nil
}

// sink counts how often it is closed, and with what.
type sink struct {
	closed atomic.Int32
	err    error
	gone   chan struct{}
}

func newSink() *sink { return &sink{gone: make(chan struct{})} }

func (*sink) Write(p []byte) (int, error) { return len(p), nil }

func (s *sink) CloseWithError(err error) error {
	if s.closed.Add(1) == 1 {
		s.err = err
		close(s.gone)
	}
	return nil
}

type streamUser struct {
	pb.Referenceable
	began chan struct{}
	ended chan error
	turns atomic.Int32
}

func (u *streamUser) RemoteRead(ctx context.Context, r io.Reader) error {
	select {
	case u.began <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err() // nobody waits for it any more
	}
	_, err := io.Copy(io.Discard, r)
	u.ended <- err
	return err
}

func (u *streamUser) RemoteWrite(_ context.Context, w io.Writer) error {
	u.began <- struct{}{}
	for {
		if _, err := w.Write(make([]byte, 10<<10)); err != nil {
			u.ended <- err
			return err
		}
	}
}

func (*streamUser) RemoteIgnore(context.Context, any) error { return nil }

func (*streamUser) RemoteFail(context.Context, any) error { return errOdd }

func (*streamUser) RemoteNumber(context.Context, int) error { return nil }

func (u *streamUser) RemoteTurn(context.Context) error {
	u.turns.Add(1)
	return nil
}

func (u *streamUser) RemoteGive(context.Context) (io.Reader, error) {
	s := newSource(false)
	go func() {
		<-s.gone
		u.ended <- nil
	}()
	return pb.Reader(s), nil
}

// TestStreamsOfRefusedCallsEnd: more calls than there may be streams, each refused or done without
// a look at its streams.
func TestStreamsOfRefusedCallsEnd(t *testing.T) {
	for _, method := range []string{"noSuch", "number", "ignore", "fail"} {
		for _, quiet := range []bool{false, true} {
			c := sockets(t, &pb.Node{}, &pb.Node{Root: &streamUser{}})
			rounds := 100
			if testing.Short() {
				rounds = 40 // of two streams each: more than there may be at once
			}
			for range rounds {
				from, to := newSource(quiet), newSink()
				for _, arg := range []any{pb.Reader(from), pb.Writer(to)} {
					_, err := pb.Do[any](t.Context(), c.Root(), method, arg)
					if errors.Is(err, pb.ErrTooManyStreams) ||
						(err == nil) != (method == "ignore") {
						t.Fatalf("%s = %v", method, err)
					}
				}
				<-from.gone
				<-to.gone
				if to.err == nil ||
					errors.Is(to.err, io.EOF) && !errors.Is(to.err, io.ErrUnexpectedEOF) {
					t.Fatalf("%s: the writer ended with %v", method, to.err)
				}
			}
			noStreams(t, c)
		}
	}
}

// noStreams waits until no stream is left.
func noStreams(t *testing.T, conns ...*pb.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for {
		n := 0
		for _, c := range conns {
			if err := c.Sync(ctx); err != nil {
				t.Fatalf("%d streams are left: %v", n, err)
			}
			n += c.Stats().Streams
		}
		if n == 0 {
			return
		}
		runtime.Gosched()
	}
}

// TestStreamsEndWithTheirCall: a call that is given up ends what it sent, on both sides, and nobody
// takes what has come for the whole.
func TestStreamsEndWithTheirCall(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		u := &streamUser{began: make(chan struct{}), ended: make(chan error, 1)}
		c := sockets(t, &pb.Node{}, &pb.Node{Root: u})
		for i := range 70 {
			for _, deadline := range []bool{false, i%10 == 0} {
				ctx, cancel := context.WithCancel(t.Context())
				want := context.Canceled
				if deadline {
					ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
					want = context.DeadlineExceeded
				}
				from := newSource(quiet)
				d := pb.Call[any](ctx, c.Root(), "read", pb.Reader(from))
				select {
				case <-u.began:
				case <-d.Done(): // the deadline was faster
					cancel()
					<-from.gone
					continue
				}
				if !deadline {
					cancel()
				}
				err := <-u.ended
				if !errors.Is(err, want) && !(deadline && errors.Is(err, context.Canceled)) {
					t.Fatalf("the method's io.Copy ended with %v, want %v", err, want)
				}
				<-from.gone
				_, _ = d.Wait(t.Context())
				cancel()
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		to := newSink()
		d := pb.Call[any](ctx, c.Root(), "write", pb.Writer(to))
		<-u.began
		cancel()
		if err := <-u.ended; !errors.Is(err, context.Canceled) {
			t.Fatalf("Write ended with %v", err)
		}
		<-to.gone
		if to.err == nil || to.closed.Load() != 1 {
			t.Fatalf("the sink was closed %d times, with %v", to.closed.Load(), to.err)
		}
		_, _ = d.Wait(t.Context())
		noStreams(t, c)
	}
}

// TestStreamsOfResultsNobodyTakes: their sources are closed.
func TestStreamsOfResultsNobodyTakes(t *testing.T) {
	u := &streamUser{ended: make(chan error, 1)}
	c := sockets(t, &pb.Node{}, &pb.Node{Root: u})
	for range 100 {
		if _, err := pb.Do[int](t.Context(), c.Root(), "give"); err == nil {
			t.Fatal("a stream is a number")
		}
		<-u.ended //nolint:errcheck // that it has ended
		if _, err := pb.Do[struct{}](t.Context(), c.Root(), "give"); err != nil {
			t.Fatal(err)
		}
		<-u.ended //nolint:errcheck // that it has ended
	}
	noStreams(t, c)
}

// TestStreamsEndTurns: a method that waits in a stream keeps nobody waiting.
func TestStreamsEndTurns(t *testing.T) {
	type serialUser struct {
		streamUser
		pb.Serial
	}
	plain := streamUser{began: make(chan struct{}), ended: make(chan error, 1)}
	for name, root := range map[string]any{
		"plain":  &streamUser{began: plain.began, ended: plain.ended},
		"serial": &serialUser{streamUser: streamUser{began: plain.began, ended: plain.ended}},
	} {
		t.Run(name, func(t *testing.T) {
			c := sockets(t, &pb.Node{}, &pb.Node{Root: root})
			for _, method := range []string{"read", "write"} {
				ctx, cancel := context.WithCancel(t.Context())
				var arg any = pb.Reader(newSource(true))
				if method == "write" {
					_, w := io.Pipe() // nobody reads
					arg = pb.Writer(w)
				}
				d := pb.Call[any](ctx, c.Root(), method, arg)
				<-plain.began
				if _, err := pb.Do[any](t.Context(), c.Root(), "turn"); err != nil {
					t.Fatal(err)
				}
				cancel()
				<-plain.ended //nolint:errcheck // that it has ended
				_, _ = d.Wait(t.Context())
			}
		})
	}
}

// TestReleaseIsSoonTold: on a connection on which nothing else happens the peer learns at once of a
// Release, and soon of what the collector took.
func TestReleaseIsSoonTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := pbtest.Join(t, &pb.Node{}, &pb.Node{Root: &picky{}})
		r, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "make")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := s.Stats().Exports; n != 1 {
			t.Fatalf("%d objects are lent", n)
		}
		r.Release()
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if n := s.Stats().Exports; n != 0 {
			t.Errorf("%d objects are lent 100 ms after Release", n)
		}
	})
	t.Run("collected", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			quiet := pb.Limits{Keepalive: 24 * time.Hour} // nothing else is said
			c, s := pbtest.Join(t, &pb.Node{Limits: quiet}, &pb.Node{Root: &picky{}, Limits: quiet})
			if _, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "make"); err != nil {
				t.Fatal(err)
			}
			for range 100 {
				runtime.GC() // what cleans up after it runs a moment later, outside of the bubble
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if s.Stats().Exports == 0 {
					return
				}
			}
			t.Error("the object is lent still")
		})
	})
}

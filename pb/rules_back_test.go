package pb_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// lounge is where guests wait in each way that there is, and then take a place for a while.
type lounge struct {
	pb.Referenceable
	pb.Concurrent
	open    *pb.Deferred[string]
	stay    time.Duration
	coming  atomic.Int64 // before the wait
	inside  atomic.Int64 // after the wait
	most    atomic.Int64 // of inside, ever
	friends *clique
}

// clique are guests of one Serial object.
type clique struct {
	pb.Referenceable
	pb.Concurrent
	pb.Serial
	lounge *lounge
}

func newLounge(stay time.Duration) *lounge {
	h := &lounge{open: pb.NewDeferred[string](nil), stay: stay}
	h.friends = &clique{lounge: h}
	return h
}

// visit counts the calls that are inside.
func (h *lounge) visit() {
	n := h.inside.Add(1)
	for {
		most := h.most.Load()
		if n <= most || h.most.CompareAndSwap(most, n) {
			break
		}
	}
	if h.stay > 0 {
		time.Sleep(h.stay)
	}
	h.inside.Add(-1)
}

func (h *lounge) RemoteDeferred(ctx context.Context) error {
	h.coming.Add(1)
	_, err := h.open.Wait(ctx)
	h.visit()
	return err
}

func (h *lounge) RemoteCall(ctx context.Context, on *pb.RemoteReference) error {
	h.coming.Add(1)
	_, err := pb.Do[any](ctx, on, "hold")
	h.visit()
	return err
}

func (h *lounge) RemoteRead(_ context.Context, r io.Reader) error {
	h.coming.Add(1)
	_, err := io.ReadAll(r)
	h.visit()
	return err
}

func (h *lounge) RemoteFriends(context.Context) (*clique, error) { return h.friends, nil }

func (h *lounge) RemoteEcho(_ context.Context, s string) (string, error) {
	h.visit()
	return s, nil
}

func (f *clique) RemoteDeferred(ctx context.Context) error { return f.lounge.RemoteDeferred(ctx) }

// Methods that have waited, however many go on together, run no more at once than
// Limits.Handlers says, in each way to wait, and all of them finish.
func TestMethodThatHasWaitedTakesAPermit(t *testing.T) {
	const handlers = 16
	for _, c := range []struct {
		name  string
		calls int
		call  func(
			ctx context.Context, root, friends *pb.RemoteReference, at *hand,
		) *pb.Deferred[any]
		end error
	}{
		{"a Deferred", 1000,
			func(ctx context.Context, root, _ *pb.RemoteReference, _ *hand) *pb.Deferred[any] {
				return pb.Call[any](ctx, root, "deferred")
			}, nil},
		{"an answer", 1000,
			func(ctx context.Context, root, _ *pb.RemoteReference, at *hand) *pb.Deferred[any] {
				return pb.Call[any](ctx, root, "call", at)
			}, nil},
		{"a byte stream", 60,
			func(ctx context.Context, root, _ *pb.RemoteReference, at *hand) *pb.Deferred[any] {
				return pb.Call[any](ctx, root, "read",
					pb.Reader(io.MultiReader(heldReader{at}, strings.NewReader("x"))))
			}, nil},
		{"a Deferred, in a Serial object", 300,
			func(ctx context.Context, _, friends *pb.RemoteReference, _ *hand) *pb.Deferred[any] {
				return pb.Call[any](ctx, friends, "deferred")
			}, nil},
		{"a Deferred, until the call is given up", 1000,
			func(ctx context.Context, root, _ *pb.RemoteReference, _ *hand) *pb.Deferred[any] {
				return pb.Call[any](ctx, root, "deferred")
			}, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pbtest.NoLeaks(t)
				h, at := newLounge(time.Millisecond), newHand()
				server := &pb.Node{Root: h, Logger: silent()}
				server.Limits.Handlers = handlers
				conn, s := pbtest.Join(t, &pb.Node{Logger: silent()}, server)
				friends, err := pb.Do[*pb.RemoteReference](t.Context(), conn.Root(), "friends")
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				all := make([]*pb.Deferred[any], c.calls)
				for i := range all {
					all[i] = c.call(ctx, conn.Root(), friends, at)
				}
				synctest.Wait()
				if n := h.coming.Load(); n != int64(c.calls) || h.inside.Load() != 0 {
					t.Fatalf("%d of %d wait, %d go on", n, c.calls, h.inside.Load())
				}
				if c.end != nil {
					cancel()
				} else {
					close(at.open)
					h.open.Callback("")
				}
				for i, d := range all {
					if _, err := d.Wait(t.Context()); !errors.Is(err, c.end) {
						t.Fatalf("call %d: %v, want %v", i, err, c.end)
					}
				}
				time.Sleep(time.Duration(c.calls) * h.stay) // those that were given up
				synctest.Wait()
				if n := h.most.Load(); n > handlers || n < 1 {
					t.Errorf("%d methods run at once, want %d at most", n, handlers)
				}
				if n := s.Stats().Handlers; n != 0 || h.inside.Load() != 0 {
					t.Errorf("%d handlers are left, %d run", n, h.inside.Load())
				}
			})
		})
	}
}

// heldReader reads nothing until its hand opens.
type heldReader struct{ *hand }

func (h heldReader) Read([]byte) (int, error) {
	<-h.open
	return 0, io.EOF
}

// The same over sockets, where quick methods run on the reader until they wait.
func TestMethodThatHasWaitedTakesAPermitOverSockets(t *testing.T) {
	var s *pb.Conn
	t.Cleanup(func() { // once NoLeaks has seen the last method return, which has answered before
		if s != nil {
			if n := s.Stats().Handlers; n != 0 {
				t.Errorf("%d handlers are left", n)
			}
		}
	})
	pbtest.NoLeaks(t)
	h := newLounge(0)
	server, client := &pb.Node{Root: h, Logger: silent()}, &pb.Node{Logger: silent()}
	server.Limits.Handlers = 8
	defer server.Close() //nolint:errcheck // it never fails
	defer client.Close() //nolint:errcheck // it never fails
	var conn *pb.Conn
	conn, s = overSocket(t, client, server, "unix", filepath.Join(t.TempDir(), "s"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 3 {
		at := newHand()
		var all []*pb.Deferred[any]
		for range 1000 {
			all = append(all, pb.Call[any](ctx, conn.Root(), "call", at))
		}
		close(at.open) // calls wait, come and go on beside each other
		for i, d := range all {
			if _, err := d.Wait(ctx); err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
		}
	}
	if n := h.most.Load(); n > 8+1 { // the reader runs one
		t.Errorf("%d methods run at once", n)
	}
}

// A call that has waited goes on before calls that have not begun.
func TestWhoHasWaitedGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pbtest.NoLeaks(t)
		h := newLounge(time.Second)
		server := &pb.Node{Root: h, Logger: silent()}
		server.Limits.Handlers = 2
		conn, _ := pbtest.Join(t, &pb.Node{Logger: silent()}, server)
		begin := time.Now()
		guests := make([]*pb.Deferred[any], 6)
		for i := range guests {
			guests[i] = pb.Call[any](t.Context(), conn.Root(), "deferred")
		}
		synctest.Wait()
		calls := make([]*pb.Deferred[string], 20)
		for i := range calls {
			calls[i] = pb.Call[string](t.Context(), conn.Root(), "echo", "hi")
		}
		synctest.Wait()
		h.open.Callback("") // two of the calls run
		for i, d := range guests {
			if _, err := d.Wait(t.Context()); err != nil || time.Since(begin) > 4*time.Second {
				t.Errorf("guest %d: %v after %v", i, err, time.Since(begin))
			}
		}
		for i, d := range calls {
			if s, err := d.Wait(t.Context()); s != "hi" || err != nil {
				t.Errorf("call %d: %q, %v", i, s, err)
			}
		}
	})
}

// lodge has methods that wait for others in a way that the package does not see.
type lodge struct {
	pb.Referenceable
	pb.Concurrent
	room chan struct{}
	open *pb.Deferred[string]
}

func (l *lodge) RemoteEnter(ctx context.Context) error {
	_, err := l.open.Wait(ctx)
	l.room <- struct{}{}
	return err
}

// RemoteSit waits for a call of RemoteEnter.
func (l *lodge) RemoteSit(context.Context) error {
	<-l.room
	return nil
}

// Where those that have all the room wait for one that has waited, it goes on after
// Limits.HeldTurn, and the log has a line.
func TestWhoHasWaitedIsNotStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pbtest.NoLeaks(t)
		l := &lodge{room: make(chan struct{}), open: pb.NewDeferred[string](nil)}
		logs := new(logged)
		server := &pb.Node{Root: l, Logger: logs.logger()}
		server.Limits.Handlers, server.Limits.HeldTurn = 2, 3*time.Second
		conn, s := pbtest.Join(t, &pb.Node{Logger: silent()}, server)
		begin := time.Now()
		var all []*pb.Deferred[any]
		for range 2 {
			all = append(all, pb.Call[any](t.Context(), conn.Root(), "enter"))
		}
		synctest.Wait()
		for range 2 {
			all = append(all, pb.Call[any](t.Context(), conn.Root(), "sit"))
		}
		synctest.Wait()
		l.open.Callback("")
		time.Sleep(3*time.Second - 1)
		synctest.Wait()
		if n := s.Stats().Handlers; n != 2 {
			t.Errorf("%d run, want 2", n)
		}
		for i, d := range all {
			if _, err := d.Wait(t.Context()); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
		if d := time.Since(begin); d < 3*time.Second || d > 12*time.Second {
			t.Errorf("all have gone on after %v", d)
		}
		synctest.Wait()
		if !strings.Contains(logs.String(), "keep all the room") {
			t.Errorf("the log says %q", logs.String())
		}
	})
}

// Those that have waited all go on when the connection ends.
func TestWhoHasWaitedGoesOnAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pbtest.NoLeaks(t)
		h := newLounge(time.Hour)
		server := &pb.Node{Root: h, Logger: silent()}
		server.Limits.Handlers, server.Limits.HeldTurn = 2, 10*time.Hour
		conn, _ := pbtest.Join(t, &pb.Node{Logger: silent()}, server)
		for range 20 {
			pb.Call[any](t.Context(), conn.Root(), "deferred")
		}
		synctest.Wait()
		h.open.Callback("")
		synctest.Wait()
		if n := h.inside.Load(); n != 2 {
			t.Errorf("%d methods run, want 2", n)
		}
		_ = conn.Close()
		synctest.Wait()
		if n := h.inside.Load(); n != 20 {
			t.Errorf("%d methods have gone on at the end, want 20", n)
		}
		time.Sleep(h.stay)
	})
}

package pb_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"perspective/cred"
	"perspective/pb"
	"perspective/pb/pbtest"
)

// logLines keep what is logged.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Where nobody has to log in, connections of one address that come faster than they are set up
// wait for each other: none is lost, and none is said not to be logged in.
func TestBurstsOfOneAddress(t *testing.T) {
	for _, scheme := range []string{"pb+tcp", "pb"} {
		t.Run(scheme, func(t *testing.T) {
			pbtest.NoLeaks(t)
			var log logLines
			node := &pb.Node{Root: &echoes{}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
			node.Limits.Unauthenticated = 2
			url := serve(t, node, scheme+"://127.0.0.1:0")
			client := &pb.Node{Logger: silent()}
			defer client.Close() //nolint:errcheck // the end of the test
			times := 25
			if testing.Short() {
				times = 5
			}
			var dialers sync.WaitGroup
			for range 8 {
				dialers.Go(func() {
					for range times {
						c, err := client.Dial(t.Context(), url)
						if err != nil {
							t.Errorf("Dial = %v", err)
							return
						}
						if s, err := pb.Do[string](t.Context(), c.Root(),
							"echo", "hi"); s != "hi" || err != nil {
							t.Errorf("echo = %q, %v", s, err)
						}
						_ = c.Close()
					}
				})
			}
			dialers.Wait()
			if s := log.String(); strings.Contains(s, "refused") {
				t.Errorf("the log says\n%s", s)
			}
		})
	}
}

// Limits.Backlog is how many wait, and what comes over it is told so in the log.
func TestBacklog(t *testing.T) {
	pbtest.NoLeaks(t)
	var log logLines
	asked, open := make(chan struct{}, 9), make(chan struct{})
	node := &pb.Node{Root: &echoes{}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Allow: func(ctx context.Context, _ *cred.Peer) error {
			asked <- struct{}{}
			select {
			case <-open:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
	node.Limits.Unauthenticated, node.Limits.Backlog = 1, 1
	url := serve(t, node, "pb+tcp://127.0.0.1:0")
	client := &pb.Node{Logger: silent()}
	defer client.Close() //nolint:errcheck // the end of the test
	answers := make(chan error, 3)
	ask := func() {
		c, err := client.Dial(t.Context(), url)
		if err == nil {
			_, err = pb.Do[string](t.Context(), c.Root(), "echo", "hi")
		}
		answers <- err
	}
	go ask() // ends with its answer
	<-asked
	go ask()
	go ask()
	if err := <-answers; err == nil { // one of the two waits, the other has no place
		t.Error("a connection over Limits.Backlog was served")
	}
	if s := log.String(); !strings.Contains(s, "too many of this address wait to be set up") ||
		strings.Contains(s, "logged in") {
		t.Errorf("the log says\n%s", s)
	}
	close(open)
	for range 2 {
		if err := <-answers; err != nil {
			t.Errorf("a connection that waited: %v", err)
		}
	}
}

// Those that wait are closed with their node.
func TestBacklogEnds(t *testing.T) {
	pbtest.NoLeaks(t)
	asked := make(chan struct{}, 1)
	node := &pb.Node{Logger: silent(), Allow: func(ctx context.Context, _ *cred.Peer) error {
		asked <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}
	node.Limits.Unauthenticated, node.Limits.Login = 1, 200*time.Millisecond
	ln, err := node.Listen("pb+tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- node.Serve(ln) }() // ends with the node
	dial := func() net.Conn {
		nc, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
	first, second := dial(), dial()
	defer first.Close()  //nolint:errcheck // the end of the test
	defer second.Close() //nolint:errcheck // the end of the test
	<-asked
	_ = node.Close()
	if err := <-served; !errors.Is(err, pb.ErrNodeClosed) {
		t.Errorf("Serve = %v, want ErrNodeClosed", err)
	}
	for _, nc := range []net.Conn{first, second} {
		_ = nc.SetReadDeadline(time.Now().Add(time.Minute))
		// What was said before the end may be there, as that the login took too long.
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("a connection of a node that is closed lives")
		}
	}
}

// acceptor accepts connections over TCP and attaches them itself.
type acceptor struct {
	ln   net.Listener
	node *pb.Node
}

func attaching(t *testing.T, node *pb.Node) *acceptor {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close(); _ = node.Close() })
	return &acceptor{ln, node}
}

// one makes a connection; dialed is its other end.
//
//nolint:revive // ctx is what differs
func (a *acceptor) one(t *testing.T, ctx context.Context) (dialed net.Conn, c *pb.Conn, err error) {
	t.Helper()
	dialed, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", a.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialed.Close() })
	nc, err := a.ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err = a.node.Attach(ctx, nc, pb.Acceptor)
	return dialed, c, err
}

// What a program attaches counts among the strangers of its address, and is refused where those
// that Serve accepts would be.
func TestAttachedStrangers(t *testing.T) {
	pbtest.NoLeaks(t)
	node, _ := door()
	node.Limits.Unauthenticated = 1
	a := attaching(t, node)
	_, first, err := a.one(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dialed, _, err := a.one(t, t.Context())
	if !errors.Is(err, pb.ErrOverloaded) || !strings.Contains(err.Error(), "not logged in") {
		t.Errorf("Attach of a stranger over Limits.Unauthenticated = %v, want ErrOverloaded", err)
	}
	if _, err := dialed.Read(make([]byte, 1)); err == nil {
		t.Error("a connection that was refused lives")
	}
	_ = first.Close()
	for deadline := time.Now().Add(time.Minute); ; {
		if _, _, err = a.one(t, t.Context()); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a stranger left and no other gets in: %v", err)
		}
	}
	_ = node.Close()
	if _, _, err := a.one(t, t.Context()); !errors.Is(err, pb.ErrNodeClosed) {
		t.Errorf("Attach to a closed node = %v, want ErrNodeClosed", err)
	}
}

// Where nobody has to log in, what is attached waits until others of its address are set up, or
// until its ctx or the node has ended.
func TestAttachedWait(t *testing.T) {
	pbtest.NoLeaks(t)
	asked, open := make(chan struct{}, 9), make(chan struct{})
	node := &pb.Node{Root: &echoes{}, Logger: silent(),
		Allow: func(ctx context.Context, _ *cred.Peer) error {
			asked <- struct{}{}
			select {
			case <-open:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
	node.Limits.Unauthenticated = 1
	a := attaching(t, node)
	results := make(chan error, 3)
	attach := func(ctx context.Context) {
		_, _, err := a.one(t, ctx)
		results <- err
	}
	go attach(t.Context()) // ends with its result
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := a.one(t, ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Attach whose ctx has ended, while others are set up = %v, want Canceled", err)
	}
	go attach(t.Context())
	select {
	case <-asked:
		t.Error("two are set up at once, Limits.Unauthenticated being 1")
	case <-time.NewTimer(20 * time.Millisecond).C:
	}
	close(open)
	for range 2 {
		if err := <-results; err != nil {
			t.Errorf("Attach = %v", err)
		}
	}
}

// Those that wait when their node is closed are told so.
func TestAttachedEnd(t *testing.T) {
	pbtest.NoLeaks(t)
	asked := make(chan struct{}, 9)
	node := &pb.Node{Logger: silent(), Allow: func(ctx context.Context, _ *cred.Peer) error {
		asked <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}
	node.Limits.Unauthenticated, node.Limits.Login = 1, 300*time.Millisecond
	a := attaching(t, node)
	results := make(chan error, 2)
	attach := func() {
		_, _, err := a.one(t, t.Context())
		results <- err
	}
	go attach() // ends with its result
	<-asked
	go attach()
	_ = node.Close()
	if err := errors.Join(<-results, <-results); !errors.Is(err, pb.ErrNodeClosed) ||
		!errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Attach of a node that is closed = %v, want ErrNodeClosed, and a "+
			"DeadlineExceeded for Limits.Login", err)
	}
}

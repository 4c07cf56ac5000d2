package pb_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
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
			var dialers sync.WaitGroup
			for range 8 {
				dialers.Go(func() {
					for range 25 {
						c, err := client.Dial(t.Context(), url)
						if err != nil {
							t.Errorf("Dial = %v", err)
							return
						}
						if s, err := pb.Do[string](t.Context(), c.Root(), "echo", "hi"); s != "hi" || err != nil {
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
	node := &pb.Node{Root: &echoes{}, Logger: slog.New(slog.NewTextHandler(&log, nil)), Allow: func(ctx context.Context, _ *cred.Peer) error {
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
	if s := log.String(); !strings.Contains(s, "too many of this address wait to be set up") || strings.Contains(s, "logged in") {
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
		if _, err := nc.Read(make([]byte, 1)); err == nil {
			t.Error("a connection of a node that is closed lives")
		}
	}
}

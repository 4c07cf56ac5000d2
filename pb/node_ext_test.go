package pb_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// The zero Node serves nothing, and can dial and call.
func TestZeroNode(t *testing.T) {
	server := &pb.Node{Root: &echoes{}, Logger: silent()}
	url := serve(t, server, "pb://127.0.0.1:0")
	var zero pb.Node
	defer zero.Close() //nolint:errcheck // the end of the test
	if err := says(t, &zero, url); err != nil {
		t.Errorf("dialing: %v", err)
	}
	nothing := serve(t, &pb.Node{}, "pb+tcp://127.0.0.1:0")
	if err := says(t, &zero, nothing); !errors.Is(err, pb.ErrNoRoot) {
		t.Errorf("serving: %v", err)
	}
	c, err := zero.Dial(t.Context(), nothing)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Login(t.Context(), ann(), nil); err == nil {
		t.Error("logged in where there is no portal")
	}
}

// A root that cannot be called ends Serve, and nobody listens any more.
func TestServeOfNoRoot(t *testing.T) {
	node := dialer(t, &pb.Node{Root: echoes{}}) // no pointer
	ln, err := node.Listen("pb+tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Serve(ln); err == nil || errors.Is(err, pb.ErrNodeClosed) {
		t.Errorf("Serve = %v", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("afterwards, Accept = %v", err)
	}
}

// Shutdown lets calls under way be answered, and refuses new ones.
func TestShutdownIsOrderly(t *testing.T) {
	for _, whose := range []string{"server", "client"} {
		t.Run(whose, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				d.open = make(chan struct{})
				client, server := &pb.Node{Logger: silent()}, &pb.Node{Root: d, Logger: silent()}
				c, s := pbtest.Join(t, client, server)
				under := pb.Call[any](t.Context(), c.Root(), "onChannel")
				synctest.Wait()
				node := server
				if whose == "client" {
					node = client
				}
				down := make(chan error)
				go func() { down <- node.Shutdown(t.Context()) }() // ends with the call
				synctest.Wait()
				if _, err := pb.Do[any](t.Context(), c.Root(), "mark", "late"); !errors.Is(
					err, pb.ErrGoingAway) || pb.OutcomeOf(err) != pb.NotExecuted {
					t.Errorf("a call during Shutdown: %v, %v", err, pb.OutcomeOf(err))
				}
				select {
				case err := <-down:
					t.Fatalf("Shutdown did not wait: %v", err)
				default:
				}
				close(d.open)
				if _, err := under.Wait(t.Context()); err != nil {
					t.Errorf("the call under way: %v", err)
				}
				if err := <-down; err != nil {
					t.Errorf("Shutdown = %v", err)
				}
				<-c.Done()
				<-s.Done()
			})
		})
	}
}

func TestShutdownCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &pb.Node{Root: newClockwork(), Logger: silent()}
		c, _ := pbtest.Join(t, &pb.Node{Logger: silent()}, server)
		d := pb.Call[any](t.Context(), c.Root(), "linger")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v", err)
		}
		if _, err := d.Wait(t.Context()); !errors.Is(err, pb.ErrPeerClosed) ||
			pb.OutcomeOf(err) != pb.MaybeExecuted {
			t.Errorf("the call that was cut off: %v, %v", err, pb.OutcomeOf(err))
		}
	})
}

// stdio is a child's standard input and output.
type stdio struct {
	io.Reader
	io.WriteCloser
}

const childVariable = "PB_TEST_CHILD"

// children are other programs that the test binary can be, by the value of the variable.
var children = make(map[string]func() error)

// TestMain makes the test binary a child that serves its standard input and
// output, if it is told to.
func TestMain(m *testing.M) {
	switch child := children[os.Getenv(childVariable)]; {
	case child != nil:
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	case os.Getenv(childVariable) == "":
		os.Exit(m.Run())
	}
	node := &pb.Node{Root: &echoes{}}
	c, err := node.Attach(context.Background(),
		stdio{bufio.NewReader(os.Stdin), os.Stdout}, pb.Acceptor)
	if err != nil {
		os.Exit(1)
	}
	<-c.Done()
}

func TestAttachChild(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	node := dialer(t, &pb.Node{})
	c, err := node.Attach(t.Context(), stdio{out, in}, pb.Dialer)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := pb.Do[string](t.Context(), c.Root(), "echo", "child"); s != "child" || err != nil {
		t.Errorf("echo = %q, %v", s, err)
	}
	_ = c.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the child, whose input ended: %v", err)
	}
}

type ctxKey struct{}

// contextual tells what is in its ctx.
type contextual struct{ pb.Referenceable }

func (*contextual) RemoteValue(ctx context.Context) (string, error) {
	s, _ := ctx.Value(ctxKey{}).(string)
	return s + " " + pb.ConnFrom(ctx).String(), nil
}

func TestConnContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var once int
		server := &pb.Node{Root: &contextual{},
			ConnContext: func(ctx context.Context, _ *pb.Conn) context.Context {
				once++
				return context.WithValue(ctx, ctxKey{}, "added")
			}}
		c, s := pbtest.Join(t, &pb.Node{}, server)
		for range 2 {
			if got, err := pb.Do[string](t.Context(), c.Root(), "value"); got != "added "+
				s.String() || err != nil {
				t.Errorf("value = %q, %v", got, err)
			}
		}
		if once != 1 {
			t.Errorf("ConnContext ran %d times", once)
		}
	})
}

// Interceptors see each call, may change its result, and may refuse it.
func TestInterceptorsSeeCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []string
		server := &pb.Node{Root: &mirror{}, Around: func(
			ctx context.Context, call *pb.CallInfo, next func(context.Context) (any, error),
		) (any, error) {
			if args := call.Args(); len(args) == 1 && args[0] == "forbidden" {
				return nil, errOdd
			}
			v, err := next(ctx)
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, call.Method)
			if v == "change me" {
				v = "changed"
			}
			return v, err
		}}
		c, _ := pbtest.Join(t, &pb.Node{}, server)
		ctx := t.Context()
		if _, err := pb.Do[string](ctx, c.Root(), "any", "forbidden"); !errors.Is(err, errOdd) ||
			pb.OutcomeOf(err) != pb.NotExecuted {
			t.Errorf("refused = %v, %v", err, pb.OutcomeOf(err))
		}
		if s, err := pb.Do[string](ctx, c.Root(), "any", "change me"); s != "changed" ||
			err != nil {
			t.Errorf("changed = %q, %v", s, err)
		}
		item, err := pb.Do[*pb.RemoteReference](ctx, c.Root(), "item")
		if err != nil {
			t.Fatal(err)
		}
		if err := item.Send(ctx, "mark", 1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if want := []string{"Any", "Item", "Mark"}; !slices.Equal(seen, want) {
			t.Errorf("seen %q, want %q", seen, want)
		}
	})
}

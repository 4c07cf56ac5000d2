package cluster_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"perspective/pb"
	"perspective/pb/cluster"
)

// childEnv holds the member to join in a process that is a provider, keyEnv its
// key file; empty: it has a key of its own.
const (
	childEnv = "CLUSTER_TEST_JOIN"
	keyEnv   = "CLUSTER_TEST_KEY"
)

func TestMain(m *testing.M) {
	if seed := os.Getenv(childEnv); seed != "" {
		if err := provide(seed); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// process is a service that says which process it is in.
type process struct {
	pb.Referenceable
	pb.Concurrent
}

func (*process) RemoteName(context.Context) (int, error) { return os.Getpid(), nil }

// RemoteHang tells that it has begun by calling the one that it was given.
func (*process) RemoteHang(ctx context.Context, begun *pb.RemoteReference) error {
	if _, err := pb.Do[any](ctx, begun, "begun"); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// provide is a whole program: a provider that lives as long as its standard
// input.
func provide(seed string) error {
	c := (&cluster.Cluster{GossipKey: gossipKey, Join: []string{seed}}).Hurry()
	if file := os.Getenv(keyEnv); file != "" {
		key, err := pb.LoadKey(file)
		if err != nil {
			return err
		}
		c.Node = &pb.Node{Key: key}
		defer func() { _ = c.Node.Close() }()
	}
	if err := c.Register("who", &process{}); err != nil {
		return err
	}
	if err := c.Start(context.Background()); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return c.Close()
}

// a beginning is told when a call has begun.
type beginning struct {
	pb.Referenceable
	begun chan struct{}
}

func (b *beginning) RemoteBegun(context.Context) error {
	close(b.begun)
	return nil
}

// children are processes that provide the service who.
type children struct {
	t    *testing.T
	ctx  context.Context
	seed string
	key  string // a file; empty: each has a key of its own
	kill map[int]func()
}

func spawner(ctx context.Context, t *testing.T, caller part) *children {
	return &children{t: t, ctx: ctx, seed: caller.Addr(), kill: make(map[int]func())}
}

// spawn starts one, and gives its process id.
func (c *children) spawn() int {
	c.t.Helper()
	cmd := exec.CommandContext(c.ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+c.seed, keyEnv+"="+c.key)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	read := make(chan struct{})
	go func() { // ends with the child
		defer close(read)
		for in := bufio.NewScanner(stderr); in.Scan(); {
			_, _ = fmt.Fprintln(c.t.Output(), cmd.Process.Pid, in.Text())
		}
	}()
	kill := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
		_ = stdin.Close()
	})
	c.t.Cleanup(kill)
	c.kill[cmd.Process.Pid] = kill
	return cmd.Process.Pid
}

// TestProcesses kills one provider after the other.
func TestProcesses(t *testing.T) {
	ctx := scene(t)
	caller := start(ctx, t, "", nil)
	children := spawner(ctx, t, caller)
	children.spawn()
	children.spawn()
	caller.providers(ctx, t, 2)
	s := caller.Service("who")
	last := 0
	for range 4 {
		pid, err := pb.Do[int](ctx, s, "name")
		if err != nil {
			t.Fatal(err)
		}
		if pid == last || children.kill[pid] == nil {
			t.Fatalf("process %d answered, after %d was killed", pid, last)
		}
		b := &beginning{begun: make(chan struct{})}
		hanging := pb.Call[any](ctx, s, "hang", b)
		<-b.begun
		children.spawn()
		children.kill[pid]()
		if _, err := hanging.Wait(ctx); err == nil || pb.OutcomeOf(err) != pb.MaybeExecuted {
			t.Errorf("call in flight = %v, %v, want MaybeExecuted", err, pb.OutcomeOf(err))
		}
		last = pid
	}
}

// TestKilledComesBack kills a node again and again, which is back each time with its key, at other
// addresses. Calls that wait find it there by what it says itself: memberlist believes all the time
// that the first one lives.
func TestKilledComesBack(t *testing.T) {
	ctx := scene(t)
	caller := start(ctx, t, "", func(c *cluster.Cluster) { c.NeverDead() })
	children := spawner(ctx, t, caller)
	children.key = filepath.Join(t.TempDir(), "key")
	s := caller.Service("who")
	for range 4 {
		waiting := pb.Call[int](ctx, s, "name")
		pid := children.spawn()
		if got, err := waiting.Wait(ctx); got != pid || err != nil {
			t.Fatalf("call that waited = %d, %v, want %d", got, err, pid)
		}
		ref, err := s.Reference(ctx)
		if err != nil {
			t.Fatal(err)
		}
		children.kill[pid]()
		select { // else the next call could be made over the old connection
		case <-ref.Conn().Done():
		case <-ctx.Done():
			t.Fatal("the connection to a killed process has not ended")
		}
	}
}

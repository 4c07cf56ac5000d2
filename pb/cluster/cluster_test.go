package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"perspective/cred"
	"perspective/pb"
	"perspective/pb/cluster"
	"perspective/pb/pbtest"
)

var gossipKey = bytes.Repeat([]byte("k"), cluster.GossipKeySize)

// A who is a service that answers with its own name, and can be held up.
type who struct {
	pb.Referenceable
	pb.Concurrent
	name  string
	began chan struct{} // one for each call of Hang
	calls atomic.Int64
}

func newWho(name string) *who { return &who{name: name, began: make(chan struct{}, 16)} }

func (w *who) RemoteName(context.Context) (string, error) {
	w.calls.Add(1)
	return w.name, nil
}

func (w *who) RemoteHang(ctx context.Context) error {
	w.calls.Add(1)
	w.began <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

// a part is one node of a cluster under test.
type part struct {
	*cluster.Cluster
	node *pb.Node
}

// die ends a part without a word.
func (p part) die() {
	_ = p.node.Close()
	_ = p.Close()
}

// start makes a node that joins the others by the address of the first alone, and provides a who
// under each of the names.
func start(
	ctx context.Context, t *testing.T, seed string, set func(*cluster.Cluster), services ...*who,
) part {
	t.Helper()
	key, err := pb.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	p := part{&cluster.Cluster{GossipKey: gossipKey}, &pb.Node{Key: key, Logger: logger}}
	p.Node = p.node
	if seed != "" {
		p.Join = []string{seed}
	}
	if set != nil {
		set(p.Cluster)
	}
	for _, w := range services {
		if err := p.Register("who", w); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Hurry().Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.die)
	return p
}

// providers waits until c knows n members that provide who.
func (p part) providers(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	err := p.Until(ctx, func(all []cluster.Member) bool {
		have := 0
		for _, m := range all {
			if slices.Contains(m.Services, "who") || m.Ask {
				have++
			}
		}
		return have == n
	})
	if err != nil {
		t.Fatalf("waiting for %d providers: %v; there are %+v", n, err, p.Members())
	}
}

// scene gives the time that a test has, and checks that nothing is left of it.
func scene(t *testing.T) context.Context {
	t.Helper()
	pbtest.NoLeaks(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func name(ctx context.Context, t *testing.T, on pb.Target) string {
	t.Helper()
	got, err := pb.Do[string](ctx, on, "name")
	if err != nil {
		t.Fatalf("call = %v", err)
	}
	return got
}

func TestFailover(t *testing.T) {
	ctx := scene(t)
	a, b := newWho("a"), newWho("b")
	parts := map[string]part{}
	parts["a"] = start(ctx, t, "", nil, a)
	seed := parts["a"].Addr()
	caller := start(ctx, t, seed, nil)
	parts["b"] = start(ctx, t, seed, nil, b)
	caller.providers(ctx, t, 2)

	s := caller.Service("who")
	first := name(ctx, t, s)
	for range 20 {
		if got := name(ctx, t, s); got != first {
			t.Fatalf("the Target moved from %s to %s without a cause", first, got)
		}
	}
	provider := map[string]*who{"a": a, "b": b}[first]
	hanging := pb.Call[any](ctx, s, "hang")
	<-provider.began
	before := provider.calls.Load()
	parts[first].die()
	if _, err := hanging.Wait(ctx); err == nil || pb.OutcomeOf(err) != pb.MaybeExecuted {
		t.Errorf("call in flight = %v, %v, want MaybeExecuted", err, pb.OutcomeOf(err))
	}
	second := name(ctx, t, s)
	if second == first {
		t.Errorf("the dead %s answered", second)
	}
	if got := a.calls.Load() + b.calls.Load(); got != before+1 {
		t.Errorf("%d calls arrived, want %d: one was made again", got, before+1)
	}
	if other := name(ctx, t, caller.Service("who")); other != second {
		t.Errorf("a new Target reached %s, want %s", other, second)
	}
}

func TestTurns(t *testing.T) {
	ctx := scene(t)
	a := start(ctx, t, "", nil, newWho("a"))
	b := start(ctx, t, a.Addr(), nil, newWho("b"))
	caller := start(ctx, t, a.Addr(), nil)
	caller.providers(ctx, t, 2)
	got := map[string]int{}
	for range 10 {
		got[name(ctx, t, caller.Service("who"))]++
	}
	if got["a"] != 5 || got["b"] != 5 {
		t.Errorf("10 Targets went to %v, want 5 each", got)
	}
	if n := len(caller.node.Conns()); n > 4 { // two opened, and at most one from each
		t.Errorf("%d connections for 10 Targets", n)
	}
	b.providers(ctx, t, 2) // its own among them
	seen := map[string]bool{}
	for range 2 {
		seen[name(ctx, t, b.Service("who"))] = true
	}
	if !seen["a"] || !seen["b"] {
		t.Errorf("a provider itself reached %v, want both", seen)
	}
}

func TestWaits(t *testing.T) {
	ctx := scene(t)
	a := start(ctx, t, "", nil)
	caller := start(ctx, t, a.Addr(), nil)
	s := caller.Service("who")

	short, cancel := context.WithCancel(ctx)
	waiting := pb.Go(ctx,
		func(context.Context) (string, error) { return pb.Do[string](short, s, "name") })
	longer := pb.Go(ctx,
		func(context.Context) (string, error) { return pb.Do[string](ctx, s, "name") })
	cancel()
	_, err := waiting.Wait(ctx)
	if !errors.Is(err, cluster.ErrNoProvider) || !errors.Is(err, context.Canceled) ||
		pb.OutcomeOf(err) != pb.NotExecuted {
		t.Errorf("call without a provider = %v, %v", err, pb.OutcomeOf(err))
	}
	if err := a.Register("who", newWho("a")); err != nil {
		t.Fatal(err)
	}
	if got, err := longer.Wait(ctx); got != "a" || err != nil {
		t.Errorf("call that waited = %q, %v", got, err)
	}
	if err := a.Register("who", newWho("again")); err == nil {
		t.Error("a name was registered twice")
	}
	if err := a.Register("not a name", newWho("a")); err == nil {
		t.Error("a bad name was registered")
	}
}

// TestUnregister shows that a holder of a service moves to another provider when its own takes the
// service back, without a connection having ended.
func TestUnregister(t *testing.T) {
	ctx := scene(t)
	a := start(ctx, t, "", nil, newWho("a"))
	b := start(ctx, t, a.Addr(), nil, newWho("b"))
	caller := start(ctx, t, a.Addr(), nil)
	caller.providers(ctx, t, 2)
	s := caller.Service("who")
	parts := map[string]part{"a": a, "b": b}
	first := name(ctx, t, s)
	parts[first].Unregister("who")
	caller.providers(ctx, t, 1)
	if got := name(ctx, t, s); got == first {
		t.Errorf("%s answered after it took the service back", got)
	}
	if err := parts[first].Register("who", newWho("anew")); err != nil {
		t.Fatal(err)
	}
	caller.providers(ctx, t, 2)
	for range 2 {
		if got := name(ctx, t, caller.Service("who")); got == first {
			t.Errorf("the old object of %s answered", got)
		}
	}
}

// TestLeave shows that callers move away from a member that leaves in order before its node ends.
func TestLeave(t *testing.T) {
	ctx := scene(t)
	a := start(ctx, t, "", nil, newWho("a"))
	b := start(ctx, t, a.Addr(), nil, newWho("b"))
	caller := start(ctx, t, a.Addr(), nil)
	caller.providers(ctx, t, 2)
	s := caller.Service("who")
	parts := map[string]part{"a": a, "b": b}
	first := name(ctx, t, s)
	if err := parts[first].Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	caller.providers(ctx, t, 1)
	if got := name(ctx, t, s); got == first {
		t.Errorf("%s answered after it left", got)
	}
	if err := parts[first].node.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if err := parts[first].Start(ctx); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("Start after Shutdown = %v", err)
	}
	if _, err := pb.Do[string](ctx,
		parts[first].Service("who"), "name"); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("call after Shutdown = %v", err)
	}
}

// TestHintsAlone shows that no gossip ends or moves what works, if there is
// nothing better.
func TestHintsAlone(t *testing.T) {
	ctx := scene(t)
	w := newWho("a")
	a := start(ctx, t, "", nil, w)
	caller := start(ctx, t, a.Addr(), nil)
	caller.providers(ctx, t, 1)
	s := caller.Service("who")
	name(ctx, t, s)
	conns := caller.node.Conns()
	hanging := pb.Call[any](ctx, s, "hang")
	<-w.began
	caller.Forget(a.NodeID())
	if got := name(ctx, t, s); got != "a" {
		t.Errorf("answer from %q", got)
	}
	if _, _, fired := hanging.Result(); fired {
		t.Error("a call in flight failed because of gossip")
	}
	if !slices.Equal(caller.node.Conns(), conns) {
		t.Error("the connection is another one")
	}
	hanging.Cancel()
}

// TestManyServices has more services than the gossip can carry.
func TestManyServices(t *testing.T) {
	ctx := scene(t)
	a := start(ctx, t, "", nil, newWho("a"))
	for i := range 50 {
		if err := a.Register(strings.Repeat("x", 20)+"."+string(rune('A'+i%26))+
			string(rune('a'+i/26)), newWho("x")); err != nil {
			t.Fatal(err)
		}
	}
	b := start(ctx, t, a.Addr(), nil)
	// b must be asked too, and does not have it
	for _, filler := range "ABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		if err := b.Register(strings.Repeat("y", 20)+string(filler), newWho("y")); err != nil {
			t.Fatal(err)
		}
	}
	caller := start(ctx, t, a.Addr(), nil)
	caller.providers(ctx, t, 2)
	for range 2 {
		if got := name(ctx, t, caller.Service("who")); got != "a" {
			t.Errorf("answer from %q", got)
		}
	}
	if got := name(ctx, t, caller.Service(strings.Repeat("x", 20)+".Xb")); got != "x" {
		t.Errorf("answer from %q", got)
	}
	if got := name(ctx, t, caller.Service(strings.Repeat("y", 20)+"Z")); got != "y" {
		t.Errorf("answer from %q", got)
	}
	// What is registered later is heard of all the same.
	later := pb.Go(ctx, func(context.Context) (string, error) {
		return pb.Do[string](ctx, caller.Service("later"), "name")
	})
	if err := b.Register("later", newWho("later")); err != nil {
		t.Fatal(err)
	}
	if got, err := later.Wait(ctx); got != "later" || err != nil {
		t.Errorf("service registered later = %q, %v", got, err)
	}
}

// TestComesBack shows that a node that died is found again at other addresses.
func TestComesBack(t *testing.T) {
	ctx := scene(t)
	seed := start(ctx, t, "", nil)
	caller := start(ctx, t, seed.Addr(), nil)
	a := start(ctx, t, seed.Addr(), nil, newWho("a"))
	s := caller.Service("who")
	name(ctx, t, s)
	a.die()
	caller.providers(ctx, t, 0)
	start(ctx, t, seed.Addr(), func(c *cluster.Cluster) { c.Node.Key = a.node.Key },
		newWho("a anew"))
	if got := name(ctx, t, s); got != "a anew" {
		t.Errorf("answer from %q", got)
	}
}

// A node that crashed and is back at once, at a new address, is found there by what it says itself.
// These are the times of a real cluster, which takes some tenths of a second; until the old one is
// believed dead it is three, and with memberlist's own times close to thirty. The limit is for
// machines that have much to do.
func TestComesBackAnew(t *testing.T) {
	ctx := scene(t)
	run := func(join []string, key pb.Key) part {
		p := part{&cluster.Cluster{GossipKey: gossipKey, Join: join},
			&pb.Node{Key: key, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}}
		p.Node = p.node
		if err := p.Start(ctx); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.die)
		return p
	}
	var keys [3]pb.Key
	for i := range keys {
		var err error
		if keys[i], err = pb.NewKey(); err != nil {
			t.Fatal(err)
		}
	}
	seed := run(nil, keys[0])
	other := run([]string{seed.Addr()}, keys[1])
	old := run([]string{seed.Addr()}, keys[2])
	knows := func(m cluster.Member) func([]cluster.Member) bool {
		return func(all []cluster.Member) bool {
			return slices.ContainsFunc(all,
				func(o cluster.Member) bool { return o.NodeID == m.NodeID && o.Addr == m.Addr })
		}
	}
	self := func(p part) (m cluster.Member) {
		for _, m = range p.Members() {
			if m.NodeID == p.NodeID() {
				break
			}
		}
		return m
	}
	first := self(old)
	for _, p := range []part{seed, other} {
		if err := p.Until(ctx, knows(first)); err != nil {
			t.Fatal(err)
		}
	}
	old.die()
	began := time.Now()
	anew := self(run([]string{seed.Addr()}, keys[2]))
	if anew.Addr == first.Addr {
		t.Skip("the node got its old address")
	}
	soon, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for _, p := range []part{seed, other} {
		if err := p.Until(soon, knows(anew)); err != nil {
			t.Errorf("not found within %v: %v", time.Since(began), err)
		}
	}
	t.Logf("found after %v", time.Since(began))
}

// Every order of ends of a cluster that was never started returns.
func TestEndsWithoutStart(t *testing.T) {
	closes := func(c *cluster.Cluster) error { return c.Close() }
	shuts := func(c *cluster.Cluster) error { return c.Shutdown(context.Background()) }
	for _, ends := range [][]func(
		*cluster.Cluster,
	) error{{closes, closes}, {closes, shuts, closes}, {shuts, closes}, {shuts, shuts, shuts}} {
		c := &cluster.Cluster{}
		for i, end := range ends {
			if err := end(c); err != nil {
				t.Errorf("end %d = %v", i+1, err)
			}
		}
		if err := c.Start(t.Context()); !errors.Is(err, cluster.ErrClosed) {
			t.Errorf("Start after the end = %v", err)
		}
	}
}

func TestAlone(t *testing.T) {
	ctx := scene(t)
	c := (&cluster.Cluster{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}).Hurry()
	if _, err := c.Service("who").Reference(ctx); !errors.Is(err, cluster.ErrNotStarted) {
		t.Errorf("Reference before Start = %v", err)
	}
	if err := c.Register("who", newWho("alone")); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx); !errors.Is(err, cluster.ErrStarted) {
		t.Errorf("second Start = %v", err)
	}
	if got := name(ctx, t, c.Service("who")); got != "alone" {
		t.Errorf("answer from %q", got)
	}
	if err := c.Rekey(gossipKey); err == nil {
		t.Error("Rekey without a key to begin with")
	}
	if err := errors.Join(c.Close(), c.Close(), c.Shutdown(ctx)); err != nil {
		t.Error(err)
	}
	if err := c.Register("more", newWho("more")); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("Register after Close = %v", err)
	}
}

func TestStartRefuses(t *testing.T) {
	ctx := scene(t)
	tests := []struct {
		name string
		c    *cluster.Cluster
		want string
	}{
		{"no key off loopback", &cluster.Cluster{Bind: "192.0.2.1:7946"}, "set GossipKey"},
		{"node with a root", &cluster.Cluster{Node: &pb.Node{Root: newWho("root")}}, "has a root"},
		{"node with a portal", &cluster.Cluster{Node: &pb.Node{Portal: &cred.Portal{}}}, "Portal"},
		{"address of another machine", &cluster.Cluster{
			Bind:      "192.0.2.1:0",
			Listen:    "pb://127.0.0.1:0/",
			GossipKey: gossipKey,
		}, "gossip at"},
		{"listener of another machine",
			&cluster.Cluster{Listen: "pb://192.0.2.1:0/", GossipKey: gossipKey}, "bind"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.c.Start(ctx)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Start = %v, want %q in it", err, test.want)
			}
			if err := test.c.Start(ctx); !errors.Is(err, cluster.ErrClosed) {
				t.Errorf("Start again = %v", err)
			}
		})
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := new(cluster.Cluster).Start(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("Start with an ended ctx = %v", err)
	}
}

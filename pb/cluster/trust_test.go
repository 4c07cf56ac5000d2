package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"perspective/pb"
	"perspective/pb/cluster"
)

// TestForgedEntry has the gossip claim that one node's service is at another's
// address, and that a node which nobody can find has it.
func TestForgedEntry(t *testing.T) {
	ctx := scene(t)
	good, bad := newWho("good"), newWho("bad")
	a := start(ctx, t, "", nil, good)
	caller := start(ctx, t, a.Addr(), nil)
	caller.providers(ctx, t, 1)
	evil := start(ctx, t, "", func(c *cluster.Cluster) { c.GossipKey = nil }, bad)
	evil.providers(ctx, t, 1)
	evilAddr := evil.Members()[0].Addr

	victim, err := (&pb.Node{}).ID()
	if err != nil {
		t.Fatal(err)
	}
	caller.Forge(victim, evilAddr, "who")
	caller.Forge(a.NodeID()[:51]+"b", netip.MustParseAddrPort("127.0.0.1:1"), "who")
	for range 6 {
		if got := name(ctx, t, caller.Service("who")); got != "good" {
			t.Fatalf("answer from %q", got)
		}
	}
	if bad.calls.Load() != 0 {
		t.Error("a call reached another node than was meant")
	}

	a.die()
	caller.providers(ctx, t, 2) // those that were forged
	short, cancel := context.WithCancel(ctx)
	first := pb.Go(ctx, func(context.Context) (string, error) {
		return pb.Do[string](short, caller.Service("who"), "name")
	})
	_, err = caller.node.Dial(ctx, "pb://"+victim+"@"+evilAddr.String()+"/")
	if !errors.Is(err, pb.ErrWrongPeer) {
		t.Errorf("Dial of the forged address = %v, want ErrWrongPeer", err)
	}
	cancel()
	if _, err := first.Wait(ctx); !errors.Is(err, cluster.ErrNoProvider) ||
		pb.OutcomeOf(err) != pb.NotExecuted {
		t.Errorf("call with forged providers alone = %v, %v", err, pb.OutcomeOf(err))
	}
}

// stranger gossips with what it is given, as any program with the key can.
func stranger(
	t *testing.T, label string, key []byte, id string, meta func(at netip.AddrPort) []byte,
) *memberlist.Memberlist {
	t.Helper()
	config := memberlist.DefaultLocalConfig()
	config.Name, config.Label, config.SecretKey = id, label, key
	config.BindAddr, config.BindPort, config.AdvertisePort = "127.0.0.1", 0, 0
	config.LogOutput = t.Output()
	config.Delegate = entryOf{config, meta}
	list, err := memberlist.Create(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = list.Shutdown() })
	return list
}

// entryOf is a memberlist.Delegate with nothing but an entry.
type entryOf struct {
	config *memberlist.Config
	meta   func(at netip.AddrPort) []byte
}

func (e entryOf) NodeMeta(int) []byte {
	return e.meta(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(e.config.BindPort)))
}
func (entryOf) NotifyMsg([]byte)                {}
func (entryOf) GetBroadcasts(int, int) [][]byte { return nil }
func (entryOf) LocalState(bool) []byte          { return nil }
func (entryOf) MergeRemoteState([]byte, bool)   {}

// TestStrangers join by the gossip with entries that are not their own.
func TestStrangers(t *testing.T) {
	ctx := scene(t)
	a := start(ctx, t, "", nil, newWho("a"))
	id, addr, _ := strings.Cut(a.Addr(), "@")
	node := &pb.Node{}
	own, err := node.ID()
	if err != nil {
		t.Fatal(err)
	}
	other, err := (&pb.Node{}).ID()
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort("127.0.0.1:9")
	sign := func(name string) func(netip.AddrPort) []byte {
		return func(gossip netip.AddrPort) []byte {
			meta, err := cluster.SignEntry(node, name, at, gossip, "who")
			if err != nil {
				t.Error(err)
			}
			return meta
		}
	}
	tests := []struct {
		name, label, id string
		key             []byte
		meta            func(netip.AddrPort) []byte
		joins           bool
	}{
		{"a member's name", cluster.DefaultName, other, gossipKey,
			sign(cluster.DefaultName), false},
		{"no node id", cluster.DefaultName, "ghost", gossipKey, sign(cluster.DefaultName), false},
		{"no entry", cluster.DefaultName, own, gossipKey,
			func(netip.AddrPort) []byte { return nil }, false},
		{"entry for another cluster", cluster.DefaultName, own, gossipKey, sign("other"), false},
		{"entry for another gossip address", cluster.DefaultName, own, gossipKey,
			func(netip.AddrPort) []byte { return sign(cluster.DefaultName)(at) }, false},
		{"another label", "other", own, gossipKey, sign(cluster.DefaultName), false},
		{"another key", cluster.DefaultName, own, bytes.Repeat([]byte("x"), 32),
			sign(cluster.DefaultName), false},
		{"no key", cluster.DefaultName, own, nil, sign(cluster.DefaultName), false},
		{"all right", cluster.DefaultName, own, gossipKey, sign(cluster.DefaultName), true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			list := stranger(t, test.label, test.key, test.id, test.meta)
			_, err := list.Join([]string{id + "/" + addr}) // returns when both have told all
			if test.joins {
				err := a.Until(ctx, func(all []cluster.Member) bool { return len(all) == 2 })
				if err != nil {
					t.Errorf("not joined: %v", err)
				}
				return
			}
			// The other side may still be at it: a stream of its own tells that it is done.
			if _, again := list.Join([]string{id + "/" + addr}); again == nil && err != nil {
				t.Errorf("joined in the end, after %v", err)
			}
			if n := len(a.Members()); n != 1 {
				t.Errorf("joined: %+v", a.Members())
			}
		})
	}
}

// TestWrongKey shows that a cluster with another key is not heard, and the
// services not given.
func TestWrongKey(t *testing.T) {
	ctx := scene(t)
	a := start(ctx, t, "", nil, newWho("a"))
	outsider := start(ctx, t, a.Addr(),
		func(c *cluster.Cluster) { c.GossipKey = bytes.Repeat([]byte("x"), 32) })
	if n := len(outsider.Members()); n != 1 {
		t.Fatalf("it sees %+v", outsider.Members())
	}
	url := "pb://" + a.NodeID() + "@" + a.Members()[0].Addr.String() + "/"
	conn, err := outsider.node.Dial(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	binding := conn.Peer().Binding
	ask := func(proof []byte) error {
		_, err := pb.Do[*pb.RemoteReference](ctx, conn.Root(), "service", "who", proof)
		return err
	}
	tests := []struct {
		name  string
		proof []byte
		good  bool
	}{
		{"none", nil, false},
		{"of another key", cluster.Proof(bytes.Repeat([]byte("x"), 32), cluster.DefaultName,
			outsider.NodeID(), binding), false},
		{"for another cluster",
			cluster.Proof(gossipKey, "other", outsider.NodeID(), binding), false},
		{"of another node",
			cluster.Proof(gossipKey, cluster.DefaultName, a.NodeID(), binding), false},
		{"for another connection", cluster.Proof(gossipKey, cluster.DefaultName, outsider.NodeID(),
			bytes.Repeat([]byte{1}, 32)), false},
		{"of a member",
			cluster.Proof(gossipKey, cluster.DefaultName, outsider.NodeID(), binding), true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := ask(test.proof)
			if test.good && err != nil || !test.good && !errors.Is(err, cluster.ErrNotMember) {
				t.Errorf("service = %v, want given %v", err, test.good)
			}
		})
	}
}

func TestTrust(t *testing.T) {
	ctx := scene(t)
	a, b := newWho("a"), newWho("b")
	first := start(ctx, t, "", nil, a)
	start(ctx, t, first.Addr(), nil, b)
	caller := start(ctx, t, first.Addr(), func(c *cluster.Cluster) {
		c.Trust = func(nodeID, service string) bool {
			return service == "who" && nodeID == first.NodeID()
		}
	})
	caller.providers(ctx, t, 2)
	for range 4 {
		if got := name(ctx, t, caller.Service("who")); got != "a" {
			t.Errorf("answer from %q, which is not trusted", got)
		}
	}
}

// TestTrustEndsBadly has Trust panic, and end its goroutine: that is a no.
func TestTrustEndsBadly(t *testing.T) {
	for end, bad := range map[string]func(){"panic": func() { panic("boom") },
		"Goexit": runtime.Goexit} {
		t.Run(end, func(t *testing.T) {
			ctx := scene(t)
			a, b := newWho("a"), newWho("b")
			first := start(ctx, t, "", nil, a)
			start(ctx, t, first.Addr(), nil, b)
			var log logs
			caller := start(ctx, t, first.Addr(), func(c *cluster.Cluster) {
				c.Logger = slog.New(slog.NewTextHandler(&log, nil))
				c.Trust = func(nodeID, _ string) bool { // "Cluster.Trust"
					if nodeID != first.NodeID() {
						bad()
					}
					return true
				}
			})
			caller.providers(ctx, t, 2)
			for range 4 {
				if got := name(ctx, t, caller.Service("who")); got != "a" {
					t.Errorf("answer from %q, about which Trust said nothing", got)
				}
			}
			if s := log.String(); !strings.Contains(s, "Cluster.Trust panicked") ||
				!strings.Contains(s, " id=") {
				t.Errorf("the log has no id: %s", s)
			}
		})
	}
}

// A logs is a log that several goroutines write.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestRekey changes the key of a cluster while it runs.
func TestRekey(t *testing.T) {
	ctx := scene(t)
	next := bytes.Repeat([]byte("n"), cluster.GossipKeySize)
	a := start(ctx, t, "", nil, newWho("a"))
	b := start(ctx, t, a.Addr(), nil, newWho("b"))
	a.providers(ctx, t, 2)
	for _, round := range [][][]byte{{gossipKey, next}, {next, gossipKey}, {next}} {
		for _, p := range []part{a, b} {
			if err := p.Rekey(round[0], round[1:]...); err != nil {
				t.Fatal(err)
			}
		}
	}
	old := start(ctx, t, a.Addr(), nil)
	if n := len(old.Members()); n != 1 {
		t.Errorf("the old key still opens: %+v", old.Members())
	}
	c := start(ctx, t, a.Addr(), func(c *cluster.Cluster) { c.GossipKey = next })
	c.providers(ctx, t, 2)
	b.Unregister("who")
	c.providers(ctx, t, 1)
	if got := name(ctx, t, c.Service("who")); got != "a" {
		t.Errorf("answer from %q", got)
	}
	if err := a.Rekey(next[:8]); err == nil {
		t.Error("a short key was taken")
	}
}

// TestDatagrams shows that what is not sealed with the key does nothing.
func TestDatagrams(t *testing.T) {
	ctx := scene(t)
	a := start(ctx, t, "", nil, newWho("a"))
	_, addr, _ := strings.Cut(a.Addr(), "@")
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a socket of the test
	for _, junk := range []string{"", "\x04", "\xf4\x0bperspective\x04\x85",
		strings.Repeat("\x07\xff", 500), "\xf4\xff"} {
		for range 10 {
			if _, err := conn.Write([]byte(junk)); err != nil {
				break // refused by the kernel when it has been told off
			}
		}
	}
	b := start(ctx, t, a.Addr(), nil)
	b.providers(ctx, t, 1)
	if err := a.Until(ctx, func(all []cluster.Member) bool { return len(all) >= 2 }); err != nil {
		t.Fatal(err)
	}
	if n := len(a.Members()); n != 2 {
		t.Errorf("members %+v, want two", a.Members())
	}
}

// TestMovedIsTold shows that all members hear of one that has moved when one of them does, and that
// nobody believes it of a node that has not said so itself.
func TestMovedIsTold(t *testing.T) {
	ctx := scene(t)
	a := start(ctx, t, "", func(c *cluster.Cluster) {
		c.NeverDead()
		c.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	b := start(ctx, t, a.Addr(), func(c *cluster.Cluster) { c.NeverDead() })
	node, forger := &pb.Node{}, &pb.Node{}
	id, err := node.ID()
	if err != nil {
		t.Fatal(err)
	}
	old, anew := netip.MustParseAddrPort("127.0.0.1:8"), netip.MustParseAddrPort("127.0.0.1:9")
	outside, gossip := netip.MustParseAddrPort("192.0.2.1:9"),
		netip.MustParseAddrPort("127.0.0.1:7")
	said := func(by *pb.Node, name string, at, gossip netip.AddrPort) *memberlist.Node {
		meta, err := cluster.SignEntry(by, name, at, gossip, "who")
		if err != nil {
			t.Fatal(err)
		}
		return &memberlist.Node{
			Name: id,
			Addr: gossip.Addr().AsSlice(),
			Port: gossip.Port(),
			Meta: meta,
		}
	}
	good := said(node, cluster.DefaultName, anew, gossip)
	isAt := func(p part) (at netip.AddrPort) {
		for _, m := range p.Members() {
			if m.NodeID == id {
				at = m.Addr
			}
		}
		return at
	}
	a.HearMoved(good)
	if at := isAt(a); at.IsValid() {
		t.Errorf("it is at %v and was no member", at)
	}
	a.Forge(id, old, "who")
	b.Forge(id, old, "who")
	for why, n := range map[string]*memberlist.Node{
		"said by another":         said(forger, cluster.DefaultName, anew, gossip),
		"said to another cluster": said(node, "other", anew, gossip),
		"said elsewhere": {
			Name: id,
			Addr: gossip.Addr().AsSlice(),
			Port: 6,
			Meta: good.Meta,
		},
		"an address that is not allowed": said(node, cluster.DefaultName, outside, gossip),
		"gossip at such an address":      said(node, cluster.DefaultName, anew, outside),
		"cut": {
			Name: id,
			Addr: good.Addr,
			Port: good.Port,
			Meta: good.Meta[:20],
		},
	} {
		a.HearMoved(n)
		a.HearConflict(n)
		if at := isAt(a); at != old {
			t.Errorf("%s: it is at %v, want %v", why, at, old)
		}
	}
	a.HearConflict(good)
	if at := isAt(a); at != anew {
		t.Errorf("it is at %v, want %v", at, anew)
	}
	if err := b.Until(ctx, func([]cluster.Member) bool { return isAt(b) == anew }); err != nil {
		t.Errorf("the other has not heard: %v", err)
	}
}

// TestMovedInTheMiddle shows that calls go to where a node has moved at once, though the old
// address is still being dialed, or a connection to it stands.
func TestMovedInTheMiddle(t *testing.T) {
	ctx := scene(t)
	caller := start(ctx, t, "", func(c *cluster.Cluster) { c.Attempt = time.Minute })
	old := start(ctx, t, "", nil, newWho("old"))
	anew := start(ctx, t, "",
		func(c *cluster.Cluster) { c.Node.Key = old.node.Key }, newWho("anew"))
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	moves := func(to part) {
		gossip := netip.MustParseAddrPort(to.Addr()[len(to.NodeID())+1:])
		meta, err := cluster.SignEntry(to.node, cluster.DefaultName,
			to.Members()[0].Addr, gossip, "who")
		if err != nil {
			t.Fatal(err)
		}
		caller.HearMoved(&memberlist.Node{
			Name: to.NodeID(),
			Addr: gossip.Addr().AsSlice(),
			Port: gossip.Port(),
			Meta: meta,
		})
	}
	s := caller.Service("who")
	caller.Forge(old.NodeID(), silent.Addr().(*net.TCPAddr).AddrPort(), "who")
	waiting := pb.Call[string](ctx, s, "name")
	dialed, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dialed.Close() }()
	moves(old)
	if got, err := waiting.Wait(ctx); got != "old" || err != nil {
		t.Fatalf("call that waited = %q, %v", got, err)
	}
	ref, err := s.Reference(ctx)
	if err != nil {
		t.Fatal(err)
	}
	moves(anew)
	if got := name(ctx, t, s); got != "anew" {
		t.Errorf("answer from %q", got)
	}
	if err := ref.Conn().Sync(ctx); err != nil {
		t.Errorf("the old connection, which works, has ended: %v", err)
	}
}

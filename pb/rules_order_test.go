package pb_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// orderCalls is how many calls a test of the order makes: PERSPECTIVE_ORDER_CALLS,
// or else usual.
func orderCalls(t *testing.T, usual int) int {
	t.Helper()
	text := os.Getenv("PERSPECTIVE_ORDER_CALLS")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("PERSPECTIVE_ORDER_CALLS=%q is no number of calls", text)
	}
	return n
}

// roundCalls is how many calls are made over the same connections: on new ones
// methods are thought quick again that had lost that name.
const roundCalls = 25_000

// TestOrderOfAllTempers: calls to one object over one connection begin in their
// order and one at a time, whatever the methods do, and every call ends. It goes
// over sockets, where the reader runs quick methods itself, both ways at once.
func TestOrderOfAllTempers(t *testing.T) {
	usual := 40_000
	if raceEnabled || testing.Short() {
		usual = 10_000
	}
	total := orderCalls(t, usual)
	var sum figures
	for round := 0; sum.made < total; round++ {
		orderRound(t, round, min(roundCalls, total-sum.made), &sum)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	t.Logf("%s", &sum)
}

// figures are what a run has done.
type figures struct{ made, onPromise, oneway, long, givenUp, nested, failed, looked, inline int }

func (f *figures) String() string {
	return fmt.Sprintf("0 inversions in %d calls: %d on promises, %d oneway, %d long, %d nested, "+
		"%d given up, %d failed; of %d quick ones looked at %d ran on the reader",
		f.made, f.onPromise, f.oneway, f.long, f.nested, f.givenUp, f.failed, f.looked, f.inline)
}

func (f *figures) add(o *figures) {
	f.made += o.made
	f.onPromise += o.onPromise
	f.oneway += o.oneway
	f.long += o.long
	f.givenUp += o.givenUp
	f.nested += o.nested
	f.failed += o.failed
}

// orderRound has every object of two nodes called over each connection between
// them, by a goroutine of its own.
func orderRound(t *testing.T, round, total int, sum *figures) {
	pbtest.NoLeaks(t)
	near, far := newHouse(t), newHouse(t)
	limits := pb.Limits{}
	limits.Calls, limits.Handlers = 512, 64 // callers reach the first now and then
	server := &pb.Node{Root: far, Limits: limits, Logger: silent()}
	client := &pb.Node{Root: near, Limits: limits, Logger: silent()}
	defer server.Close() //nolint:errcheck // it never fails
	defer client.Close() //nolint:errcheck // it never fails
	dir := t.TempDir()
	var conns []*pb.Conn
	var callers []*caller
	for i, network := range []string{"tcp", "unix", "tcp", "unix"} {
		c, s := overSocket(t, client, server, network, filepath.Join(dir, strconv.Itoa(i)))
		conns = append(conns, c, s)
		for object := range far.objects {
			callers = append(callers, newCaller(t, far, c, object), newCaller(t, near, s, object))
		}
	}
	var wg sync.WaitGroup
	share := (total + len(callers) - 1) / len(callers)
	for i, k := range callers {
		k.rng = rand.New(rand.NewPCG(uint64(round), uint64(i)))
		wg.Go(func() { k.run(share) })
	}
	wg.Wait()
	for _, k := range callers {
		sum.add(&k.done)
		for route, n := range k.made {
			k.lane.order.skip(route, n)
		}
		if got := k.lane.order.begun; got != k.made {
			t.Errorf("%v of %v calls have begun", got, k.made)
		}
	}
	for _, h := range []*house{near, far} {
		sum.looked += int(h.looked.Load())
		sum.inline += int(h.inline.Load())
	}
	clear(callers) // with their references
	pbtest.Empty(t, conns...)
}

// overSocket connects two nodes over a socket that the broker sees as it is.
func overSocket(t *testing.T, client, server *pb.Node, network, path string) (c, s *pb.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = path
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // its one connection is made
	near, err := net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if s, err = server.Attach(t.Context(), far, pb.Acceptor); err != nil {
		t.Fatal(err)
	}
	if c, err = client.Attach(t.Context(), near, pb.Dialer); err != nil {
		t.Fatal(err)
	}
	return c, s
}

// The routes by which a caller reaches an object: a reference that it has long
// had, and promises of the same object.
const (
	direct = iota
	promised
)

// A place is where a call stands among those of one caller to one object: number
// n on its route, behind the first other calls on the other route. Calls on an open
// promise may begin after calls on the reference that were made later.
type place struct{ lane, route, n, other int }

func (p place) ints() []int { return []int{p.lane, p.route, p.n, p.other} }

// givenUp says which calls their caller cancels at once: they begin in their
// place or not at all.
func givenUp(n int) bool { return n%199 == 198 }

// order is the model: which calls of one caller to one object have begun.
type order struct{ begun [2]int }

// begin takes in that the call at p begins.
func (o *order) begin(p place) error {
	o.skip(p.route, p.n)
	o.skip(1-p.route, p.other)
	switch next := o.begun[p.route]; {
	case p.n != next:
		return fmt.Errorf("call %d on route %d begins as number %d", p.n, p.route, next)
	case o.begun[1-p.route] < p.other:
		return fmt.Errorf("call %d on route %d begins before call %d on the other", p.n, p.route,
			o.begun[1-p.route])
	}
	o.begun[p.route]++
	return nil
}

// skip counts the calls before n that were given up.
func (o *order) skip(route, n int) {
	for o.begun[route] < n && givenUp(o.begun[route]) {
		o.begun[route]++
	}
}

// The model itself tells right from wrong.
func TestOrderModel(t *testing.T) {
	tests := []struct {
		name  string
		begun [2]int
		p     place
		ok    bool
	}{
		{"the next", [2]int{3, 0}, place{n: 3}, true},
		{"too early", [2]int{3, 0}, place{n: 4}, false},
		{"twice", [2]int{3, 0}, place{n: 2}, false},
		{"over one given up", [2]int{198, 0}, place{n: 199}, true},
		{"over one that was not", [2]int{197, 0}, place{n: 199}, false},
		{"the one given up", [2]int{198, 0}, place{n: 198}, true},
		{"on a promise, beside the reference", [2]int{9, 3},
			place{route: promised, n: 3, other: 5}, true},
		{"on a promise, before the reference", [2]int{4, 3},
			place{route: promised, n: 3, other: 5}, false},
		{"on the reference, before a promise that was kept", [2]int{4, 3},
			place{n: 4, other: 4}, false},
		{"on the reference, before one given up", [2]int{4, 198}, place{n: 4, other: 199}, true},
	}
	for _, test := range tests {
		o := order{begun: test.begun}
		if err := o.begin(test.p); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

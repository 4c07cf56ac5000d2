package pb_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perspective/cred"
	"perspective/pb"
	"perspective/pb/pbtest"
)

// callsOf are the rows of one direction, by what their methods end in.
func callsOf(t *testing.T, c *pb.Conn, outgoing bool) map[string]pb.CallStatus {
	t.Helper()
	rows := make(map[string]pb.CallStatus)
	for s := range c.Calls() {
		if s.Outgoing != outgoing {
			continue
		}
		name := strings.ToLower(s.Method[strings.LastIndexByte(s.Method, '.')+1:])
		if _, twice := rows[name]; twice {
			t.Errorf("two rows of %s", name)
		}
		rows[name] = s
	}
	return rows
}

// waits is what a call waits for, for comparisons.
type waits struct {
	phase  pb.CallPhase
	on     uint32
	behind uint32
}

func waitsOf(s pb.CallStatus) waits { return waits{s.Phase, s.On, s.Behind} }

// busy is an actor whose rows have names that differ.
type busy struct{ actor }

func newBusy(gates ...string) *busy { return &busy{*newActor("far", gates...)} }

func (a *busy) RemoteFirst(ctx context.Context) error  { return a.await(ctx, "held") }
func (a *busy) RemoteSecond(ctx context.Context) error { return a.await(ctx, "held") }

// RemoteIgnore does not heed its ctx.
func (a *busy) RemoteIgnore(ctx context.Context) error {
	pb.Yield(ctx)
	<-a.gates["held"]
	return nil
}

// RemoteLater answers with a Deferred.
func (a *busy) RemoteLater(ctx context.Context) (*pb.Deferred[int], error) {
	d := new(pb.Deferred[int])
	go func() { // ends with the gate
		_ = a.await(ctx, "held")
		d.Callback(1)
	}()
	return d, nil
}

// TestCalls has calls in all phases that two nodes bring about, and looks from both sides.
func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pbtest.NoLeaks(t)
		far, near := newBusy("lend", "arg", "held"), newActor("near", "back")
		c, s := pbtest.Join(t, &pb.Node{Logger: silent()}, &pb.Node{Root: far, Logger: silent()})
		root := c.Root()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		other, err := pb.Do[*pb.RemoteReference](ctx, root, "lend", "")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		time.Sleep(2500 * time.Millisecond)
		calls := func(
			ctx context.Context, on pb.Target, method string, args ...any,
		) *pb.Deferred[any] {
			d := pb.Call[any](ctx, on, method, args...)
			synctest.Wait()
			return d
		}
		lending := calls(ctx, root, "lend", "lend")
		promised := calls(ctx, lending, "name")
		argued := calls(ctx, other, "aside", "arg", lending)
		traced := calls(pb.WithTrace(ctx, "00-trace"), root, "ask", near, "wait", []any{"back", 1})
		over, giveUp := context.WithCancel(ctx)
		ignored := calls(over, root, "ignore")
		giveUp()
		later := calls(ctx, root, "later")
		first := calls(ctx, root, "first")
		second := calls(ctx, root, "second")
		if err := root.Send(ctx, "echo", "in vain"); err != nil {
			t.Error(err)
		}
		synctest.Wait()

		in := callsOf(t, s, false)
		for name, want := range map[string]waits{
			"remotelend":   {pb.PhaseRunning, 0, 0},
			"name":         {pb.PhasePromised, in["remotelend"].ID, in["remotelend"].ID},
			"remoteaside":  {pb.PhaseArguments, 0, in["remotelend"].ID},
			"remoteask":    {pb.PhaseAside, 0, 0},
			"remoteignore": {pb.PhaseRunning, 0, 0},
			"remotelater":  {pb.PhaseDeferred, 0, 0},
			"remotefirst":  {pb.PhaseRunning, 0, 0},
			"remotesecond": {pb.PhaseQueued, 0, in["remotefirst"].ID},
			"remoteecho":   {pb.PhaseQueued, 0, in["remotefirst"].ID},
		} {
			if got, ok := in[name]; waitsOf(got) != want || !ok {
				t.Errorf("%s: %v, want %v (there: %v)", name, waitsOf(got), want, ok)
			}
		}
		if len(in) != 9 {
			t.Errorf("%d calls of the peer's, want 9", len(in))
		}
		ask := in["remoteask"]
		if ask.Trace != "00-trace" || !ask.Deadline.Equal(began.Add(time.Hour)) ||
			ask.Target != 1 || ask.Bytes == 0 {
			t.Errorf("ask: %+v", ask)
		}
		if early := began.Add(2500 * time.Millisecond).Sub(ask.Since); early < 0 ||
			early > time.Second {
			t.Errorf("ask came %v early, want at most a second", early)
		}
		if !in["remoteignore"].GivenUp || in["remotefirst"].GivenUp {
			t.Error("ignore was given up, and first was not")
		}
		out := callsOf(t, c, true)
		if got := out["second"]; got.Phase != pb.PhaseSent || got.ID != in["remotesecond"].ID ||
			!got.Deadline.Equal(began.Add(time.Hour)) {
			t.Errorf("second, from the caller: %+v", got)
		}
		if got := waitsOf(out["name"]); got !=
			(waits{pb.PhaseSent, in["remotelend"].ID, in["remotelend"].ID}) {
			t.Errorf("name, from the caller: %v", got)
		}
		if got := out["ask"]; got.Trace != "00-trace" || got.Peer != c.String() {
			t.Errorf("ask, from the caller: %+v", got)
		}
		if len(out) != 8 {
			t.Errorf("%d calls of the caller's, want 8: those without an answer are not told",
				len(out))
		}
		nested := callsOf(t, c, false)["remotewait"]
		if nested.Depth != 1 || nested.Phase != pb.PhaseRunning || nested.Trace != "00-trace" {
			t.Errorf("the nested call: %+v", nested)
		}
		for range s.Calls() {
			break // a window may be closed early
		}

		for _, gate := range []string{"lend", "arg", "held"} {
			close(far.gates[gate])
		}
		close(near.gates["back"])
		for i, d := range []*pb.Deferred[any]{lending, promised, argued, traced, later,
			first, second} {
			if _, err := d.Wait(ctx); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
		if _, err := ignored.Wait(ctx); pb.OutcomeOf(err) != pb.MaybeExecuted {
			t.Errorf("the call that was given up: %v", err)
		}
		synctest.Wait()
		if n := len(callsOf(t, s, false)) + len(callsOf(t, c, true)); n != 0 {
			t.Errorf("%d calls are told when all are over", n)
		}
		far.kept[0].Release()
		other.Release()
		_ = c.Close()
		synctest.Wait()
		for row := range s.Calls() {
			t.Errorf("after the end: %+v", row)
		}
	})
}

// TestCallsWithoutCredit has calls that the peer does not take yet, and one that wants no answer.
func TestCallsWithoutCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := newBusy("held")
		c, s := pbtest.Join(t, &pb.Node{Logger: silent()},
			&pb.Node{Root: far, Logger: silent(), Limits: pb.Limits{Calls: 2}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		if err := c.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		first := pb.Call[any](ctx, c.Root(), "first")
		if err := c.Root().Send(ctx, "second"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := c.Stats(); n.Oneway != 1 || n.Asked != 2 {
			t.Errorf("%d calls, of which %d are oneway; want 2 and 1", n.Asked, n.Oneway)
		}
		var waiting sync.WaitGroup
		over, giveUp := context.WithCancel(ctx)
		waiting.Go(func() { _, _ = pb.Do[any](over, c.Root(), "later") })
		synctest.Wait()
		waiting.Go(func() { _, _ = pb.Do[any](pb.WithTrace(ctx, "00-trace"), c.Root(), "name") })
		synctest.Wait()
		waiting.Go(func() { _ = c.Root().Send(ctx, "tell") })
		synctest.Wait()
		out := callsOf(t, c, true)
		got := out["name"]
		if got.Phase != pb.PhaseCredit || got.ID != 0 || got.Target != 1 || got.Bytes == 0 ||
			got.Trace != "00-trace" ||
			!got.Deadline.Equal(began.Add(time.Hour)) || got.Phase.String() != "waits for credit" {
			t.Errorf("name: %+v", got)
		}
		if out["later"].Phase != pb.PhaseCredit || out["tell"].Phase != pb.PhaseCredit ||
			out["first"].Phase != pb.PhaseSent || len(out) != 4 {
			t.Errorf("%+v", out)
		}
		giveUp()
		synctest.Wait()
		if out := callsOf(t, c, true); len(out) != 3 {
			t.Errorf("%d calls when one of 4 was given up", len(out))
		}
		close(far.gates["held"])
		waiting.Wait()
		if _, err := first.Wait(ctx); err != nil {
			t.Error(err)
		}
		if err := s.Sync(ctx); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := c.Stats(); n.Oneway != 0 || n.Asked != 0 || len(callsOf(t, c, true)) != 0 {
			t.Errorf("at the end %d calls, of which %d are oneway", n.Asked, n.Oneway)
		}
	})
}

// TestReferenceStatus looks at what is lent and held.
func TestReferenceStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := newActor("far")
		c, s := pbtest.Join(t, &pb.Node{Logger: silent()}, &pb.Node{Root: far, Logger: silent()})
		began := time.Now()
		time.Sleep(1500 * time.Millisecond)
		lent, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "lend", "")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := pb.Do[any](t.Context(), c.Root(), "echo", lent); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		look := func(c *pb.Conn) (rows []pb.ReferenceStatus) {
			for r := range c.References() {
				if early := began.Add(1500 * time.Millisecond).Sub(r.Since); r.ID > 1 &&
					(early < 0 || early > time.Second) {
					t.Errorf("%d is from %v early", r.ID, early)
				}
				r.Since = time.Time{}
				rows = append(rows, r)
			}
			return rows
		}
		want := []pb.ReferenceStatus{{Lent: true, ID: 1, Type: "*pb_test.actor"},
			{Lent: true, ID: 2, Type: "*pb_test.actor", Count: 3}}
		if got := look(s); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("lent: %+v, want %+v", got, want)
		}
		held := false
		for _, r := range look(c) {
			held = held || r == pb.ReferenceStatus{ID: 2, Count: 3}
		}
		if !held {
			t.Errorf("held: %+v", look(c))
		}
		lent.Release()
		time.Sleep(time.Second)
		if got := look(s); len(got) != 1 {
			t.Errorf("lent after it was released: %+v", got)
		}
	})
}

// TestCallsOfAHostilePeer: what a peer chooses is short and clean, and nothing of arguments is
// told.
func TestCallsOfAHostilePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &transcript{T: t, text: new(strings.Builder)}
		far := newActor("far", "never")
		_, conn := s.begin(nil, &pb.Node{Root: far, Logger: silent()})
		defer s.end()
		s.step("", s.write(0, []byte(transcriptPreface)), s.write(0, vectorFrame(1, 1, 1)))
		s.step("", s.write(0, transcriptMessage("\x96\x01\x01\x00\x01\xa4echo\x91\xa6secret")))
		s.step("",
			s.write(0, transcriptMessage("\x96\x01\x02\x00\x01\xa5aside\x92\xa5never\xa6secret")))
		s.step("",
			s.write(0, transcriptMessage("\x9a\x01\x03\x04\x92\x02\x90\xa8\x1b[31mbad\x00\x00"+
				"\xc4\x05\x1b[2J\n\xc0\x91\xa6secret")))
		phases := make(map[uint32]pb.CallPhase)
		for row := range conn.Calls() {
			phases[row.ID] = row.Phase
			if strings.ContainsAny(row.Method+row.Trace, "\x1b\n") ||
				strings.Contains(row.Method+row.Trace, "secret") {
				t.Errorf("%q %q", row.Method, row.Trace)
			}
			if row.ID == 3 && row.Method != "\ufffd[31mbad" {
				t.Errorf("the method's name is %q", row.Method)
			}
		}
		want := map[uint32]pb.CallPhase{
			1: pb.PhaseAnswered,
			2: pb.PhaseRunning,
			3: pb.PhasePromised,
		}
		for id, phase := range want {
			if phases[id] != phase {
				t.Errorf("call %d: %v, want %v", id, phases[id], phase)
			}
		}
	})
}

// TestCallsTellTheAccount has a caller that has logged in.
func TestCallsTellTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := newBusy("held")
		realm := cred.RealmFunc(func(context.Context, cred.AvatarID, any) (any, func(), error) {
			return &player{actor: &far.actor}, nil, nil
		})
		portal := &cred.Portal{Realm: realm, Checkers: []cred.Checker{doorman{}}, Logger: silent()}
		c, s := pbtest.Join(t, &pb.Node{Logger: silent()},
			&pb.Node{Root: far, Portal: portal, Logger: silent()})
		me, err := c.Login(t.Context(),
			cred.UsernamePassword{Username: "ann", Password: "secret"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := pb.Call[any](t.Context(), c.Root(), "first")
		synctest.Wait()
		if got := callsOf(t, s, false)["first"]; got.Account != "ann" || got.Peer != s.String() {
			t.Errorf("the row says %q, %q", got.Account, got.Peer)
		}
		close(far.gates["held"])
		if _, err := d.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		me.Release()
	})
}

// TestWindowsBesideCalls looks all the time while calls of all kinds are made over a socket.
func TestWindowsBesideCalls(t *testing.T) {
	server := &pb.Node{Root: newActor("far"), Logger: silent()}
	defer server.Close() //nolint:errcheck // it says nothing
	ln, err := server.Listen("pb+tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(ln) //nolint:errcheck // ends with the server
	client := &pb.Node{Logger: silent()}
	defer client.Close() //nolint:errcheck // it says nothing
	c, err := client.Dial(t.Context(), server.URLOf(ln))
	if err != nil {
		t.Fatal(err)
	}
	var callers, lookers sync.WaitGroup
	over := make(chan struct{})
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	for range 4 {
		callers.Go(func() { // ends with its calls
			for i := range rounds {
				ctx := pb.WithTrace(t.Context(), "t")
				if i%2 == 0 {
					ctx = t.Context()
				}
				lent := pb.Call[*pb.RemoteReference](ctx, c.Root(), "lend", "")
				named := pb.Call[string](ctx, lent, "name")
				echoed := pb.Call[any](ctx, c.Root(), "echo", named)
				if _, err := echoed.Wait(ctx); err != nil {
					t.Error(err)
				}
				if _, err := pb.Do[string](ctx, c.Root(), "ask", newActor("near"),
					"name", []any{}); err != nil {
					t.Error(err)
				}
				if _, err := pb.Do[string](ctx, c.Root(), "length",
					strings.Repeat("a", 70<<10), ""); err == nil {
					t.Error("a length is no string")
				}
				_ = c.Root().Send(ctx, "name")
				for range 20 {
					_, _ = pb.Do[string](ctx, c.Root(), "name")
				}
				if r, err := lent.Wait(ctx); err == nil {
					r.Release()
				}
			}
		})
	}
	rows := 0
	lookers.Go(func() { // ends with the calls
		for {
			select {
			case <-over:
				return
			default:
			}
			for _, n := range []*pb.Node{client, server} {
				for _, c := range n.Conns() {
					for range c.Calls() {
						rows++
					}
					for range c.References() {
						rows++
					}
				}
			}
		}
	})
	callers.Wait()
	close(over)
	lookers.Wait()
	if rows == 0 {
		t.Error("nothing was seen")
	}
}

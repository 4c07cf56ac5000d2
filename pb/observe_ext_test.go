package pb_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perspective/cred"
	"perspective/pb"
	"perspective/pb/adapt"
	"perspective/pb/pbtest"
)

// A watcher is an Observer that writes down how calls end.
type watcher struct {
	mu    sync.Mutex
	under map[*pb.CallInfo]bool // begun and not ended
	seen  []string
	infos []*pb.CallInfo
}

func (w *watcher) observe(
	ctx context.Context, call *pb.CallInfo,
) (context.Context, func(pb.Outcome, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.under == nil {
		w.under = make(map[*pb.CallInfo]bool)
	}
	w.under[call] = true
	w.infos = append(w.infos, call)
	return ctx, func(o pb.Outcome, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.under[call] {
			w.seen = append(w.seen, "TWICE")
		}
		delete(w.under, call)
		way, oneway, failed := "in", "", ""
		if call.Outgoing {
			way = "out"
		}
		if call.Oneway {
			oneway = " oneway"
		}
		if err != nil {
			failed = ": " + err.Error()
		}
		w.seen = append(w.seen, fmt.Sprintf("%s %s%s %v%s", way, call.Method, oneway, o, failed))
	}
}

// take gives what was seen since the last time, and fails if a call has begun and not ended.
func (w *watcher) take(t *testing.T) []string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for call := range w.under {
		t.Errorf("%s has not ended", call.Method)
	}
	seen := w.seen
	w.seen, w.infos = nil, nil
	return seen
}

// expect compares what was seen with want, of which each is the beginning of a line.
func (w *watcher) expect(t *testing.T, name string, want ...string) {
	t.Helper()
	got := w.take(t)
	slices.Sort(got)
	slices.Sort(want)
	same := slices.EqualFunc(got, want, func(got, want string) bool {
		return got == want ||
			strings.HasSuffix(want, "…") && strings.HasPrefix(got, strings.TrimSuffix(want, "…"))
	})
	if !same {
		t.Errorf("%s: seen\n\t%s\nwant\n\t%s", name, strings.Join(got, "\n\t"),
			strings.Join(want, "\n\t"))
	}
}

// watched is an object with methods that end in all ways.
type watched struct {
	pb.Referenceable
	gate chan struct{}
	next pb.Target
}

func (o *watched) RemoteAdd(_ context.Context, a, b int) (int, error) { return a + b, nil }
func (o *watched) RemoteFail(context.Context) error                   { return errOdd }
func (o *watched) RemotePanic(context.Context) error                  { panic("boom") }
func (o *watched) RemoteExit(context.Context) error {
	runtime.Goexit()
	return nil
}
func (o *watched) RemoteBad(context.Context) (any, error) { return make(chan int), nil }
func (o *watched) RemoteMake(context.Context) (*watched, error) {
	return &watched{gate: o.gate}, nil
}
func (o *watched) RemoteTrace(ctx context.Context) (string, error) {
	return pb.TraceFrom(ctx), nil
}
func (o *watched) RemoteReply(ctx context.Context) (int, error)    { return 2, pb.Reply(ctx, 1) }
func (o *watched) RemoteNothing(context.Context) (*watched, error) { return nil, errOdd }
func (o *watched) RemoteLater(context.Context) (*pb.Deferred[int], error) {
	return pb.Succeed(1), nil
}

func (o *watched) RemoteWait(ctx context.Context) error {
	select {
	case <-o.gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *watched) RemoteNever(context.Context) (*pb.Deferred[int], error) {
	return new(pb.Deferred[int]), nil
}

func (o *watched) RemoteNested(ctx context.Context) (int, error) {
	return pb.Do[int](ctx, o.next, "add", 1, 1)
}

// mine is an object for those who have logged in.
type mine struct{ pb.Viewable }

func (*mine) ViewMine(context.Context, any) error { return nil }

func (o *watched) RemoteView(context.Context) (*mine, error) { return &mine{}, nil }

// TestObserverSeesBothEnds makes calls in all ways, which end in all ways.
func TestObserverSeesBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asks, answers := &watcher{}, &watcher{}
		server := &pb.Node{
			Root:    &watched{gate: make(chan struct{})},
			Observe: answers.observe,
			Logger:  silent(),
		}
		c, s := pbtest.Join(t, &pb.Node{Observe: asks.observe, Logger: silent()}, server)
		root := c.Root()
		ctx := t.Context()
		type board struct {
			Add   func(ctx context.Context, a, b int) (int, error)
			Later func(ctx context.Context, a, b int) *pb.Deferred[int] `pb:"add"`
		}
		bound := pb.Bind[board](root)
		view, err := pb.Do[*pb.RemoteReference](ctx, root, "view")
		if err != nil {
			t.Fatal(err)
		}
		asks.take(t)
		answers.take(t)
		over := func(_ any, err error) error { return err }
		for _, tt := range []struct {
			name     string
			call     func() error
			out, end string // what both sides see; of end, empty is out's
		}{
			{"Do", func() error { return over(pb.Do[int](ctx, root, "add", 1, 2)) },
				"Add executed", ""},
			{"Call", func() error { return over(pb.Call[int](ctx, root, "add", 1, 2).Wait(ctx)) },
				"Add executed", ""},
			{"CallRemote", func() error {
				return over(root.CallRemote(ctx, "add", 1, 2).Wait(ctx))
			}, "Add executed", ""},
			{"Send", func() error { return root.Send(ctx, "add", 1, 2) },
				"Add oneway maybe executed", "Add oneway executed"},
			{"Bind", func() error { return over(bound.Add(ctx, 1, 2)) }, "Add executed", ""},
			{"Bind, later", func() error { return over(bound.Later(ctx, 1, 2).Wait(ctx)) },
				"Add executed", ""},
			{"adapt.Do2", func() error { return over(adapt.Do2[int](ctx, root, "add", 1, 2)) },
				"Add executed", ""},
			{"adapt.Call2", func() error {
				return over(adapt.Call2[int](ctx, root, "add", 1, 2).Wait(ctx))
			}, "Add executed", ""},
			{"a promise as argument", func() error {
				return over(pb.Do[int](ctx, root, "add", pb.Succeed(1), 2))
			}, "Add executed", ""},
			{"a Deferred", func() error { return over(pb.Do[int](ctx, root, "later")) },
				"Later executed", ""},
			{"Reply", func() error { return over(pb.Do[int](ctx, root, "reply")) },
				"Reply executed", ""},
			{"an error", func() error { return over(pb.Do[any](ctx, root, "fail")) },
				"Fail executed: …", ""},
			{"a panic", func() error { return over(pb.Do[any](ctx, root, "panic")) },
				"Panic executed: …", ""},
			{"Goexit", func() error { return over(pb.Do[any](ctx, root, "exit")) },
				"Exit executed: …", ""},
			{"a result that cannot cross",
				func() error { return over(pb.Do[any](ctx, root, "bad")) }, "Bad executed: …", ""},
			{"a result of another type", func() error {
				return over(pb.Do[string](ctx, root, "add", 1, 2))
			}, "Add executed: …", "Add executed"},
			{"no such method", func() error { return over(pb.Do[any](ctx, root, "ad")) },
				"Ad not executed: …", " not executed: …"},
			{"too few arguments", func() error { return over(pb.Do[any](ctx, root, "add")) },
				"Add not executed: …", ""},
			{"wrong arguments", func() error {
				return over(pb.Call[any](ctx, root, "add", "x", 1).Wait(ctx))
			}, "Add not executed: …", ""},
			{"not for this avatar", func() error { return over(pb.Do[any](ctx, view, "mine")) },
				"Mine not executed: …", ""},
			{"oneway, no such method", func() error { return root.Send(ctx, "ad") },
				"Ad oneway maybe executed", " oneway not executed: …"},
			{"arguments that do not cross", func() error {
				return over(pb.Do[any](ctx, root, "add", make(chan int)))
			}, "Add not executed: …", "-"},
			{"a Send that is not sent", func() error {
				return root.Send(ctx, "add", make(chan int))
			}, "Add oneway not executed: …", "-"},
			{"a ctx that has ended", func() error {
				ended, cancel := context.WithCancel(ctx)
				cancel()
				return over(pb.Do[any](ended, root, "add", 1, 2))
			}, "Add not executed: …", "-"},
			{"a trace that is too long", func() error {
				return over(pb.Do[any](pb.WithTrace(ctx, strings.Repeat("a", 257)), root, "add"))
			}, "Add not executed: …", "-"},
			{"given up", func() error {
				short, cancel := context.WithCancel(ctx)
				time.AfterFunc(time.Second, cancel)
				return over(pb.Do[any](short, root, "wait"))
			}, "Wait maybe executed: …", "Wait executed: …"},
			{"given up, and a Deferred", func() error {
				d := pb.Call[any](ctx, root, "never")
				synctest.Wait()
				d.Cancel()
				return over(d.Wait(ctx))
			}, "Never maybe executed: …", "Never executed: …"},
			{"fired by hand", func() error {
				d := pb.Call[any](ctx, root, "add", 1, 2)
				d.Errback(errOdd)
				return over(d.Wait(ctx))
			}, "Add …", "Add executed"},
		} {
			err := tt.call()
			synctest.Wait()
			name, rest, _ := strings.Cut(tt.out, " ")
			if tt.name != "Bind" { // callers write what they like
				name = strings.ToLower(name)
			}
			asks.expect(t, tt.name+", asking", "out "+name+" "+rest)
			switch {
			case tt.end == "-":
				answers.expect(t, tt.name+", answering")
			case tt.end == "":
				answers.expect(t, tt.name+", answering", "in "+tt.out)
			default:
				answers.expect(t, tt.name+", answering", "in "+tt.end)
			}
			if failed := strings.Contains(tt.out, ": "); failed != (err != nil) &&
				tt.name != "fired by hand" {
				t.Errorf("%s: the caller got %v", tt.name, err)
			}
		}

		first := pb.Call[*pb.RemoteReference](ctx, root, "make")
		second := pb.Call[int](ctx, first, "add", 1, 2)
		if _, err := pb.Do[int](ctx, first, "add", second, 1); err != nil {
			t.Error(err)
		}
		r, err := first.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		r.Release()
		if _, err := pb.Do[any](ctx, r, "add"); !errors.Is(err, pb.ErrReleased) {
			t.Error(err)
		}
		synctest.Wait()
		asks.expect(t, "pipelined", "out make executed", "out add executed", "out add executed",
			"out add not executed: pb: call add on wire: broker: reference was released")
		answers.expect(t, "pipelined", "in Make executed", "in Add executed", "in Add executed")

		broken := pb.Call[*pb.RemoteReference](ctx, root, "nothing")
		for _, d := range []*pb.Deferred[int]{pb.Call[int](ctx, broken, "add", 1, 2),
			pb.Call[int](ctx, second, "add")} {
			if _, err := d.Wait(ctx); err == nil {
				t.Error("a call on what has failed, or is no object, has succeeded")
			}
		}
		synctest.Wait()
		asks.expect(t, "broken", "out nothing executed: …", "out add not executed: …")
		answers.expect(t, "broken", "in Nothing executed: …",
			"in  not executed: broker: the call whose answer it is made on has failed")

		view.Release()
		queued := pb.Call[any](ctx, root, "nested") // on an object that is not there
		_, _ = queued.Wait(ctx)
		synctest.Wait()
		asks.expect(t, "nested", "out nested executed: …")
		answers.expect(t, "nested, whose call is of no connection", "in Nested executed: …")

		under := pb.Call[any](ctx, root, "wait")
		synctest.Wait()
		_ = c.Close()
		synctest.Wait()
		if _, err := under.Wait(ctx); err == nil {
			t.Error("the call has survived its connection")
		}
		_, _ = pb.Do[any](ctx, root, "wait")
		asks.expect(t, "the end", "out wait maybe executed: …", "out wait not executed: …")
		answers.expect(t, "the end", "in Wait executed: context canceled")
		<-s.Done()
	})
}

// TestObserverIsTold looks at what an Observer is told and what its context does.
func TestObserverIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		obj := &watched{}
		var answered *pb.CallInfo
		var value any
		client := &pb.Node{Logger: silent(), Observe: func(
			ctx context.Context, call *pb.CallInfo,
		) (context.Context, func(pb.Outcome, error)) {
			if call.Args() != nil || call.Conn == nil || call.Peer != call.Conn.String() ||
				!call.Outgoing {
				t.Errorf("%+v", call)
			}
			return pb.WithTrace(ctx, "of the observer"), nil
		}}
		server := &pb.Node{
			Root: obj, Logger: silent(),
			Observe: func(
				ctx context.Context, call *pb.CallInfo,
			) (context.Context, func(pb.Outcome, error)) {
				answered = call
				if call.Args() != nil || pb.ConnFrom(ctx) != call.Conn ||
					pb.TraceFrom(ctx) != "of the observer" {
					t.Errorf("%+v", call)
				}
				return context.WithValue(ctx, key{}, "given"), nil
			},
			Around: func(
				ctx context.Context, call *pb.CallInfo, next func(context.Context) (any, error),
			) (any, error) {
				value = ctx.Value(key{})
				if call.Conn != answered.Conn {
					t.Error("the interceptor's connection is another")
				}
				return next(ctx)
			},
		}
		c, _ := pbtest.Join(t, client, server)
		for range 2 {
			if got, err := pb.Do[string](t.Context(),
				c.Root(), "trace"); got != "of the observer" || err != nil {
				t.Errorf("trace = %q, %v", got, err)
			}
		}
		if answered.Target != obj || value != "given" || answered.Outgoing {
			t.Errorf("%+v, %v", answered, value)
		}
		server.Around = func(
			context.Context, *pb.CallInfo, func(context.Context) (any, error),
		) (any, error) {
			return nil, errOdd
		}
	})
}

// TestObserverSeesLogins: the boot object's calls are told, and nothing of the credentials.
func TestObserverSeesLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asks, answers := &watcher{}, &watcher{}
		far := newActor("far")
		realm := cred.RealmFunc(func(context.Context, cred.AvatarID, any) (any, func(), error) {
			return &player{actor: far}, nil, nil
		})
		portal := &cred.Portal{Realm: realm, Checkers: []cred.Checker{doorman{}}, Logger: silent()}
		server := &pb.Node{Root: far, Portal: portal, Observe: answers.observe, Logger: silent()}
		c, _ := pbtest.Join(t, &pb.Node{Observe: asks.observe, Logger: silent()}, server)
		ctx := t.Context()
		if _, err := pb.Do[any](ctx, c.Root(), "name"); !errors.Is(err, pb.ErrNotLoggedIn) {
			t.Error(err)
		}
		if _, err := c.Login(ctx,
			cred.UsernamePassword{Username: "ann", Password: "wrong"}, nil); err == nil {
			t.Error("logged in with a wrong password")
		}
		me, err := c.Login(ctx, cred.UsernamePassword{Username: "ann", Password: "secret"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		answers.mu.Lock()
		for _, info := range answers.infos {
			if info.Target != nil {
				t.Errorf("%s has the target %T", info.Method, info.Target)
			}
		}
		answers.mu.Unlock()
		asks.expect(t, "logins", "out name not executed: …", "out login executed: …",
			"out login executed")
		answers.expect(t, "logins", "in  not executed: pb: log in first", "in Login executed: …",
			"in Login executed")
		me.Release()
	})
}

// TestObserverSeesTheRefused: peers that Allow refuses, and an interceptor's refusals.
func TestObserverSeesTheRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := &watcher{}
		around := func(
			context.Context, *pb.CallInfo, func(context.Context) (any, error),
		) (any, error) {
			return nil, errOdd
		}
		c, _ := pbtest.Join(t, &pb.Node{Logger: silent()},
			&pb.Node{Root: &watched{}, Around: around, Observe: answers.observe, Logger: silent()})
		if _, err := pb.Do[any](t.Context(), c.Root(), "add", 1, 2); !errors.Is(err, errOdd) {
			t.Error(err)
		}
		answers.expect(t, "an interceptor's", "in Add not executed: …")
	})
	answers := &watcher{}
	server := &pb.Node{
		Root:    &watched{},
		Observe: answers.observe,
		Logger:  silent(),
		Allow:   func(context.Context, *cred.Peer) error { return errOdd },
	}
	client := dialer(t, &pb.Node{Logger: silent()})
	c, err := client.Dial(t.Context(), serve(t, server, "pb+tcp://127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pb.Do[any](t.Context(), c.Root(),
		"add", 1, 2); !errors.Is(err, cred.ErrNotAllowed) {
		t.Error(err)
	}
	answers.expect(t, "Allow's", "in  not executed: …")
}

// TestObserverSeesWhatIsPassedOn has a call on another peer's object: it is seen as it comes and
// as it leaves.
func TestObserverSeesWhatIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		between := &watcher{}
		far, _ := pbtest.Join(t, &pb.Node{Logger: silent(), Observe: between.observe},
			&pb.Node{Root: &watched{}, Logger: silent()})
		node := &pb.Node{
			Logger:  silent(),
			Observe: between.observe,
			RootFor: func(*pb.Conn) any { return &lender{of: far.Root()} },
		}
		c, _ := pbtest.Join(t, &pb.Node{Logger: silent()}, node)
		r, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "lend")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pb.Do[any](t.Context(), r, "add", 1, 2); err != nil {
			t.Error(err)
		}
		if err := r.Send(t.Context(), "made up"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		between.expect(t, "between", "in Lend executed", "in add executed", "out add executed",
			"in made up oneway executed", "out made up oneway maybe executed")
		r.Release()
	})
}

// lender lends somebody else's object.
type lender struct {
	pb.Referenceable
	of *pb.RemoteReference
}

func (l *lender) RemoteLend(context.Context) (*pb.RemoteReference, error) { return l.of, nil }

// TestObserverOfAHostilePeer: what the broker refuses is told, with the method only if there is
// one.
func TestObserverOfAHostilePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := &watcher{}
		s := &transcript{T: t, text: new(strings.Builder)}
		far := newBusy("held", "arg")
		node := &pb.Node{Root: far, Logger: silent(), Observe: answers.observe, Limits: pb.Limits{
			Calls: 3, Message: 8 << 10, CallDepth: 4, Arguments: 4,
		}}
		_, conn := s.begin(nil, node)
		defer s.end()
		s.step("", s.write(0, []byte(transcriptPreface)), s.write(0, vectorFrame(1, 1, 1)))
		says := func(m string) { s.step("", s.write(0, transcriptMessage(m))) }
		for _, tt := range []struct {
			name, message string
			want          []string
		}{
			{"found", "\x96\x01\x01\x04\x01\xa4name\x90", []string{"in Name executed"}},
			{"no such method", "\x96\x01\x01\x04\x01\xa4nome\x90",
				[]string{"in  not executed: pb: no method \"nome\"…"}},
			{"no such object", "\x96\x01\x01\x04\x63\xa4name\x90",
				[]string{"in  not executed: broker: no such object: 99"}},
			{"too deep", "\x98\x01\x01\x04\x01\xa4name\x00\x05\x90",
				[]string{"in Name not executed: broker: …"}},
			{"too many arguments", "\x96\x01\x01\x04\x01\xa4name\x95\x01\x01\x01\x01\x01",
				[]string{"in Name not executed: broker: call with 5 arguments…"}},
			{"too large", "\x96\x01\x01\x04\x01\xa4name\x91\xc5\x22\x00" +
				strings.Repeat("a", 0x2200), []string{"in Name not executed: broker: …"}},
			{"values over a limit", "\x96\x01\x01\x04\x01\xa4name\x91" +
				strings.Repeat("\x91", 200) + "\x90", []string{"in Name not executed: jelly: …"}},
			{"oneway, no such method", "\x96\x01\x00\x05\x01\xa4nome\x90",
				[]string{"in  oneway not executed: pb: …"}},
			{"on no answer", "\x96\x01\x01\x04\x92\x09\x90\xa4name\x90",
				[]string{"in  not executed: broker: no such object"}},
		} {
			says(tt.message)
			answers.expect(t, tt.name, tt.want...)
		}
		for q := range 4 {
			says("\x96\x01" + string(rune(q+1)) + "\x04\x01\xa5first\x90")
		}
		if got := answers.seen; len(got) != 1 ||
			got[0] != "in First not executed: broker: overloaded" {
			t.Errorf("a call too many: %q", got)
		}
		s.step("", s.write(0, transcriptMessage("\x92\x03\x02"))) // FINISH of one that is queued
		down := make(chan error, 1)
		go func() { down <- conn.Shutdown(t.Context()) }() // ends with the calls
		synctest.Wait()
		close(far.gates["held"])
		s.step("")
		says("\x96\x01\x07\x04\x01\xa4name\x90")
		_ = conn.Close()
		if err := <-down; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		answers.expect(t, "at the end", "in First not executed: broker: overloaded",
			"in First executed", "in First not executed: context canceled",
			"in First executed", "in Name not executed: broker: connection is shutting down")
	})
}

// TestObserversRace has calls given up at all moments: each ends once.
func TestObserversRace(t *testing.T) {
	asks, answers := &watcher{}, &watcher{}
	server := &pb.Node{Root: &watched{}, Observe: answers.observe, Logger: silent()}
	client := dialer(t, &pb.Node{Logger: silent(), Observe: asks.observe})
	c, err := client.Dial(t.Context(), serve(t, server, "pb+tcp://127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for i := range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				first := pb.Call[*pb.RemoteReference](ctx, c.Root(), "make")
				d := pb.Call[int](ctx, first, "add", first, 1)
				other := pb.Call[int](t.Context(), first, "add", 1, 1)
				switch i % 4 {
				case 0:
					go cancel() // soon
				case 1:
					go d.Cancel()
				case 2:
					go d.Callback(1)
				}
				_, _ = d.Wait(t.Context())
				_, _ = other.Wait(t.Context())
				_, _ = pb.Do[any](ctx, c.Root(), "later")
				_ = c.Root().Send(ctx, "later")
				cancel()
				<-first.Done()
			}
		})
	}
	callers.Wait()
	if err := c.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	_ = server.Close()
	if n := len(asks.take(t)); n == 0 || slices.Contains(asks.seen, "TWICE") ||
		slices.Contains(answers.take(t), "TWICE") {
		t.Errorf("%d calls were seen, or one ended twice", n)
	}
}

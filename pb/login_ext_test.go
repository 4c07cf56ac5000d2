package pb_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"perspective/cred"
	"perspective/pb"
	"perspective/pb/pbtest"
)

// member is the avatar of a user with an account, guest of one without.
type (
	member struct {
		pb.Avatar
		name cred.AvatarID
		mind any
	}
	guest struct {
		pb.Avatar
		_ byte
	}
)

func (m *member) PerspectiveWho(ctx context.Context) (string, error) {
	if pb.PerspectiveFrom(ctx) != m {
		return "", errors.New("called on behalf of somebody else")
	}
	return string(m.name), nil
}

func (m *member) PerspectiveTellMind(ctx context.Context, s string) (string, error) {
	return pb.Do[string](ctx, m.mind.(pb.Target), "echo", s)
}

func (m *member) PerspectiveRoom(context.Context) (*room, error) { return &theRoom, nil }

func (m *member) PerspectiveSelf(context.Context) (*member, error) { return m, nil }

func (m *member) PerspectiveSize(_ context.Context, s string) (int, error) { return len(s), nil }

func (*guest) PerspectiveRoom(context.Context) (*room, error) { return &theRoom, nil }

// room is an object whose methods get the caller's avatar.
type room struct{ pb.Viewable }

var theRoom room

func (*room) ViewWho(_ context.Context, m *member) (string, error) { return string(m.name), nil }

// club is a realm that counts its logins.
type club struct {
	mu      sync.Mutex
	in, out []cred.AvatarID
}

func (r *club) RequestAvatar(_ context.Context, id cred.AvatarID, mind any) (any, func(), error) {
	if id == "banned" {
		return nil, nil, errOdd
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.in = append(r.in, id)
	leave := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.out = append(r.out, id)
	}
	if id == cred.AnonymousID {
		return &guest{}, leave, nil
	}
	return &member{name: id, mind: mind}, leave, nil
}

func (r *club) counts() (in, out int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.in), len(r.out)
}

var clubPasswords = sync.OnceValue(func() *cred.InMemory {
	m, err := cred.HashInMemory(map[string]cred.Password{
		"ann":    "a-word",
		"bob":    "b-word",
		"banned": "x-word",
	},
		&cred.HashParams{Time: 1, MemoryKiB: 8 << 10, Threads: 1})
	if err != nil {
		panic(err)
	}
	return m
})

// door is a node with a realm behind it.
func door() (*pb.Node, *club) {
	r := &club{}
	return &pb.Node{
		Root: &echoes{},
		Portal: &cred.Portal{Realm: r,
			Checkers: []cred.Checker{clubPasswords(), cred.AnonymousChecker{}}},
		Logger: silent(),
		Limits: pb.Limits{Login: time.Minute}, // a password costs, and the machine may be busy
	}, r
}

func ann() cred.UsernamePassword {
	return cred.UsernamePassword{Username: "ann", Password: "a-word"}
}

func TestLogin(t *testing.T) {
	node, _ := door()
	c, _ := pbtest.Join(t, &pb.Node{}, node)
	ctx := t.Context()
	me, err := c.Login(ctx, ann(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := pb.Do[string](ctx, me, "who"); s != "ann" || err != nil {
		t.Errorf("who = %q, %v", s, err)
	}
	self, err := pb.Do[*pb.RemoteReference](ctx, me, "self")
	if self != me || err != nil {
		t.Errorf("the avatar, sent again, is %v, want %v, %v", self, me, err)
	}
	lounge, err := pb.Do[*pb.RemoteReference](ctx, me, "room")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := pb.Do[string](ctx, lounge, "who"); s != "ann" || err != nil {
		t.Errorf("a View method was told %q, %v", s, err)
	}

	wrong := map[string]cred.Credentials{
		"wrong password": cred.UsernamePassword{Username: "ann", Password: "b-word"},
		"unknown user":   cred.UsernamePassword{Username: "zoe", Password: "a-word"},
		"no user":        cred.UsernamePassword{},
	}
	texts := map[string]bool{}
	for name, creds := range wrong {
		_, err := c.Login(ctx, creds, nil)
		if !errors.Is(err, cred.ErrUnauthorized) || pb.OutcomeOf(err) != pb.Executed {
			t.Errorf("%s: %v", name, err)
		}
		texts[err.Error()] = true
	}
	if len(texts) != 1 {
		t.Errorf("refusals can be told apart: %v", texts)
	}
	if _, err := c.Login(ctx, cred.PeerUID{}, nil); !errors.Is(err, cred.ErrUnhandledCredentials) {
		t.Errorf("credentials that no checker takes: %v", err)
	}
	if _, err := c.Login(ctx, cred.UsernamePassword{Username: "banned", Password: "x-word"},
		nil); !errors.Is(err, errOdd) {
		t.Errorf("the realm's own error: %v", err)
	}
	runtime.KeepAlive(me)
}

func TestLoginAnonymous(t *testing.T) {
	node, _ := door()
	c, _ := pbtest.Join(t, &pb.Node{}, node)
	nobody, err := c.Login(t.Context(), cred.Anonymous{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	lounge, err := pb.Do[*pb.RemoteReference](t.Context(), nobody, "room")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pb.Do[string](t.Context(), lounge, "who"); !errors.Is(err, pb.ErrNoAvatar) {
		t.Errorf("a View method for members, called by a guest: %v", err)
	}
	var none *pb.NoSuchMethodError
	if _, err := pb.Do[string](t.Context(), nobody, "who"); !errors.As(err, &none) {
		t.Errorf("a guest called a member's method: %v", err)
	}
	runtime.KeepAlive(nobody)
}

// The realm can call what the peer brought along.
func TestMind(t *testing.T) {
	node, _ := door()
	c, _ := pbtest.Join(t, &pb.Node{}, node)
	me, err := c.Login(t.Context(), ann(), &echoes{})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := pb.Do[string](t.Context(), me, "tellMind", "psst"); s != "psst" || err != nil {
		t.Errorf("the mind said %q, %v", s, err)
	}
	runtime.KeepAlive(me)
}

func TestRootNeedsTheLogin(t *testing.T) {
	node, _ := door()
	c, _ := pbtest.Join(t, &pb.Node{}, node)
	ctx := t.Context()
	if _, err := pb.Do[string](ctx, c.Root(), "echo", "x"); !errors.Is(err, pb.ErrNotLoggedIn) ||
		pb.OutcomeOf(err) != pb.NotExecuted {
		t.Errorf("the root before the login: %v", err)
	}
	if _, err := c.Login(ctx,
		cred.UsernamePassword{Username: "ann", Password: "no"}, nil); err == nil {
		t.Error("a wrong password let in")
	}
	if _, err := pb.Do[string](ctx, c.Root(), "echo", "x"); !errors.Is(err, pb.ErrNotLoggedIn) {
		t.Errorf("the root after a login that failed: %v", err)
	}
	me, err := c.Login(ctx, ann(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := pb.Do[string](ctx, c.Root(), "echo", "x"); s != "x" || err != nil {
		t.Errorf("the root after the login: %q, %v", s, err)
	}
	runtime.KeepAlive(me)
}

// The login's end takes the root back, over the living connection; another login gives it again.
func TestLogoutTakesTheRoot(t *testing.T) {
	node, _ := door()
	c, _ := pbtest.Join(t, &pb.Node{}, node)
	ctx := t.Context()
	root := func(when string, want error) {
		t.Helper()
		if _, err := pb.Do[string](ctx, c.Root(), "echo", "x"); !errors.Is(err, want) ||
			want == nil && err != nil {
			t.Errorf("the root %s: %v, want %v", when, err, want)
		}
	}
	first, err := c.Login(ctx, ann(), nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.Login(ctx, ann(), nil)
	if err != nil {
		t.Fatal(err)
	}
	root("with two logins", nil)
	for i, me := range []*pb.RemoteReference{first, second} {
		me.Release()
		if err := c.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		if i == 0 && first != second {
			root("with one of them", nil)
		}
	}
	root("after the last logout", pb.ErrNotLoggedIn)
	if _, err := c.Root().Methods(ctx); !errors.Is(err, pb.ErrNotLoggedIn) {
		t.Errorf("its methods after the last logout: %v", err)
	}
	again, err := c.Login(ctx, ann(), nil)
	if err != nil {
		t.Fatal(err)
	}
	root("after another login", nil)
	runtime.KeepAlive(again)
}

// A peer that Allow lets in need not log in; one that it does not has no connection.
func TestAllow(t *testing.T) {
	node, _ := door()
	node.Allow = func(context.Context, *cred.Peer) error { return nil }
	c, _ := pbtest.Join(t, &pb.Node{}, node)
	if s, err := pb.Do[string](t.Context(), c.Root(), "echo", "x"); s != "x" || err != nil {
		t.Errorf("the root: %q, %v", s, err)
	}
	closed := &pb.Node{Root: &echoes{}, Allow: cred.AllowKeys()}
	a, b := pbtest.Pipe()
	if _, err := closed.Attach(t.Context(), a, pb.Acceptor); !errors.Is(err, cred.ErrNotAllowed) {
		t.Errorf("Attach of a peer that is not allowed = %v", err)
	}
	if _, err := b.Read(make([]byte, 1)); err == nil {
		t.Error("its connection was left open")
	}
}

// A Portal that can not check logins is an error where it is first used. What becomes wrong with it
// later is logged.
func TestPortalWithoutItsFile(t *testing.T) {
	pbtest.NoLeaks(t)
	var log logLines
	path := filepath.Join(t.TempDir(), "users")
	made := func() *pb.Node {
		return dialer(t, &pb.Node{Logger: silent(), Portal: &cred.Portal{
			Realm:    &club{},
			Checkers: []cred.Checker{&cred.PasswordFile{Path: path}, cred.AnonymousChecker{}},
			Logger:   slog.New(slog.NewTextHandler(&log, nil)),
		}})
	}
	peer := serve(t, &pb.Node{Root: &echoes{}, Logger: silent()}, "pb+tcp://127.0.0.1:0")
	attach := func(side pb.Side) func(*pb.Node) error {
		return func(n *pb.Node) error {
			a, b := pbtest.Pipe()
			_, err := n.Attach(t.Context(), a, side)
			if _, end := b.Read(make([]byte, 1)); err != nil && end == nil {
				t.Error("the connection was left open")
			}
			return err
		}
	}
	uses := map[string]func(*pb.Node) error{
		"Listen": func(n *pb.Node) error {
			_, err := n.Listen("pb://127.0.0.1:0")
			return err
		},
		"Serve": func(n *pb.Node) error {
			ln, err := new(pb.Node).Listen("pb+tcp://127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			err = n.Serve(ln)
			if _, open := ln.Accept(); open == nil || !errors.Is(open, net.ErrClosed) {
				t.Errorf("Accept = %v, want that the listener was closed", open)
			}
			return err
		},
		"ListenAndServe": func(n *pb.Node) error {
			return n.ListenAndServe("pb+tcp://127.0.0.1:0")
		},
		"Attach":         attach(pb.Acceptor),
		"Attach, dialer": attach(pb.Dialer),
		"Dial": func(n *pb.Node) error {
			_, err := n.Dial(t.Context(), peer)
			return err
		},
	}
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	closing := func(n *pb.Node) *pb.Node { // a Serve that gives no error ends all the same
		stuck := time.AfterFunc(time.Minute, func() { _ = n.Close() })
		t.Cleanup(func() { stuck.Stop() })
		return n
	}
	for name, use := range uses {
		if err := use(closing(made())); !errors.Is(err, fs.ErrNotExist) ||
			!strings.Contains(err.Error(), path) {
			t.Errorf("%s without the password file: %v, want an error that names it", name, err)
		}
	}
	write("ann\n")
	for name, use := range uses {
		var line *cred.FileError
		if err := use(closing(made())); !errors.As(err, &line) || line.Line != 1 {
			t.Errorf("%s with a bad line: %v, want a *cred.FileError", name, err)
		}
	}
	node := made()
	if err := uses["Listen"](node); err == nil {
		t.Error("Listen with a bad line gave no error")
	}
	write("")
	url := serve(t, node, "pb+tcp://127.0.0.1:0") // the file was mended
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c, err := dialer(t, &pb.Node{Logger: silent()}).Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Login(t.Context(), cred.UsernamePassword{Username: "ann", Password: "sesame"}, nil)
	if !errors.Is(err, cred.ErrUnauthorized) || !strings.Contains(log.String(), path) {
		t.Errorf("a login without the file: %v, want cred.ErrUnauthorized and the file in the "+
			"log:\n%s", err, log.String())
	}
	if _, err := c.Login(t.Context(), cred.Anonymous{}, nil); err != nil {
		t.Errorf("a login of another kind: %v", err)
	}
	if _, err := node.Dial(t.Context(), peer); err != nil {
		t.Errorf("Dial by a node that served before: %v", err)
	}
}

// A login ends exactly once, whatever ends it.
func TestLogoutOnce(t *testing.T) {
	type scene struct {
		node *pb.Node
		c, s *pb.Conn
		wire *pbtest.Wire
		me   *pb.RemoteReference
	}
	ends := map[string]func(t *testing.T, s *scene){
		"the caller closes": func(_ *testing.T, s *scene) { _ = s.c.Close() },
		"the node closes":   func(_ *testing.T, s *scene) { _ = s.node.Close() },
		"the node shuts down": func(t *testing.T, s *scene) {
			if err := s.node.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"the line is cut": func(_ *testing.T, s *scene) { s.wire.Cut() },
		"released, then closed": func(t *testing.T, s *scene) {
			s.me.Release()
			if err := s.c.Sync(t.Context()); err != nil {
				t.Error(err)
			}
			_ = s.c.Close()
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node, r := door()
				s := &scene{node: node, wire: pbtest.NewWire()}
				s.c, s.s = s.wire.Join(t, &pb.Node{Logger: silent()}, node)
				me, err := s.c.Login(t.Context(), ann(), nil)
				if err != nil {
					t.Fatal(err)
				}
				s.me = me
				if in, out := r.counts(); in != 1 || out != 0 {
					t.Fatalf("%d in, %d out while logged in", in, out)
				}
				end(t, s)
				<-s.c.Done()
				<-s.s.Done()
				synctest.Wait()
				if in, out := r.counts(); in != 1 || out != 1 {
					t.Errorf("%d in, %d out at the end", in, out)
				}
				runtime.KeepAlive(s)
			})
		})
	}
}

// Letting go of the avatar is logging out; what else the connection does goes on.
func TestLogoutWithTheLastReference(t *testing.T) {
	node, r := door()
	c, s := pbtest.Join(t, &pb.Node{}, node)
	ctx := t.Context()
	stays, err := c.Login(ctx, cred.UsernamePassword{Username: "bob", Password: "b-word"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Login(ctx, ann(), nil); err != nil { // nobody keeps it
		t.Fatal(err)
	}
	out := 0
	for deadline := time.Now().Add(time.Minute); out == 0 &&
		time.Now().Before(deadline); _, out = r.counts() {
		runtime.GC()
		if err := c.Sync(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if out != 1 || r.out[0] != "ann" {
		t.Fatalf("logged out %v, want ann alone", r.out)
	}
	if m, ok := s.Avatar().(*member); !ok || m.name != "bob" {
		t.Errorf("the peer is now %v, want bob", s.Avatar())
	}
	if who, err := pb.Do[string](ctx, stays, "who"); who != "bob" || err != nil {
		t.Errorf("the other login: %q, %v", who, err)
	}
	runtime.KeepAlive(stays)
}

// A peer that does not log in within the time loses its connection; one that has keeps it.
func TestTimeToLogIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pbtest.NoLeaks(t)
		node, _ := door()
		node.Limits.Login = 10 * time.Second // the default; elsewhere a test has a minute
		late, _ := pbtest.Join(t, &pb.Node{}, node)
		good, _ := pbtest.Join(t, &pb.Node{}, node)
		me, err := good.Login(t.Context(), ann(), nil)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		<-late.Done()
		if took := time.Since(begin); took != 10*time.Second ||
			!errors.Is(late.Err(), pb.ErrPeerClosed) {
			t.Errorf("a stranger stayed for %v and left with %v", took, late.Err())
		}
		time.Sleep(10 * time.Minute)
		if who, err := pb.Do[string](t.Context(), me, "who"); who != "ann" || err != nil {
			t.Errorf("after ten minutes: %q, %v", who, err)
		}
		runtime.KeepAlive(me)
	})
}

// Before the login a message has a smaller limit.
func TestMessagesBeforeTheLogin(t *testing.T) {
	node, _ := door()
	c, _ := pbtest.Join(t, &pb.Node{}, node)
	ctx := t.Context()
	large := strings.Repeat("x", 300<<10)
	_, err := c.Login(ctx,
		cred.UsernamePassword{Username: "ann", Password: cred.Password(large)}, nil)
	if !errors.Is(err, pb.ErrTooLarge) || pb.OutcomeOf(err) != pb.NotExecuted {
		t.Errorf("a large message before the login: %v, %v", err, pb.OutcomeOf(err))
	}
	saysSizes(t, err, "a call of 3072",
		"the peer takes 65536 (its Limits.LoginMessage, until the login)")
	me, err := c.Login(ctx, ann(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := pb.Do[int](ctx, me, "size", large); n != len(large) || err != nil {
		t.Errorf("a large message after it: %v, %v", n, err)
	}
	runtime.KeepAlive(me)
}

// What interceptors see are calls to the node's objects: no passwords.
func TestInterceptorsSeeNoPasswords(t *testing.T) {
	node, _ := door()
	var seen []string
	node.Around = func(
		ctx context.Context, call *pb.CallInfo, next func(context.Context) (any, error),
	) (any, error) {
		seen = append(seen, call.Method)
		return next(ctx)
	}
	c, _ := pbtest.Join(t, &pb.Node{}, node)
	me, err := c.Login(t.Context(), ann(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pb.Do[string](t.Context(), me, "who"); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(seen, " "); got != "Who" {
		t.Errorf("the interceptor saw %q", got)
	}
	runtime.KeepAlive(me)
}

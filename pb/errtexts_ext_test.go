package pb_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"perspective/cred"
	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/cluster"
	"perspective/pb/distrib"
	"perspective/pb/pbtest"
)

var prefixes = regexp.MustCompile(`\b(pb|broker|cred|jelly|distrib|cluster): `)

// doubled tells whether a package's prefix stands there twice.
func doubled(s string) bool {
	seen := map[string]bool{}
	for _, p := range prefixes.FindAllString(s, -1) {
		if seen[p] {
			return true
		}
		seen[p] = true
	}
	return false
}

// A wordyRoot has methods that fail in the ways of this project's packages.
type wordyRoot struct {
	codeRoot
	next func() pb.Target
}

func (*wordyRoot) RemoteOwn(context.Context) error {
	return fmt.Errorf("shop: %w", pb.ErrCancelled)
}
func (*wordyRoot) RemoteOver(context.Context) error {
	return fmt.Errorf("pb: over: %w", pb.ErrOverloaded)
}
func (*wordyRoot) RemoteChannel(context.Context) (any, error) { return make(chan int), nil }
func (*wordyRoot) RemoteGhost(context.Context) (any, error) {
	return struct{ pb.Referenceable }{}, nil
}
func (w *wordyRoot) RemoteNested(ctx context.Context) (int, error) {
	return pb.Do[int](ctx, w.next(), "none")
}
func (w *wordyRoot) RemoteBroken(ctx context.Context) (*pb.Deferred[int], error) {
	return pb.Call[int](ctx, pb.Call[*pb.RemoteReference](ctx, w.next(), "none"), "none"), nil
}
func (*wordyRoot) RemoteView(context.Context) (*glance, error) { return &glance{}, nil }
func (*wordyRoot) RemoteOutside(context.Context) error {
	return pb.Note(context.Background(), 1)
}
func (*wordyRoot) RemoteTake(context.Context, *pb.RemoteReference) error { return nil }

type glance struct{ pb.Viewable }

func (*glance) ViewIt(context.Context, *body) error { return nil }

// TestErrorsSayTheirPackageOnce reads what callers are told.
func TestErrorsSayTheirPackageOnce(t *testing.T) {
	ctx := t.Context()
	root := &wordyRoot{codeRoot: codeRoot{bad: func() { panic("boom") }}}
	server, client := &pb.Node{Root: root, Logger: silent()}, &pb.Node{Logger: silent()}
	ln, err := server.Listen("pb://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the node
		defer close(ended)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		_, _ = client.Close(), server.Close()
		<-ended
	})
	conn, err := client.Dial(ctx, server.URLOf(ln))
	if err != nil {
		t.Fatal(err)
	}
	root.next = func() pb.Target { return server.Conns()[0].Root() }
	lost, over := pbtest.Join(t, &pb.Node{Logger: silent()},
		&pb.Node{Root: &codeRoot{}, Logger: silent()})
	_ = over.Close()
	<-lost.Done()
	other, err := client.ID()
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	dial := func(url string) func() error {
		return func() error { _, err := client.Dial(ctx, url); return err }
	}
	do := func(method string, args ...any) func() error {
		return func() error { _, err := pb.Do[int](ctx, conn.Root(), method, args...); return err }
	}
	for name, call := range map[string]func() error{
		"another key":   dial("pb://" + other + "@" + ln.Addr().String() + "/"),
		"a bad node id": dial("pb://x@127.0.0.1:1/"),
		"a bad url":     dial("pb://127.0.0.1:x/"),
		"no url":        dial("x"),
		"nobody":        dial("pb+unix://" + filepath.Join(t.TempDir(), "none")),
		"listen": func() error {
			_, err := client.Listen("pb://x@127.0.0.1:1/")
			return err
		},
		"a bad root": func() error {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			return (&pb.Node{Root: struct{}{}}).Serve(ln)
		},
		"no method":        do("none"),
		"arguments":        do("one", 1),
		"a panic":          do("bad"),
		"an argument":      do("argument", 1),
		"a channel":        do("argument", make(chan int)),
		"a reader":         do("argument", strings.NewReader("x")),
		"a broken promise": do("one", pb.Fail[int](pb.ErrCancelled)),
		"no target":        func() error { _, err := pb.Do[int](ctx, nil, "one"); return err },
		"a result's type": func() error {
			_, err := pb.Do[[]string](ctx, conn.Root(), "one")
			return err
		},
		"an ended ctx": func() error {
			_, err := pb.Do[int](gone, conn.Root(), "one")
			return err
		},
		"no portal": func() error {
			_, err := conn.Login(ctx, cred.Anonymous{}, nil)
			return err
		},
		"a password file": func() error {
			_, err := (&cred.PasswordFile{Path: filepath.Join(t.TempDir(), "none")}).Check(ctx,
				cred.UsernamePassword{}, nil)
			return err
		},
		"a wrapped error":           do("own"),
		"an overload":               do("over"),
		"a result that is no value": do("channel"),
		"an object by value":        do("ghost"),
		"a nested call":             do("nested"),
		"a nested promise":          do("broken"),
		"outside of a method":       do("outside"),
		"no object":                 do("take", 1),
		"a stream for an object":    do("take", pb.Reader(strings.NewReader("x"))),
		"an object for a number":    do("argument", &codeRoot{}),
		"an object by value sent":   do("argument", codeRoot{}),
		"a broken argument":         do("argument", pb.Call[int](ctx, conn.Root(), "none")),
		"an error as an argument":   do("argument", fmt.Errorf("pb: x: %w", fs.ErrClosed)),
		"an error of a nested call": do("argument",
			func() error { _, err := pb.Do[int](ctx, conn.Root(), "none"); return err }()),
		"on a broken promise": func() error {
			_, err := pb.Do[int](ctx,
				pb.Call[*pb.RemoteReference](ctx, conn.Root(), "none"), "none")
			return err
		},
		"on what is no object": func() error {
			_, err := pb.Do[int](ctx, pb.Call[int](ctx, conn.Root(), "one"), "none")
			return err
		},
		"no avatar": func() error {
			_, err := pb.Do[any](ctx, pb.Call[*pb.RemoteReference](ctx, conn.Root(), "view"), "it")
			return err
		},
		"a nil input": func() error { _, err := pb.Gather[int](nil).Wait(ctx); return err },
		"a callback": func() error {
			_, err := pb.Then(pb.Call[int](ctx, conn.Root(), "one"),
				func(int) (int, error) { panic(pb.ErrCancelled) }).Wait(ctx)
			return err
		},
		"an ended connection": func() error {
			_, err := pb.Do[int](ctx, lost.Root(), "one")
			return err
		},
		"a send": func() error { return lost.Root().Send(ctx, "one") },
		"a cause of ours": func() error {
			ctx, cancel := context.WithCancelCause(ctx)
			cancel(pb.ErrNodeClosed)
			_, err := new(pb.Deferred[int]).Wait(ctx)
			return err
		},
		"a root's choice": func() error {
			n := &pb.Node{RootFor: func(*pb.Conn) any { return struct{}{} }, Logger: silent()}
			c, _ := pbtest.Join(t, &pb.Node{Logger: silent()}, n)
			_, err := pb.Do[int](ctx, c.Root(), "one")
			return err
		},
		"a refusal": func() error {
			n := &pb.Node{
				Allow:  func(context.Context, *cred.Peer) error { return pb.ErrNotLoggedIn },
				Logger: silent(),
			}
			a, _ := net.Pipe()
			_, err := n.Attach(ctx, a, pb.Acceptor)
			return err
		},
		"a ConnContext": func() error {
			n := &pb.Node{
				ConnContext: func(context.Context, *pb.Conn) context.Context { return nil },
				Logger:      silent(),
			}
			a, _ := net.Pipe()
			_, err := n.Attach(ctx, a, pb.Acceptor)
			return err
		},
		"a realm's avatar": func() error {
			realm := cred.RealmFunc(func(context.Context, cred.AvatarID, any) (any, func(), error) {
				return 1, nil, nil
			})
			return login(t,
				&cred.Portal{Realm: realm, Checkers: []cred.Checker{cred.AnonymousChecker{}}})
		},
		"a realm's error": func() error {
			realm := cred.RealmFunc(func(context.Context, cred.AvatarID, any) (any, func(), error) {
				return nil, nil, cred.ErrNotAllowed
			})
			return login(t,
				&cred.Portal{Realm: realm, Checkers: []cred.Checker{cred.AnonymousChecker{}}})
		},
		"a portal without a realm": func() error {
			return login(t, &cred.Portal{})
		},
		"a portal's file": func() error {
			file := filepath.Join(t.TempDir(), "users")
			if err := os.WriteFile(file, []byte("nonsense\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			portal := &cred.Portal{Checkers: []cred.Checker{&cred.PasswordFile{Path: file}},
				Logger: silent()}
			return (&pb.Node{Portal: portal, Logger: silent()}).ListenAndServe(
				"pb+tcp://127.0.0.1:0")
		},
		"a key file": func() error {
			file := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := pb.LoadKey(file)
			return err
		},
		"a service without a provider": func() error {
			c := &cluster.Cluster{Node: &pb.Node{}}
			_, err := pb.Do[int](gone, c.Service("x"), "one")
			return err
		},
		"a mount's URL": func() error {
			t.Setenv("PB_MOUNT_URL", "nonsense")
			return (&distrib.Mount{Logger: silent()}).Serve(ctx)
		},
		"jelly": func() error { return jelly.GetEncoder().Encode(make(chan int)) },
		"cluster's address": func() error {
			return (&cluster.Cluster{Node: &pb.Node{}, Listen: "x", Bind: "127.0.0.1:0"}).Start(ctx)
		},
		"no front": func() error { return (&distrib.Mount{}).Serve(ctx) },
		"a part": func() error {
			a, b := net.Pipe()
			_ = b.Close()
			return (&distrib.Mount{}).ServeConn(ctx, a)
		},
		"a closed node": func() error {
			n := &pb.Node{}
			_ = n.Close()
			a, _ := net.Pipe()
			_, err := n.Attach(ctx, struct{ io.ReadWriteCloser }{a}, pb.Dialer)
			return err
		},
	} {
		err := call()
		switch {
		case err == nil:
			t.Errorf("%s: no error", name)
		case doubled(err.Error()):
			t.Errorf("%s: %v", name, err)
		}
	}
}

// login gives the error of a login at portal.
func login(t *testing.T, portal *cred.Portal) error {
	t.Helper()
	portal.Logger = silent()
	c, _ := pbtest.Join(t, &pb.Node{Logger: silent()}, &pb.Node{Portal: portal, Logger: silent()})
	_, err := c.Login(t.Context(), cred.Anonymous{}, nil)
	return err
}

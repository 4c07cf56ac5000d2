package pb_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"perspective/cred"
	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/cluster"
	"perspective/pb/distrib"
)

var prefixes = regexp.MustCompile(`(pb|broker|cred|jelly|distrib|cluster): `)

// doubled tells whether a package's prefix stands twice in a row.
func doubled(s string) bool {
	for _, p := range prefixes.FindAllString(s, -1) {
		if strings.Contains(s, p+p) {
			return true
		}
	}
	return false
}

// TestErrorsSayTheirPackageOnce reads what callers are told.
func TestErrorsSayTheirPackageOnce(t *testing.T) {
	ctx := t.Context()
	server, client := &pb.Node{Root: &codeRoot{bad: func() { panic("boom") }}}, &pb.Node{}
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
		"listen":        func() error { _, err := client.Listen("pb://x@127.0.0.1:1/"); return err },
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
		"a result's type":  func() error { _, err := pb.Do[[]string](ctx, conn.Root(), "one"); return err },
		"an ended ctx":     func() error { _, err := pb.Do[int](gone, conn.Root(), "one"); return err },
		"no portal":        func() error { _, err := conn.Login(ctx, cred.Anonymous{}, nil); return err },
		"a password file": func() error {
			_, err := (&cred.PasswordFile{Path: filepath.Join(t.TempDir(), "none")}).Check(ctx, cred.UsernamePassword{}, nil)
			return err
		},
		"jelly": func() error { return jelly.GetEncoder().Encode(make(chan int)) },
		"cluster's address": func() error {
			return (&cluster.Cluster{Node: &pb.Node{}, Listen: "x", Bind: "127.0.0.1:0"}).Start(ctx)
		},
		"no front": func() error { return (&distrib.Mount{}).Serve(ctx) },
		"a part":   func() error { a, b := net.Pipe(); _ = b.Close(); return (&distrib.Mount{}).ServeConn(ctx, a) },
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

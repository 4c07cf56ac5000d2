package pb_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perspective/cred"
	"perspective/pb"
	"perspective/pb/pbtest"
)

func TestParseURL(t *testing.T) {
	id := strings.Repeat("a", cred.NodeIDLen)
	good := map[string]pb.Address{
		"pb://example.com":                {Scheme: "pb", Host: "example.com:8787"},
		"pb://example.com:1/":             {Scheme: "pb", Host: "example.com:1"},
		"pb://" + id + "@example.com:1/":  {Scheme: "pb", NodeID: id, Host: "example.com:1"},
		"pb://[::1]":                      {Scheme: "pb", Host: "[::1]:8787"},
		"pb://[fe80::1%25eth0]":           {Scheme: "pb", Host: "[fe80::1%eth0]:8787"},
		"pb+tcp://127.0.0.1:0":            {Scheme: "pb+tcp", Host: "127.0.0.1:0"},
		"pb+unix:///run/a%20b/s":          {Scheme: "pb+unix", Host: "/run/a b/s"},
		"pb://" + id + "@[fe80::1]:8787/": {Scheme: "pb", NodeID: id, Host: "[fe80::1]:8787"},
	}
	for text, want := range good {
		got, err := pb.ParseURL(text)
		if got != want || err != nil {
			t.Errorf("ParseURL(%q) = %+v, %v, want %+v", text, got, err, want)
		}
		if again, err := pb.ParseURL(got.String()); again != want || err != nil {
			t.Errorf("ParseURL(%q), what String gives, = %+v, %v", got.String(), again, err)
		}
	}
	bad := []string{
		"", "example.com", "http://example.com", "pb://", "pb:///path", "pb://host/path",
		"pb://host?x=1", "pb://host#x",
		"pb://short@host", "pb://" + strings.ToUpper(id) + "@host", "pb://" + id + ":password@host",
		"pb+tcp://" + id + "@host",
		"pb+unix://host/path", "pb+unix://", "pb+unix:///", "pb+unix:relative", "pb://host:port",
		"pb://host:99999", "pb://::", "pb://::1", "pb://[x:y]", "pb://1:2:3", "\x7f", "pb:opaque",
	}
	for _, text := range bad {
		if got, err := pb.ParseURL(text); err == nil ||
			!strings.HasPrefix(err.Error(), "pb: address") {
			t.Errorf("ParseURL(%q) = %+v, %v", text, got, err)
		}
	}
}

// What is no pb URL at all is answered with the forms there are.
func TestParseURLTellsForms(t *testing.T) {
	for _, text := range []string{"127.0.0.1:8788", "example.com:8788", "/run/socket",
		"http://example.com", ""} {
		if _, err := pb.ParseURL(text); err == nil ||
			!strings.HasSuffix(err.Error(), "want pb://…, pb+tcp://… or pb+unix:///path") {
			t.Errorf("ParseURL(%q) = %v", text, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"pB://::", "pb://[fe80::1%25eth0]", "pb://%e4", "pb://<>",
		"pb://a@b:1/", "pb+unix:///x", "pb+tcp://[::1]:0/", "pb://%41"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := pb.ParseURL(s)
		if err != nil {
			return
		}
		if again, err := pb.ParseURL(a.String()); again != a || err != nil {
			t.Errorf("%q is %+v, whose text %q is %+v, %v", s, a, a.String(), again, err)
		}
	})
}

// Plain TCP is for this machine alone, unless the program says otherwise.
func TestListenPlain(t *testing.T) {
	tests := []struct {
		url   string
		plain bool
		ok    bool
	}{
		{"pb+tcp://127.0.0.1:0", false, true},
		{"pb+tcp://0.0.0.0:0", false, false},
		{"pb+tcp://0.0.0.0:0", true, true},
		{"pb://0.0.0.0:0", false, true},
		{"http://127.0.0.1:0", false, false},
	}
	for _, test := range tests {
		node := dialer(t, &pb.Node{Plain: test.plain})
		ln, err := node.Listen(test.url)
		if (err == nil) != test.ok {
			t.Errorf("Listen(%s), Plain %v: %v, want it to work: %v", test.url,
				test.plain, err, test.ok)
		}
		if err == nil {
			_ = ln.Close()
		}
	}
}

func TestListenAsAnotherNode(t *testing.T) {
	key, err := pb.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	node := dialer(t, &pb.Node{Key: key})
	ln, err := node.Listen("pb://" + key.NodeID() + "@127.0.0.1:0")
	if err != nil {
		t.Fatalf("listening under its own id: %v", err)
	}
	_ = ln.Close()
	if _, err := node.Listen("pb://" + strings.Repeat("a", cred.NodeIDLen) +
		"@127.0.0.1:0"); err == nil {
		t.Error("a node listens under the id of another")
	}
}

func TestListenUnix(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s")
	url := "pb+unix://" + file
	server := &pb.Node{Root: &echoes{}, Logger: silent()}
	if got := serve(t, server, url); got != url {
		t.Errorf("URLOf = %s, want %s", got, url)
	}
	info, err := os.Lstat(file)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket's mode is %v, %v", info.Mode(), err)
	}
	client := dialer(t, &pb.Node{})
	if err := says(t, client, url); err != nil {
		t.Error(err)
	}
	if _, err := client.Listen(url); err == nil {
		t.Error("two nodes listen on one socket")
	}

	stale := filepath.Join(t.TempDir(), "stale")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	_ = ln.Close()
	if err := says(t, client,
		serve(t, &pb.Node{Root: &echoes{}, Logger: silent()}, "pb+unix://"+stale)); err != nil {
		t.Errorf("a socket that somebody left: %v", err)
	}

	plain := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plain, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Listen("pb+unix://" + plain); err == nil {
		t.Error("a socket took the place of a file")
	}
}

// Of one address only so many peers may be there before they log in. Those that have, and those
// that the kernel identifies (peer credentials), do not count.
func TestStrangersOfOneAddress(t *testing.T) {
	pbtest.NoLeaks(t)
	node, _ := door()
	node.Limits.Unauthenticated = 3
	url := serve(t, node, "pb+tcp://127.0.0.1:0")
	client := &pb.Node{}
	defer client.Close() //nolint:errcheck // the end of the test
	join := func() *pb.Conn {
		c, err := client.Dial(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for range 5 { // none of these stays a stranger
		if _, err := join().Login(t.Context(), cred.Anonymous{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	strangers := []*pb.Conn{join(), join(), join()}
	for _, c := range strangers {
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// else it was turned away before Dial was through
	if over, err := client.Dial(t.Context(), url); err == nil {
		select {
		case <-over.Done():
		case <-time.NewTimer(time.Minute).C:
			t.Fatal("one stranger too many was let in")
		}
	}
	_ = strangers[0].Close()
	for deadline := time.Now().Add(time.Minute); ; {
		c, err := client.Dial(t.Context(), url)
		if err == nil {
			err = c.Sync(t.Context())
		}
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a stranger left and no other gets in: %v", err)
		}
	}
}

func TestConnsLimit(t *testing.T) {
	node := &pb.Node{Root: &echoes{}, Logger: silent(), Limits: pb.Limits{Conns: 1}}
	url := serve(t, node, "pb+tcp://127.0.0.1:0")
	client := dialer(t, &pb.Node{})
	first, err := client.Dial(t.Context(), url)
	if err == nil { // Sync is answered before a connection has its place
		_, err = pb.Do[string](t.Context(), first.Root(), "echo", "hi")
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(node.Conns()) != 1 || node.Conns()[0].Node() != node {
		t.Errorf("Conns = %v", node.Conns())
	}
	if err := says(t, client, url); err == nil || pb.OutcomeOf(err) == pb.Executed {
		t.Errorf("a second connection: %v", err)
	}
	_ = first.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for says(t, client, url) != nil {
		if ctx.Err() != nil {
			t.Fatal("the first left and nobody else gets in")
		}
	}
}

// Serve takes any listener, and says why it ends.
func TestServe(t *testing.T) {
	node := &pb.Node{Root: &echoes{}, Logger: silent()}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- node.Serve(ln) }() // ends with ln
	if err := says(t, dialer(t, &pb.Node{}), "pb+tcp://"+ln.Addr().String()); err != nil {
		t.Error(err)
	}
	_ = ln.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve, its listener closed, = %v", err)
	}
	_ = node.Close()
	again, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Serve(again); !errors.Is(err, pb.ErrNodeClosed) {
		t.Errorf("Serve of a closed node = %v", err)
	}
	if _, err := net.DialTimeout("tcp", again.Addr().String(), time.Second); err == nil {
		t.Error("a closed node left the listener open")
	}
	var end io.ReadWriteCloser
	end, _ = pbtest.Pipe()
	if _, err := node.Attach(t.Context(), end, pb.Dialer); !errors.Is(err, pb.ErrNodeClosed) {
		t.Errorf("Attach to a closed node = %v", err)
	}
}

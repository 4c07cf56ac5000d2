package pb_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"perspective/cred"
	"perspective/pb"
	"perspective/pb/pbtest"
)

// A dialer of a port that speaks something else is told what it speaks and what to dial.
func TestWrongPort(t *testing.T) {
	pbtest.NoLeaks(t)
	var log logLines
	node := &pb.Node{Root: &echoes{}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	secure := serve(t, node, "pb://127.0.0.1:0")
	other := &pb.Node{Root: &echoes{}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	plain := serve(t, other, "pb+tcp://127.0.0.1:0")
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	_, secureAt, _ := strings.Cut(secure, "@")
	_, plainAt, _ := strings.Cut(plain, "//")
	id, err := other.ID()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, url, want, log string }{
		{"plain to TLS", "pb+tcp://" + secureAt, "dial pb:// instead of pb+tcp://",
			"the peer speaks plain pb and this listener TLS"},
		{"TLS to plain", "pb://" + id + "@" + plainAt, "dial pb+tcp:// instead of pb://",
			"the peer speaks TLS and this listener is plain"},
		{"plain to HTTP", "pb+tcp://" + web.Listener.Addr().String(),
			"an HTTP server is there", ""},
		{"TLS to HTTP", "pb://" + id + "@" + web.Listener.Addr().String(),
			"an HTTP server is there", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client := dialer(t, &pb.Node{Logger: silent()})
			if err := says(t, client, test.url); err == nil ||
				!strings.Contains(err.Error(), test.want) {
				t.Errorf("a call over %s: %v, want %q in it", test.url, err, test.want)
			}
		})
	}
	_ = node.Close()
	_ = other.Close() // all that they log is there
	for _, test := range tests {
		if s := log.String(); !strings.Contains(s, test.log) {
			t.Errorf("%s: the log has no %q:\n%s", test.name, test.log, s)
		}
	}
}

// What cannot cross as a value is refused with what to do instead.
func TestWhatToSendInstead(t *testing.T) {
	c, _ := pbtest.Join(t, &pb.Node{Logger: silent()}, &pb.Node{Root: &echoes{}, Logger: silent()})
	tests := []struct {
		name string
		arg  any
		want string
	}{
		{"reader", strings.NewReader("x"), "wrap it in pb.Reader"},
		{"writer", http.ResponseWriter(httptest.NewRecorder()), "wrap it in pb.Writer"},
		{"both", new(net.TCPConn),
			"wrap it in pb.Reader for the peer to read from it, or in pb.Writer"},
		{"file", os.Stderr, "wrap it in pb.Reader for"},
		{"in a list", []any{strings.NewReader("x")}, "wrap it in pb.Reader"},
		{"channel", make(chan int), "an object to call for each value"},
		{"function", func() {}, "embeds pb.Referenceable"},
	}
	for _, test := range tests {
		_, err := pb.Do[string](t.Context(), c.Root(), "echo", test.arg)
		if err == nil || !strings.Contains(err.Error(), test.want) ||
			pb.OutcomeOf(err) != pb.NotExecuted {
			t.Errorf("%s: %v (%v), want %q in it, not executed", test.name, err,
				pb.OutcomeOf(err), test.want)
		}
	}
}

// A peer that is not on the allowlist is told so by each call, which was not executed. The log says
// which key to add to which list.
func TestRefusedByAllow(t *testing.T) {
	pbtest.NoLeaks(t)
	var log logLines
	var others int
	node := &pb.Node{
		Root:   &echoes{},
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Allow:  cred.AllowKeys(),
	}
	node.RootFor = func(*pb.Conn) any { others++; return nil }
	url := serve(t, node, "pb://127.0.0.1:0")
	client := dialer(t, &pb.Node{Logger: silent()})
	id, err := client.ID()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []func() error{
		func() error { _, err := pb.Do[string](t.Context(), c.Root(), "echo", "hi"); return err },
		func() error { _, err := c.Login(t.Context(), cred.Anonymous{}, nil); return err },
		func() error {
			_, err := pb.Call[string](t.Context(), c.Root(), "echo", "hi").Wait(t.Context())
			return err
		},
	} {
		err := call()
		if !errors.Is(err, cred.ErrNotAllowed) || pb.OutcomeOf(err) != pb.NotExecuted ||
			!strings.Contains(err.Error(), id) {
			t.Errorf("a call of one who is not allowed: %v (%v), want cred.ErrNotAllowed with "+
				"%s, not executed", err, pb.OutcomeOf(err), id)
		}
	}
	if n := len(node.Conns()); n != 0 || others != 0 {
		t.Errorf("%d connections and %d roots chosen, want none", n, others)
	}
	// which waits for the goroutine that writes the line, perhaps after the answers
	_ = node.Close()
	if s := log.String(); !strings.Contains(s, "node="+id) ||
		!strings.Contains(s, "cred.AllowKeys") {
		t.Errorf("the log does not say whom to add to what:\n%s", s)
	}
}

// As many peers as Limits.Refused says are told at once that Allow refused them; one more is
// closed, until there is room again. They take no place of others.
func TestRefusedAtOnce(t *testing.T) {
	for _, test := range []struct{ limit, kept int }{{3, 3}, {0, 64}} {
		t.Run(fmt.Sprint(test.limit), func(t *testing.T) {
			pbtest.NoLeaks(t)
			friend := dialer(t, &pb.Node{Logger: silent()})
			id, err := friend.ID()
			if err != nil {
				t.Fatal(err)
			}
			node := &pb.Node{Root: &echoes{}, Logger: silent(), Allow: cred.AllowKeys(id)}
			node.Limits.Refused, node.Limits.Conns = test.limit, 1
			url := serve(t, node, "pb://127.0.0.1:0")
			client := dialer(t, &pb.Node{Logger: silent()})
			ask := func(node *pb.Node) (c *pb.Conn, err error) {
				if c, err = node.Dial(t.Context(), url); err == nil {
					_, err = pb.Do[string](t.Context(), c.Root(), "echo", "hi")
				}
				return c, err
			}
			var last *pb.Conn
			for i := range test.kept {
				if last, err = ask(client); !errors.Is(err, cred.ErrNotAllowed) {
					t.Errorf("the %dth at once: %v, want cred.ErrNotAllowed", i+1, err)
				}
			}
			if _, err := ask(client); err == nil || errors.Is(err, cred.ErrNotAllowed) {
				t.Errorf("the %dth at once: %v, want that the connection was closed",
					test.kept+1, err)
			}
			if _, err := ask(friend); err != nil {
				t.Errorf("one that is allowed, beside as many that are not: %v", err)
			}
			_ = last.Close()
			for { // until the node has seen the end
				if _, err := ask(client); errors.Is(err, cred.ErrNotAllowed) {
					break
				}
			}
		})
	}
}

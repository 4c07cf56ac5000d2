package pbtest

import (
	"log/slog"
	"net"
	"testing"
	"time"

	"perspective/pb"
)

// Connect makes a node with obj as its root and one that calls it, with a
// connection between them, and gives the caller's reference to obj. Reference's
// Conn is the caller's end. What the nodes log goes to the test's log.
//
// At the end of the test both nodes are closed, and the test fails if the
// connection then holds calls, answers, references or streams that nobody has
// any more, see Empty.
func Connect(t testing.TB, obj any) *pb.RemoteReference {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	c, _ := Join(t, &pb.Node{Logger: logger}, &pb.Node{Root: obj, Logger: logger})
	return c.Root()
}

// Join connects two nodes over a Pipe and gives client's and server's end of
// the connection. The nodes belong to the test from then on: they are checked
// and closed at its end as Connect says. Where Limits.Login is not set a login has
// a minute, for a machine that runs tests may be busy.
func Join(t testing.TB, client, server *pb.Node) (c, s *pb.Conn) {
	t.Helper()
	return NewWire().Join(t, client, server)
}

// Join is as Join of two nodes, over this wire. It can be done once.
func (w *Wire) Join(t testing.TB, client, server *pb.Node) (c, s *pb.Conn) {
	t.Helper()
	a, b := w.Ends()
	return joinOver(t, client, server, a, b)
}

func joinOver(t testing.TB, client, server *pb.Node, a, b net.Conn) (c, s *pb.Conn) {
	t.Helper()
	for _, n := range []*pb.Node{client, server} {
		if n.Limits.Login == 0 {
			n.Limits.Login = time.Minute
		}
	}
	s, err := server.Attach(t.Context(), b, pb.Acceptor)
	if err != nil {
		t.Fatalf("Attach of the server = %v", err)
	}
	c, err = client.Attach(t.Context(), a, pb.Dialer)
	if err != nil {
		_ = server.Close()
		t.Fatalf("Attach of the client = %v", err)
	}
	t.Cleanup(func() {
		t.Helper()
		Empty(t, c, s)
		_ = client.Close()
		_ = server.Close()
	})
	return c, s
}

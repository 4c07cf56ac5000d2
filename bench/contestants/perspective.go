package contestants

import (
	"context"
	"crypto/tls"
	"net"

	"perspective/jelly"
	"perspective/pb"

	"bench/harness"
)

func init() {
	jelly.Register[harness.Msg]("bench.Msg")
	registerPerspective("perspective",
		"perspective/pb, methods found by reflection, one connection",
		func() any { return &echo{} }, reflected)
}

// echoFunc calls Echo on an object.
type echoFunc func(ctx context.Context, m harness.Msg) (harness.Msg, error)

func reflected(on pb.Target) echoFunc {
	return func(ctx context.Context, m harness.Msg) (harness.Msg, error) {
		return pb.Do[harness.Msg](ctx, on, "Echo", m)
	}
}

// registerPerspective adds a variant whose root newRoot makes, and whose calls
// are those of client.
func registerPerspective(name, doc string, newRoot func() any, client func(on pb.Target) echoFunc) {
	harness.Register(&harness.Contestant{
		Name: name,
		Doc:  doc,
		Listen: func(addr string, config *tls.Config) (net.Listener, error) {
			return (&pb.Node{TLS: config}).Listen("pb://" + addr + "/")
		},
		Serve: func(ln net.Listener) error { return (&pb.Node{Root: newRoot()}).Serve(ln) },
		Dial: func(d harness.Dialer) (harness.Client, error) {
			node := &pb.Node{}
			conn, err := reach(node, d)
			if err != nil {
				return nil, err
			}
			return &echoClient{
				echoes: echoes{client(conn.Root())},
				node:   node,
				conn:   conn,
				client: client,
			}, nil
		},
	})
}

// reach dials over TLS as programs do, by URL.
func reach(node *pb.Node, d harness.Dialer) (*pb.Conn, error) {
	addr, config, err := d.OverTLS()
	if err != nil {
		return nil, err
	}
	if config != nil {
		node.TLS = config
		return node.Dial(context.Background(), "pb://"+addr+"/")
	}
	nc, err := d.Dial()
	if err != nil {
		return nil, err
	}
	return node.Attach(context.Background(), nc, pb.Dialer)
}

// echo is the root: its calls are queued.
type echo struct{ pb.Referenceable }

// RemoteEcho answers with what it was given.
func (*echo) RemoteEcho(_ context.Context, m harness.Msg) (harness.Msg, error) { return m, nil }

// RemoteStep begins a chain.
func (*echo) RemoteStep(_ context.Context, n int64) (*step, error) { return &step{n: n + 1}, nil }

// RemoteSibling gives another object, whose calls are not queued.
func (*echo) RemoteSibling(context.Context) (*slowEcho, error) { return &slowEcho{}, nil }

// slowEcho takes the time that a call asks for.
type slowEcho struct {
	pb.Referenceable
	pb.Concurrent
}

// RemoteEcho answers with what it was given.
func (*slowEcho) RemoteEcho(_ context.Context, m harness.Msg) (harness.Msg, error) {
	harness.Pause(m.ID)
	return m, nil
}

// step is a link of a chain.
type step struct {
	pb.Referenceable
	n int64
}

// RemoteStep gives the next one.
func (s *step) RemoteStep(context.Context) (*step, error) { return &step{n: s.n + 1}, nil }

// RemoteValue tells how long the chain is.
func (s *step) RemoteValue(context.Context) (int64, error) { return s.n, nil }

// echoes calls one of the two objects.
type echoes struct{ call echoFunc }

// Echo shares the connection with all other calls.
func (e echoes) Echo(ctx context.Context, m *harness.Msg) (harness.Msg, error) {
	return e.call(ctx, *m)
}

// Close does nothing: the connection is the client's.
func (e echoes) Close() error { return nil }

// echoClient calls the root.
type echoClient struct {
	echoes
	node   *pb.Node
	conn   *pb.Conn
	client func(on pb.Target) echoFunc
}

// Sibling returns a client of the other object.
func (c *echoClient) Sibling(ctx context.Context) (harness.Client, error) {
	ref, err := pb.Do[*pb.RemoteReference](ctx, c.conn.Root(), "Sibling")
	return echoes{c.client(ref)}, err
}

// Chain makes each call on the result of the one before and waits for none but
// the last.
func (c *echoClient) Chain(ctx context.Context, start int64, depth int) (int64, error) {
	last := pb.Call[*pb.RemoteReference](ctx, c.conn.Root(), "Step", start)
	for range depth - 1 {
		last = pb.Call[*pb.RemoteReference](ctx, last, "Step")
	}
	return pb.Do[int64](ctx, last, "Value")
}

// Close closes the connection.
func (c *echoClient) Close() error { return c.node.Close() }

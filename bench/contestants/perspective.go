package contestants

import (
	"bench/harness"
	"context"
	"net"

	"perspective/jelly"
	"perspective/pb"
)

func init() { jelly.Register[harness.Msg]("bench.Msg") }

type perspectiveEcho struct{ pb.Referenceable }

func (*perspectiveEcho) RemoteEcho(_ context.Context, m harness.Msg) (harness.Msg, error) { return m, nil }

// RemoteStep is an Echo of one number more.
func (*perspectiveEcho) RemoteStep(_ context.Context, n int64) (*perspectiveStep, error) {
	return &perspectiveStep{n: n + 1}, nil
}

type perspectiveStep struct {
	pb.Referenceable
	n int64
}

func (s *perspectiveStep) RemoteStep(context.Context) (*perspectiveStep, error) {
	return &perspectiveStep{n: s.n + 1}, nil
}

func (s *perspectiveStep) RemoteValue(context.Context) (int64, error) { return s.n, nil }

type perspectiveClient struct {
	node *pb.Node
	conn *pb.Conn
}

func (c *perspectiveClient) Echo(ctx context.Context, m *harness.Msg) (harness.Msg, error) {
	return pb.Do[harness.Msg](ctx, c.conn.Root(), "Echo", *m)
}

// Chain makes depth calls, each on the result of the one before, none of them
// waited for but the last.
func (c *perspectiveClient) Chain(ctx context.Context, start int64, depth int) (int64, error) {
	step := pb.Call[*pb.RemoteReference](ctx, c.conn.Root(), "Step", start)
	for range depth - 1 {
		step = pb.Call[*pb.RemoteReference](ctx, step, "Step")
	}
	return pb.Call[int64](ctx, step, "Value").Wait(ctx)
}

func (c *perspectiveClient) Close() error { return c.node.Close() }

func init() {
	harness.Register(&harness.Contestant{
		Name: "perspective",
		Doc:  "perspective/pb, methods found by reflection, one connection",
		Serve: func(ln net.Listener) error {
			return (&pb.Node{Root: &perspectiveEcho{}}).Serve(ln)
		},
		Dial: func(d harness.Dialer) (harness.Client, error) {
			nc, err := d.Dial()
			if err != nil {
				return nil, err
			}
			node := &pb.Node{}
			conn, err := node.Attach(context.Background(), nc, pb.Dialer)
			if err != nil {
				return nil, err
			}
			return &perspectiveClient{node: node, conn: conn}, nil
		},
	})
}

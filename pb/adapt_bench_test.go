package pb_test

import (
	"context"
	"net"
	"testing"

	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/adapt"
)

// benchMsg is what the benchmarks of whole calls send there and back.
type benchMsg struct {
	N    int64
	Text string
	Data []byte
}

func init() { jelly.Register[benchMsg]("test.benchMsg") }

func newBenchMsg() benchMsg {
	return benchMsg{N: 1 << 40, Text: "sixteen bytes...", Data: make([]byte, 64)}
}

// reflected answers by reflection.
type reflected struct{ pb.Referenceable }

func (*reflected) RemoteEcho(_ context.Context, m benchMsg) (benchMsg, error) { return m, nil }

func (*reflected) RemoteCount(_ context.Context, n int64, text string, data []byte) (int64, error) {
	return n + int64(len(text)+len(data)), nil
}

// adapted answers by adaptors.
type adapted struct{ pb.Referenceable }

func (*adapted) RemoteEcho(_ context.Context, m benchMsg) (benchMsg, error) { return m, nil }

func (*adapted) RemoteCount(_ context.Context, n int64, text string, data []byte) (int64, error) {
	return n + int64(len(text)+len(data)), nil
}

func init() {
	adapt.Methods(adapt.Func1("RemoteEcho", (*adapted).RemoteEcho),
		adapt.Func3("RemoteCount", (*adapted).RemoteCount))
}

// joinTCP makes two nodes with one TCP connection between them.
func joinTCP(b *testing.B, root any) *pb.Conn {
	return joinNodes(b, &pb.Node{}, &pb.Node{Root: root})
}

func joinNodes(b *testing.B, asking, answering *pb.Node) *pb.Conn {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	if _, err = answering.Attach(b.Context(), server, pb.Acceptor); err != nil {
		b.Fatal(err)
	}
	c, err := asking.Attach(b.Context(), client, pb.Dialer)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = asking.Close()
		_ = answering.Close()
	})
	return c
}

// BenchmarkCall counts what a call costs both sides together; of the
// allocations four are the caller's and the method's own: a string and bytes,
// twice.
func BenchmarkCall(b *testing.B) {
	m := newBenchMsg()
	echo := func(ctx context.Context, on pb.Target) error {
		_, err := pb.Do[benchMsg](ctx, on, "Echo", m)
		return err
	}
	echo1 := func(ctx context.Context, on pb.Target) error {
		_, err := adapt.Do1[benchMsg](ctx, on, "Echo", m)
		return err
	}
	count := func(ctx context.Context, on pb.Target) error {
		_, err := pb.Do[int64](ctx, on, "Count", m.N, m.Text, m.Data)
		return err
	}
	count3 := func(ctx context.Context, on pb.Target) error {
		_, err := adapt.Do3[int64](ctx, on, "Count", m.N, m.Text, m.Data)
		return err
	}
	for _, c := range []struct {
		name string
		root any
		call func(context.Context, pb.Target) error
	}{
		{"echo/reflection", &reflected{}, echo},
		{"echo/adaptors", &adapted{}, echo},
		{"echo/adaptors,Do1", &adapted{}, echo1},
		{"count/reflection", &reflected{}, count},
		{"count/adaptors,Do3", &adapted{}, count3},
	} {
		b.Run(c.name, func(b *testing.B) {
			ctx, root := b.Context(), joinTCP(b, c.root).Root()
			b.ReportAllocs()
			for b.Loop() {
				if err := c.call(ctx, root); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCallers is BenchmarkCall with 64 callers; with -cpu 1 its time is the CPU time of both
// sides.
func BenchmarkCallers(b *testing.B) {
	m := newBenchMsg()
	for _, c := range []struct {
		name string
		root any
		call func(context.Context, pb.Target) error
	}{
		{"reflection", &reflected{}, func(ctx context.Context, on pb.Target) error {
			_, err := pb.Do[benchMsg](ctx, on, "Echo", m)
			return err
		}},
		{"adaptors", &adapted{}, func(ctx context.Context, on pb.Target) error {
			_, err := adapt.Do1[benchMsg](ctx, on, "Echo", m)
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			root := joinTCP(b, c.root).Root()
			b.ReportAllocs()
			b.SetParallelism(64)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := c.call(context.Background(), root); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkObserved counts what an Observer costs both sides together, beside the same calls
// without.
func BenchmarkObserved(b *testing.B) {
	observe := func(
		ctx context.Context, _ *pb.CallInfo,
	) (context.Context, func(pb.Outcome, error)) {
		return ctx, func(pb.Outcome, error) {}
	}
	for name, observer := range map[string]pb.Observer{"nobody": nil, "both": observe} {
		b.Run(name, func(b *testing.B) {
			c := joinNodes(b, &pb.Node{Observe: observer},
				&pb.Node{Root: &adapted{}, Observe: observer})
			m := newBenchMsg()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := pb.Do[int64](b.Context(), c.Root(), "Count", m.N,
					m.Text, m.Data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

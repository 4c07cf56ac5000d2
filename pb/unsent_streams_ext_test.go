package pb_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"perspective/pb"
	"perspective/pb/adapt"
	"perspective/pb/pbtest"
)

// giver has a source and a sink for each call.
type giver struct {
	pb.Referenceable
	source *source
	sink   *sink
}

func (*giver) RemoteTake(context.Context, any) error { return nil }

func (g *giver) RemoteReader(context.Context) (io.Reader, error) { return pb.Reader(g.source), nil }

func (g *giver) RemoteWriter(context.Context) (io.Writer, error) { return pb.Writer(g.sink), nil }

func (g *giver) RemoteOdd(context.Context) ([]any, error) {
	return []any{make(chan int), pb.Reader(g.source),
		map[string]any{"sink": pb.Writer(g.sink)}}, nil
}

func (g *giver) RemoteReply(ctx context.Context) error {
	return pb.Reply(ctx, []any{pb.Reader(g.source), pb.Writer(g.sink)})
}

func (g *giver) RemoteLater(context.Context) (*pb.Deferred[any], error) {
	return pb.Succeed[any](pb.Reader(g.source)), nil
}

// TestUnsentStreamsAreClosed: what a stream is made of is closed, once, also if the message that
// was to mention it is never sent.
func TestUnsentStreamsAreClosed(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	root := &giver{}
	client, server := &pb.Node{Limits: pb.Limits{Streams: 1}}, &pb.Node{Root: root}
	c, _ := pbtest.Join(t, client, server)
	closed, _ := pbtest.Join(t, client, server)
	_ = closed.Close()
	type args = []any
	for name, call := range map[string]func(in, out any) error{
		"an ended ctx": func(in, out any) error {
			_, err := pb.Do[any](over, c.Root(), "take", in, out)
			return err
		},
		"an ended ctx of a Call": func(in, out any) error {
			_, err := pb.Call[any](over, c.Root(), "take", in, out).Wait(t.Context())
			return err
		},
		"an ended ctx of a Send": func(in, out any) error {
			return c.Root().Send(over, "take", in, args{out})
		},
		"a typed call": func(in, out any) error {
			_, err := adapt.Do2[any](over, c.Root(), "take", in, out)
			return err
		},
		"no target": func(in, out any) error {
			_, err := pb.Do[any](t.Context(), nil, "take", in, out)
			return err
		},
		"a broken promise": func(in, out any) error {
			_, err := pb.Do[any](t.Context(), pb.Fail[*pb.RemoteReference](errOdd), "take", in, out)
			return err
		},
		"a promise that breaks": func(in, out any) error {
			later := &pb.Deferred[*pb.RemoteReference]{}
			d := pb.Call[any](t.Context(), later, "take", in, out)
			later.Errback(errOdd)
			_, err := d.Wait(t.Context())
			return err
		},
		"a call that is cancelled while it waits for its target": func(in, out any) error {
			later := &pb.Deferred[*pb.RemoteReference]{}
			d := pb.Call[any](t.Context(), later, "take", in, out)
			d.Cancel()
			_, err := d.Wait(t.Context())
			return err
		},
		"a broken promise among the arguments": func(in, out any) error {
			_, err := pb.Do[any](t.Context(), c.Root(), "take", pb.Fail[int](errOdd), in, out)
			return err
		},
		"an argument that can not cross": func(in, out any) error {
			_, err := pb.Do[any](t.Context(), c.Root(), "take", make(chan int), in, out)
			return err
		},
		"and behind": func(in, out any) error {
			_, err := pb.Do[any](t.Context(), c.Root(), "take", args{in}, make(chan int),
				map[string]any{"": out})
			return err
		},
		"too many streams": func(in, out any) error {
			_, err := pb.Do[any](t.Context(), c.Root(), "take", in, out)
			return err
		},
		"a closed connection": func(in, out any) error {
			_, err := pb.Do[any](t.Context(), closed.Root(), "take", in, out)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := newSource(true), newSink()
			if err := call(pb.Reader(from), pb.Writer(to)); err == nil {
				t.Error("the call succeeded")
			}
			endedOnce(t, from, to)
		})
	}
	for method, want := range map[string]struct{ source, sink bool }{
		"reader": {true, false}, "writer": {false, true}, "odd": {true, true},
		"reply": {true, true}, "later": {true, false},
	} {
		t.Run("the result of a oneway "+method, func(t *testing.T) {
			root.source, root.sink = newSource(true), newSink()
			if err := c.Root().Send(t.Context(), method); err != nil {
				t.Fatal(err)
			}
			from, to := root.source, root.sink
			if !want.source {
				from = nil
			}
			if !want.sink {
				to = nil
			}
			endedOnce(t, from, to)
		})
	}
	t.Run("a result that can not cross", func(t *testing.T) {
		root.source, root.sink = newSource(true), newSink()
		if _, err := pb.Do[any](t.Context(), c.Root(), "odd"); err == nil {
			t.Error("the call succeeded")
		}
		endedOnce(t, root.source, root.sink)
	})
}

// endedOnce waits until both are closed, the sink with an error.
func endedOnce(t *testing.T, from *source, to *sink) {
	t.Helper()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	if from != nil {
		select {
		case <-from.gone:
		case <-late.C:
			t.Fatal("the source was not closed")
		}
		if n := from.closed.Load(); n != 1 {
			t.Errorf("the source was closed %d times", n)
		}
	}
	if to != nil {
		select {
		case <-to.gone:
		case <-late.C:
			t.Fatal("the sink was not closed")
		}
		if n := to.closed.Load(); n != 1 || to.err == nil || errors.Is(to.err, io.EOF) {
			t.Errorf("the sink was closed %d times, with %v", n, to.err)
		}
	}
}

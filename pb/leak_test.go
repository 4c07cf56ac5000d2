package pb_test

import (
	"context"
	"net"
	"runtime"
	"testing"
	"weak"

	"perspective/pb"
)

// TestEndedConnectionsAreCollected: nothing of the process, a cleanup least of
// all, holds a connection that is over.
func TestEndedConnectionsAreCollected(t *testing.T) {
	server := &pb.Node{Root: &counter{}}
	defer server.Close() //nolint:errcheck // it never fails
	var gone []weak.Pointer[pb.Conn]
	for range 20 {
		a, b := net.Pipe()
		s, err := server.Attach(t.Context(), b, pb.Acceptor)
		if err != nil {
			t.Fatal(err)
		}
		client := &pb.Node{}
		c, err := client.Attach(t.Context(), a, pb.Dialer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pb.Do[*pb.RemoteReference](t.Context(), c.Root(), "child"); err != nil {
			t.Fatal(err)
		}
		gone = append(gone, weak.Make(s), weak.Make(c))
		_ = client.Close()
		<-s.Done()
	}
	left := len(gone)
	for range 100 {
		runtime.GC()
		left = 0
		for _, w := range gone {
			if w.Value() != nil {
				left++
			}
		}
		if left <= 2 { // the last ones may still be on a stack
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d of %d connections that are over are still held", left, len(gone))
}

type curious struct{ pb.Referenceable }

func (*curious) RemoteType(_ context.Context, v any) (bool, error) { return v != nil, nil }

// TestBootIsNobodys: a peer can not send the connection's own objects home.
func TestBootIsNobodys(t *testing.T) {
	c, _ := join(t, &pb.Node{}, &pb.Node{Root: &curious{}})
	if _, err := pb.Do[bool](t.Context(), c.Root(), "type", pb.Boot(c)); err == nil {
		t.Error("the boot object came home as an argument")
	}
	if ok, err := pb.Do[bool](t.Context(), c.Root(), "type", c.Root()); !ok || err != nil {
		t.Errorf("the root did not come home: %v, %v", ok, err)
	}
}

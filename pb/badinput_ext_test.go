package pb_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// What a stranger's bytes do to a node that serves others: they end their own
// connection, with a reason that is told, and nothing else.
func TestStrangersBytes(t *testing.T) {
	half := []byte{0x50, 0x42, 0x01, 0x0a, 0x00}
	tests := map[string]struct {
		bytes []byte
		ends  bool          // the stranger hangs up
		takes time.Duration // until the node does
	}{
		"garbage":             {[]byte(strings.Repeat("garbage ", 20)), false, 0},
		"HTTP":                {[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), false, 0},
		"another version":     {[]byte{0x50, 0x42, 0x09, 0x0a, 0, 1, 0x80}, false, 0},
		"preface not a map":   {[]byte{0x50, 0x42, 0x01, 0x0a, 0, 1, 0x07}, false, 0},
		"preface too long":    {[]byte{0x50, 0x42, 0x01, 0x0a, 0xff, 0xff}, false, 0},
		"half a preface, end": {half, true, 0},
		"half a preface":      {half, false, 5 * time.Second},
		"silence":             {nil, false, 10 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pbtest.NoLeaks(t)
				node := &pb.Node{Root: &mirror{}, Logger: silent()}
				node.Limits.Login = 10 * time.Second // the default; Join would give a minute
				good, _ := pbtest.Join(t, &pb.Node{}, node)
				mine, theirs := pbtest.Pipe()
				bad, err := node.Attach(t.Context(), mine, pb.Acceptor)
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				if _, err := theirs.Write(test.bytes); err != nil {
					t.Fatal(err)
				}
				if test.ends {
					_ = theirs.Close()
				}
				<-bad.Done()
				if took := time.Since(begin); took != test.takes {
					t.Errorf("the connection lasted %v, want %v", took, test.takes)
				}
				if bad.Err() == nil {
					t.Error("it ended without a reason")
				}
				if !test.ends {
					if _, err := io.Copy(io.Discard, theirs); err != nil {
						t.Errorf("the stranger's end = %v, want io.EOF", err)
					}
				}
				if s, err := pb.Do[string](t.Context(), good.Root(), "any", "ok"); s != "ok" ||
					err != nil {
					t.Errorf("another peer meanwhile: %q, %v", s, err)
				}
				_ = theirs.Close()
			})
		})
	}
}

// A peer that stops reading loses its connection after 10 s; others do not wait.
func TestPeerStopsReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pbtest.NoLeaks(t)
		node := &pb.Node{Root: &mirror{}, Logger: silent()}
		wire := pbtest.NewWire()
		slow, s := wire.Join(t, &pb.Node{Logger: silent()}, node)
		good, _ := pbtest.Join(t, &pb.Node{}, node)
		if err := slow.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		wire.Stall()
		go func() { // ends with the connection
			for s.Err() == nil {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				_ = s.Root().Send(ctx, "x", strings.Repeat("x", 60<<10))
				cancel()
			}
		}()
		begin := time.Now()
		<-s.Done()
		if !errors.Is(s.Err(), pb.ErrSlowReader) && !errors.Is(s.Err(), pb.ErrTimeout) {
			t.Errorf("it ended with %v after %v", s.Err(), time.Since(begin))
		}
		if s, err := pb.Do[string](t.Context(), good.Root(), "any", "ok"); s != "ok" || err != nil {
			t.Errorf("another peer: %q, %v", s, err)
		}
		wire.Resume()
	})
}

// After many strangers a node serves as before.
func TestGarbageOverTCP(t *testing.T) {
	pbtest.NoLeaks(t)
	node := &pb.Node{Root: &mirror{}, Logger: silent()}
	defer node.Close() //nolint:errcheck // the end of the test
	ln, err := node.Listen("pb+tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- node.Serve(ln) }() // ends with node
	for range 30 {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Write([]byte("POST / HTTP/1.1\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, nc) // the node hangs up
		_ = nc.Close()
	}
	caller := &pb.Node{}
	defer caller.Close() //nolint:errcheck // the end of the test
	c, err := caller.Dial(t.Context(), node.URLOf(ln))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := pb.Do[string](t.Context(), c.Root(), "any", "ok"); s != "ok" || err != nil {
		t.Errorf("after garbage: %q, %v", s, err)
	}
	_ = node.Close()
	if err := <-served; !errors.Is(err, pb.ErrNodeClosed) {
		t.Errorf("Serve = %v", err)
	}
}

package pbtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"perspective/pb"
	"perspective/pb/pbtest"
)

// echo answers with what it gets.
type echo struct{ pb.Referenceable }

func (*echo) RemoteEcho(_ context.Context, s string) (string, error) { return s, nil }

func TestPipe(t *testing.T) {
	a, b := pbtest.Pipe()
	if n, err := a.Write([]byte("hello")); n != 5 || err != nil {
		t.Fatalf("Write = %v, %v", n, err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(b); string(got) != "hello" || err != nil {
		t.Fatalf("ReadAll = %q, %v", got, err)
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write to a closed end = %v", err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read of the closed end = %v", err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write of the closed end = %v", err)
	}
	if a.LocalAddr().String() != "wire" || b.RemoteAddr().Network() != "wire" {
		t.Errorf("addresses %v, %v", a.LocalAddr(), b.RemoteAddr())
	}
}

func TestWireDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pbtest.NewWire()
		w.Delay(3 * time.Second)
		c, _ := w.Join(t, &pb.Node{}, &pb.Node{Root: &echo{}})
		begin := time.Now()
		if s, err := pb.Do[string](t.Context(), c.Root(), "echo", "hi"); s != "hi" || err != nil {
			t.Fatalf("echo = %q, %v", s, err)
		}
		if took := time.Since(begin); took != 6*time.Second {
			t.Errorf("a call over a line of 3 s took %v, want 6 s", took)
		}
		w.Delay(0)
	})
}

func TestWireDeliversInPieces(t *testing.T) {
	w := pbtest.NewWire()
	w.Pieces(1)
	c, _ := w.Join(t, &pb.Node{}, &pb.Node{Root: &echo{}})
	text := strings.Repeat("all in single bytes ", 20)
	if s, err := pb.Do[string](t.Context(), c.Root(), "echo", text); s != text || err != nil {
		t.Fatalf("echo = %q, %v", s, err)
	}
}

func TestWireCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pbtest.NewWire()
		c, s := w.Join(t, &pb.Node{}, &pb.Node{Root: &echo{}})
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.Cut()
		<-c.Done()
		<-s.Done()
		if !errors.Is(c.Err(), pbtest.ErrCut) {
			t.Errorf("the caller's end ended with %v", c.Err())
		}
	})
}

func TestWireCutAfter(t *testing.T) {
	w := pbtest.NewWire()
	a, b := w.Ends()
	w.CutAfter(3)
	if n, err := a.Write([]byte("hello")); n != 3 || !errors.Is(err, pbtest.ErrCut) {
		t.Fatalf("Write = %v, %v, want 3, ErrCut", n, err)
	}
	if got, err := io.ReadAll(b); string(got) != "hel" || !errors.Is(err, pbtest.ErrCut) {
		t.Fatalf("ReadAll = %q, %v", got, err)
	}
	if n, _ := w.Written(); n != 3 {
		t.Errorf("Written = %d, want 3", n)
	}
}

func TestWireStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := pbtest.NewWire()
		a, b := w.Ends()
		w.Stall()
		if err := a.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := a.Write(make([]byte, 1<<20))
		if n == 0 || n == 1<<20 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Write = %d, %v", n, err)
		}
		if err := b.SetDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Read while stalled = %v", err)
		}
		w.Resume()
		if err := b.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAtLeast(b, make([]byte, n), n); got != n || err != nil {
			t.Fatalf("Read after = %d, %v", got, err)
		}
		w.Stall()
		w.Cut()
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, pbtest.ErrCut) {
			t.Fatalf("Read of a cut wire that stood still = %v", err)
		}
	})
}

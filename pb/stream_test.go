package pb_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"perspective/pb"
)

type files struct{ pb.Referenceable }

func (files) sum(r io.Reader) ([]byte, error) {
	h := sha256.New()
	_, err := io.Copy(h, r)
	return h.Sum(nil), err
}

func (f *files) RemoteSum(_ context.Context, r io.Reader) ([]byte, error) { return f.sum(r) }

func (f *files) RemoteCopy(_ context.Context, from io.Reader, to io.WriteCloser) (int64, error) {
	n, err := io.Copy(to, from)
	return n, errors.Join(err, to.Close())
}

func (f *files) RemoteOpen(_ context.Context, n int) (io.Reader, error) {
	return pb.Reader(io.LimitReader(endless{}, int64(n))), nil
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i)
	}
	return len(p), nil
}

// sockets joins two nodes over TCP: byte streams are not for bubbles.
func sockets(t testing.TB, client, server *pb.Node) *pb.Conn {
	t.Helper()
	ln, err := server.Listen("pb+tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = server.Serve(ln); close(done) }()
	t.Cleanup(func() { _ = client.Close(); _ = server.Close(); <-done })
	c, err := client.Dial(t.Context(), server.URLOf(ln))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestByteStreams(t *testing.T) {
	c := sockets(t, &pb.Node{}, &pb.Node{Root: &files{}})
	ctx := t.Context()
	data := bytes.Repeat([]byte("perspective"), 1<<16)
	want := sha256.Sum256(data)
	got, err := pb.Do[[]byte](ctx, c.Root(), "sum", pb.Reader(bytes.NewReader(data)))
	if err != nil || !bytes.Equal(got, want[:]) {
		t.Fatalf("sum = %x, %v", got, err)
	}
	pr, pw := io.Pipe()
	n := pb.Call[int64](ctx, c.Root(), "copy", pb.Reader(bytes.NewReader(data)), pb.Writer(pw))
	back, err := io.ReadAll(pr)
	if err != nil || !bytes.Equal(back, data) {
		t.Fatalf("copy gave %d bytes, %v", len(back), err)
	}
	if v, err := n.Wait(ctx); v != int64(len(data)) || err != nil {
		t.Fatalf("copy = %v, %v", v, err)
	}
	r, err := pb.Do[io.Reader](ctx, c.Root(), "open", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); n != 1<<20 || err != nil {
		t.Fatalf("read %d, %v", n, err)
	}
	_, err = pb.Do[[]byte](ctx, c.Root(), "sum",
		pb.Reader(io.MultiReader(bytes.NewReader(data), failing{})))
	if !errors.Is(err, errOdd) {
		t.Fatalf("sum of a reader that fails = %v", err)
	}
	if err := c.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errOdd }

type line struct{ pb.Referenceable }

// RemoteTalk echoes, and goes on when the caller has said all.
func (*line) RemoteTalk(context.Context) (io.ReadWriteCloser, error) {
	return pb.Duplex(func(s *pb.ByteStream, err error) {
		if err != nil {
			return
		}
		if _, err := io.Copy(s, struct{ io.Reader }{s}); err == nil {
			_, _ = io.WriteString(s, " bye")
		}
	}), nil
}

// RemoteHear takes a stream as an argument.
func (*line) RemoteHear(_ context.Context, s io.ReadWriteCloser) (string, error) {
	b, err := io.ReadAll(s)
	_, _ = io.WriteString(s, "heard")
	return string(b), errors.Join(err, s.Close())
}

// Both directions of a stream cross, each with its own end.
func TestDuplexStreams(t *testing.T) {
	c := sockets(t, &pb.Node{}, &pb.Node{Root: &line{}})
	ctx := t.Context()
	s, err := pb.Do[interface {
		io.ReadWriteCloser
		CloseWrite() error
	}](ctx, c.Root(), "talk")
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	_, _ = io.WriteString(s, "hello")
	if _, err := io.ReadFull(s, got); err != nil || string(got) != "hello" {
		t.Fatalf("echo = %q, %v", got, err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(s)
	if err != nil || string(rest) != " bye" {
		t.Errorf("after CloseWrite = %q, %v", rest, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}

	answer := make(chan string, 1)
	heard, err := pb.Do[string](ctx, c.Root(), "hear", pb.Duplex(func(s *pb.ByteStream, err error) {
		if err != nil {
			answer <- err.Error()
			return
		}
		_, _ = io.WriteString(s, "word")
		_ = s.CloseWrite()
		b, _ := io.ReadAll(s)
		answer <- string(b)
	}))
	if got := <-answer; err != nil || heard != "word" || got != "heard" {
		t.Errorf("hear = %q, %v; it answers %q", heard, err, got)
	}

	unsent := make(chan error, 1)
	never := pb.Duplex(func(_ *pb.ByteStream, err error) { unsent <- err })
	_, err = pb.Do[any](ctx, c.Root(), "hear", make(chan int), never) // the first cannot cross
	if why := <-unsent; err == nil || why == nil {
		t.Errorf("what was not sent ends with %v, the call with %v", why, err)
	}
	noStreams(t, c)
}

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

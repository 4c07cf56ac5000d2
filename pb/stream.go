package pb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"

	"perspective/broker"
	"perspective/jelly"
)

// Reader makes r into an argument, result or field that crosses as a byte
// stream: who gets it reads what r gives, as it comes, with the pace of its
// reading. The place that takes it has the type io.Reader or io.ReadCloser.
//
// r is read on a goroutine of the connection's from the moment the value is
// sent, and closed at the end if it is an io.Closer. An error of r's other than
// io.EOF arrives as that error; a connection that breaks off as
// io.ErrUnexpectedEOF. A reader that stops early must Close what it got.
func Reader(r io.Reader) io.Reader { return &sentReader{Reader: r} }

// Writer makes w into an argument, result or field that crosses as a byte
// stream the other way: who gets it writes, and it is written to w. The place
// that takes it has the type io.Writer or io.WriteCloser, and must Close it.
//
// w is written to on a goroutine of the connection's. At the end, which the
// peer's Close or error is, w.CloseWithError is called if there is one (as
// io.PipeWriter has), else Close if there is one.
func Writer(w io.Writer) io.Writer { return &sentWriter{Writer: w} }

type (
	sentReader struct{ io.Reader }
	sentWriter struct{ io.Writer }
)

// JellyReference marks a stream as a thing that crosses by reference.
func (*sentReader) JellyReference() {}

// JellyReference marks a stream as a thing that crosses by reference.
func (*sentWriter) JellyReference() {}

// stream is a value that crosses as a byte stream.
type stream interface{ run(s *broker.Stream) }

// lendStream opens a stream for v and mentions it.
func (c *Conn) lendStream(e *jelly.Encoder, v stream) error {
	s, err := c.broker.OpenStream(context.Background())
	if err != nil {
		return err
	}
	if !c.node.spawn(func() { v.run(s) }) { // ends with the stream
		_ = s.Close()
		return ErrNodeClosed
	}
	e.EncodeRef(jelly.Ref{Kind: jelly.RefStream, ID: s.ID()})
	return nil
}

func (r *sentReader) run(s *broker.Stream) {
	_, err := io.Copy(onlyWriter{s}, r.Reader)
	if c, ok := r.Reader.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	_ = s.CloseWrite(err) // the peer is gone, or reads no more
	_ = s.Close()
}

func (w *sentWriter) run(s *broker.Stream) {
	_, err := io.Copy(w.Writer, onlyReader{s})
	switch c := w.Writer.(type) {
	case interface{ CloseWithError(error) error }:
		_ = c.CloseWithError(err) // it never fails
	case io.Closer:
		_ = c.Close() // nobody is left to tell
	}
	_ = s.Close()
}

// onlyWriter and onlyReader keep io.Copy from looking for more.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

// ByteStream is a byte stream that a peer sent with Reader or Writer, where it
// is taken as any: only the direction that the peer meant does anything. It
// must be closed; reading to the end closes it too.
type ByteStream struct {
	s    *broker.Stream
	once sync.Once
}

// Read reads what the peer's Reader gives.
func (b *ByteStream) Read(p []byte) (int, error) {
	n, err := b.s.Read(p)
	if err != nil {
		_ = b.Close()
	}
	return n, err
}

// Write writes to the peer's Writer.
func (b *ByteStream) Write(p []byte) (int, error) { return b.s.Write(p) }

// Close ends the stream: a Writer at the peer sees a clean end, a Reader there
// is told that nobody reads any more.
func (b *ByteStream) Close() error { return b.CloseWithError(nil) }

// CloseWithError is Close, and tells a peer's Writer that not all is there.
func (b *ByteStream) CloseWithError(err error) (failed error) {
	b.once.Do(func() {
		if err != nil {
			_ = b.s.CloseWrite(err) // Close tells
		}
		failed = b.s.Close()
	})
	return failed
}

// decodeStream gives the byte stream that the peer has opened as id.
func (c *Conn) decodeStream(id uint64, want reflect.Type) (reflect.Value, error) {
	v := reflect.ValueOf(&ByteStream{})
	if !v.Type().AssignableTo(want) {
		return reflect.Value{}, &jelly.TypeError{Type: want, Got: "a byte stream", Reason: "take it as an io.Reader or io.Writer"}
	}
	s, err := c.broker.ClaimStream(id)
	if err != nil {
		return reflect.Value{}, fmt.Errorf("pb: byte stream %d: %w", id, err)
	}
	v.Interface().(*ByteStream).s = s
	return v, nil
}

package pb

import (
	"context"
	"errors"
	"io"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"perspective/broker"
	"perspective/internal/guard"
	"perspective/internal/prefix"
	"perspective/jelly"
)

// Reader makes r into an argument, result or field that crosses as a byte
// stream: the receiver reads what r gives, as it comes, with back-pressure. The
// parameter or field that takes it has the type io.Reader or io.ReadCloser.
//
// r is read on a goroutine of the connection's from the moment the value is
// sent, and closed once at the end if it is an io.Closer: also while a Read is
// under way, if the peer reads no more or the call is over, as package net/http
// does with the bodies of requests. An error of r's other than io.EOF arrives as
// that error; a connection that breaks off as io.ErrUnexpectedEOF. A reader that
// stops early must Close what it got. A call that fails before it is sent, and an
// answer that is not wanted (the call was oneway), close r too, if r is an argument
// or the result by itself, or lies in a []any or a map[string]any.
//
// As an argument it lasts no longer than the call: when that is refused, cancelled
// or at its deadline, or is answered and its method has returned, reading fails
// with the error of the method's ctx. In a result it lasts until it is closed.
func Reader(r io.Reader) io.Reader { return &sentReader{Reader: r} }

// Writer makes w into an argument, result or field that crosses as a byte
// stream the other way: what the receiver writes is written to w. The parameter
// or field that takes it has the type io.Writer or io.WriteCloser. The receiver
// must Close it.
//
// w is written to on a goroutine of the connection's. At the end, which the
// peer's Close or error is, w.CloseWithError is called if there is one (as
// io.PipeWriter has), else Close if there is one; once, and if the stream breaks
// off, also while a Write is under way. As an argument it lasts as long as a
// Reader's does: what a method has not closed when it returns ends with an error.
func Writer(w io.Writer) io.Writer { return &sentWriter{Writer: w} }

// Duplex makes an argument, result or field that crosses as a byte stream with both
// directions, each with its own end. The parameter or field that takes it has the type
// io.ReadWriteCloser, or another interface of methods that a ByteStream has.
//
// f is called once: with this side's end, on a goroutine of the connection's, and the
// stream is closed when f returns; or with the reason why the value was not sent, at
// once, and then it must be quick. Each side closes its own end. It lasts as long as a
// Reader's does.
func Duplex(f func(*ByteStream, error)) io.ReadWriteCloser { return &sentDuplex{f: f} }

type (
	sentReader struct {
		io.Reader
		lending
	}
	sentWriter struct {
		io.Writer
		lending
	}
	sentDuplex struct {
		io.ReadWriteCloser // nil: it is there for its type

		f func(*ByteStream, error)
		lending
	}
)

// lending says whether a goroutine sees to the end of a stream that is to be sent.
type lending struct{ taken atomic.Bool }

// take is true for the first caller.
func (l *lending) take() bool { return !l.taken.Swap(true) }

// JellyReference marks a stream as a thing that crosses by reference.
func (*sentReader) JellyReference() {}

// JellyReference marks a stream as a thing that crosses by reference.
func (*sentWriter) JellyReference() {}

// JellyReference marks a stream as a thing that crosses by reference.
func (*sentDuplex) JellyReference() {}

// stream is a value that crosses as a byte stream.
type stream interface {
	take() bool
	run(c *Conn, s broker.Stream)
	// end closes what the stream was made of: cause is why not all crossed.
	end(cause error) error
}

// dropUnsent ends the streams in v, an argument or a result that will not be sent. It looks no
// deeper than into lists and maps of anything.
func (s *surroundings) dropUnsent(v any, cause error) {
	switch v := v.(type) {
	case stream:
		if !isNilPointer(v) && v.take() {
			s.logHook("the Close behind pb.Reader or pb.Writer",
				guard.Run(func() error { return v.end(cause) }))
		}
	case []any:
		for _, v := range v {
			s.dropUnsent(v, cause)
		}
	case map[string]any:
		for _, v := range v {
			s.dropUnsent(v, cause)
		}
	}
}

// errOneway ends the streams in the result of a oneway call.
var errOneway = errors.New("pb: nobody waits for the result of a oneway call")

// lendStream opens a stream for v and mentions it.
func (c *Conn) lendStream(e *jelly.Encoder, v stream) error {
	s, err := c.broker.OpenStream(context.Background())
	if err != nil {
		c.around.dropUnsent(v, err)
		return err
	}
	first := v.take()
	if !c.node.spawn(func() { v.run(c, s) }) { // ends with the stream
		_ = s.Close()
		if first {
			c.around.logHook("the Close behind pb.Reader or pb.Writer",
				guard.Run(func() error { return v.end(ErrNodeClosed) }))
		}
		return ErrNodeClosed
	}
	e.EncodeRef(jelly.Ref{Kind: jelly.RefStream, ID: s.ID()})
	return nil
}

// when has f called when over is closed, unless stop is called before.
func (c *Conn) when(over <-chan struct{}, f func()) (stop func()) {
	done := make(chan struct{})
	watch := func() {
		select {
		case <-over:
			f()
		case <-done:
		}
	}
	if !c.node.spawn(watch) { // ends with stop
		f() // the node is closing, and all streams with it
	}
	return func() { close(done) }
}

func (r *sentReader) run(c *Conn, s broker.Stream) {
	end := sync.OnceValue(func() error {
		err := guard.Run(func() error { return r.end(nil) })
		c.around.logHook("the Close behind pb.Reader", err)
		return err
	})
	// a Read that waits for ever would keep r open
	stop := c.when(s.Stopped(), func() { _ = end() })
	err := guard.Run(func() error {
		_, err := io.Copy(onlyWriter{s}, r.Reader)
		return err
	})
	c.around.logHook("the Read behind pb.Reader", err)
	err = errors.Join(err, end())
	stop()
	_ = s.CloseWrite(err) // the peer is gone, or reads no more
	_ = s.Close()
}

func (w *sentWriter) run(c *Conn, s broker.Stream) {
	var once sync.Once
	end := func(err error) {
		once.Do(func() {
			err := guard.Run(func() error { return w.end(err) })
			c.around.logHook("the Close behind pb.Writer", err) // nobody else is left to tell
		})
	}
	stop := c.when(s.Gone(), func() { end(s.Err()) }) // as for a Reader
	err := guard.Run(func() error {
		_, err := io.Copy(w.Writer, onlyReader{s})
		return err
	})
	c.around.logHook("the Write behind pb.Writer", err)
	end(err)
	stop()
	_ = s.Close()
}

func (d *sentDuplex) run(c *Conn, s broker.Stream) {
	b := &ByteStream{s: s, duplex: true}
	c.around.logHook("the function behind pb.Duplex", guard.Run(func() error {
		d.f(b, nil)
		return nil
	}))
	_ = b.Close() // the peer is gone, or hears of it
}

//nolint:unparam // as stream wants it
func (d *sentDuplex) end(cause error) error {
	d.f(nil, cause)
	return nil
}

func (r *sentReader) end(error) error {
	if c, ok := r.Reader.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (w *sentWriter) end(cause error) error {
	switch c := w.Writer.(type) {
	case interface{ CloseWithError(error) error }:
		return c.CloseWithError(cause)
	case io.Closer:
		return c.Close()
	}
	return nil
}

// onlyWriter and onlyReader keep io.Copy from looking for more.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

// ByteStream is a byte stream that a peer sent with Reader, Writer or Duplex, where it
// is taken as any: only the directions that the peer meant do anything. It must be
// closed; reading to the end closes it too, but where both directions are meant.
//
// One goroutine may read while another writes. Deadlines, CloseRead and Close work
// beside both.
type ByteStream struct {
	s      broker.Stream
	duplex bool // reading to the end is not the end
	once   sync.Once
}

// Read reads what the peer's Reader gives.
func (b *ByteStream) Read(p []byte) (int, error) {
	n, err := b.s.Read(p)
	if err != nil && !b.duplex {
		_ = b.Close()
	}
	return n, err
}

// Write writes to the peer's Writer. ErrStreamStopped means that nobody reads it.
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

// CloseWrite ends what is written: the peer reads to its end. It waits as Write does.
func (b *ByteStream) CloseWrite() error { return b.s.CloseWrite(nil) }

// CloseRead tells the peer that nothing is read any more: its Write fails.
func (b *ByteStream) CloseRead() error { return b.s.CloseRead() }

// Gone is closed when the stream breaks off, which no end that either side has said is.
func (b *ByteStream) Gone() <-chan struct{} { return b.s.Gone() }

// Stopped is closed when nothing that is written has a reader any more: the peer said
// so, or the stream is Gone.
func (b *ByteStream) Stopped() <-chan struct{} { return b.s.Stopped() }

// SetDeadline sets when waiting for either direction ends with os.ErrDeadlineExceeded;
// zero is never. After it n of a Write counts what will be sent.
func (b *ByteStream) SetDeadline(t time.Time) error { return b.s.SetDeadline(t) }

// SetReadDeadline is SetDeadline for Read.
func (b *ByteStream) SetReadDeadline(t time.Time) error { return b.s.SetReadDeadline(t) }

// SetWriteDeadline is SetDeadline for Write.
func (b *ByteStream) SetWriteDeadline(t time.Time) error { return b.s.SetWriteDeadline(t) }

var readWriter = reflect.TypeFor[io.ReadWriter]()

// decodeStream gives the byte stream that the peer has opened as id.
func (c *Conn) decodeStream(id uint64, want reflect.Type) (reflect.Value, error) {
	v := reflect.ValueOf(&ByteStream{
		duplex: want.Kind() == reflect.Interface && want.Implements(readWriter),
	})
	if !v.Type().AssignableTo(want) {
		return reflect.Value{}, &jelly.TypeError{
			Type:   want,
			Got:    "a byte stream",
			Reason: "take it as an io.Reader or io.Writer",
		}
	}
	s, err := c.broker.ClaimStream(id)
	if err != nil {
		return reflect.Value{}, prefix.Errorf("pb: byte stream %d: %w", id, err)
	}
	v.Interface().(*ByteStream).s = s
	return v, nil
}

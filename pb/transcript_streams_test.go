package pb_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"time"

	"perspective/pb"
)

// tape is an object that reads and writes byte streams. Its methods wait at a gate between what
// they do.
type tape struct {
	pb.Referenceable
	gate   chan struct{}
	played io.Reader
}

func (t *tape) await(ctx context.Context) error {
	select {
	case <-t.gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// opens lets the method that waits go on.
func (t *tape) opens() { t.gate <- struct{}{} }

// RemoteRecord reads to the end.
func (t *tape) RemoteRecord(ctx context.Context, r io.ReadCloser) (int, error) {
	all, err := io.ReadAll(r)
	return len(all), errors.Join(err, t.await(ctx))
}

// RemoteTaste reads n bytes and no more.
func (t *tape) RemoteTaste(ctx context.Context, r io.ReadCloser, n int) (string, error) {
	p := make([]byte, n)
	_, err := io.ReadFull(r, p)
	err = errors.Join(err, t.await(ctx), r.Close())
	return string(p), errors.Join(err, t.await(ctx))
}

// RemoteFill writes text, and ends it with an error if there is one.
func (t *tape) RemoteFill(ctx context.Context, w io.WriteCloser, text, failure string) error {
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	if err := t.await(ctx); err != nil {
		return err
	}
	var err error
	if c, ok := w.(interface{ CloseWithError(err error) error }); ok && failure != "" {
		err = c.CloseWithError(errors.New(failure))
	} else {
		err = w.Close()
	}
	return errors.Join(err, t.await(ctx))
}

// RemotePlay answers with a stream of what the test writes into the tape.
func (t *tape) RemotePlay(context.Context) (io.Reader, error) { return pb.Reader(t.played), nil }

// RemoteTake answers with a stream that the caller writes to.
func (t *tape) RemoteTake(context.Context) (io.Writer, error) { return pb.Writer(io.Discard), nil }

// RemoteHold has a stream until the call is given up.
func (t *tape) RemoteHold(ctx context.Context, _ io.ReadCloser) error {
	<-ctx.Done()
	return ctx.Err()
}

// transcriptChunk is one of a byte stream's frames, a chunk of text.
func transcriptChunk(stream uint32, text string) []byte {
	body := append([]byte{0xc4, byte(len(text))}, text...)
	if len(text) > 255 {
		body = append([]byte{0xc5, byte(len(text) >> 8), byte(len(text))}, text...)
	}
	return vectorFrame(0, 0, stream, body)
}

// transcriptStreamsOfCallee has a node that is called with streams. Its peer is the test: two nodes
// that end a stream at once have more than one way to do so.
func transcriptStreamsOfCallee(s *transcript) {
	r, w := io.Pipe()
	far := &tape{gate: make(chan struct{}), played: r}
	s.begin(nil, &pb.Node{Root: far, Logger: silent()})
	s.step("the dialer's preface and SYN",
		s.write(0, []byte(transcriptPreface)), s.write(0, vectorFrame(1, 1, 1)))
	says := func(text string) func() { return s.write(0, transcriptMessage(text)) }
	opens := func(id uint32) func() { return s.write(0, vectorFrame(1, 1, id)) }
	ends := func(id uint32) func() { return s.write(0, vectorFrame(0, 0, id, []byte{0xc0})) }
	fin := func(id uint32) func() { return s.write(0, vectorFrame(1, 4, id)) }
	chunk := func(id uint32, text string) func() { return s.write(0, transcriptChunk(id, text)) }

	s.step("a stream that is read", opens(3),
		says("\x96\x01\x01\x04\x01\xa6record\x91\xd4\x05\x03"))
	s.step("a chunk", chunk(3, "all of it"))
	s.step("another", chunk(3, "and more"))
	s.stepByStream("its end", ends(3))
	s.step("STOP crosses", says("\x93\x09\x00\x03"))
	s.step("FIN", fin(3))
	s.stepByStream("the method returns", far.opens)
	s.step("one of half a window", opens(5), says("\x96\x01\x01\x04\x01\xa6record\x91\xd4\x05\x05"))
	for range 10 {
		s.step("16 KiB", chunk(5, strings.Repeat("a", 16381)))
	}
	s.stepByStream("an end with an error",
		s.write(0, vectorFrame(0, 0, 5, []byte("\x91\xc4\x08\x96\xa0\xa1e\xc0\xc0\xc0\xc0"))))
	s.stepByStream("the method fails with it", far.opens)
	s.step("FIN", fin(5))
	s.step("one that is read in part", opens(7),
		says("\x96\x01\x01\x04\x01\xa5taste\x92\xd4\x05\x07\x01"))
	s.step("a chunk", chunk(7, "abc"))
	s.stepByStream("STOP", far.opens)
	s.stepByStream("the method returns", far.opens)
	s.step("FIN", fin(7))
	s.step("one that is reset", opens(9), says("\x96\x01\x01\x04\x01\xa6record\x91\xd4\x05\x09"))
	s.step("RST: its reader finds out", s.write(0, vectorFrame(1, 8, 9)))
	s.step("the method returns", far.opens)

	s.step("one that is written to", opens(11),
		says("\x96\x01\x01\x04\x01\xa4fill\x93\xd4\x05\x0b\xa6filled\xa0"))
	s.stepByStream("its end", far.opens)
	s.stepByStream("the method returns", far.opens)
	s.step("FIN", fin(11))
	s.step("one that is written to and fails", opens(13),
		says("\x96\x01\x01\x04\x01\xa4fill\x93\xd4\x05\x0d\xa4half\xa4fail"))
	s.stepByStream("its end", far.opens)
	s.stepByStream("the method returns", far.opens)
	s.step("FIN", fin(13))
	s.step("FINISH without RETURN", opens(15), says("\x96\x01\x01\x04\x01\xa4hold\x91\xd4\x05\x0f"))
	s.stepByStream("it is reset", says("\x92\x03\x01"))
	s.stepByStream("a call without the method", opens(17),
		says("\x96\x01\x01\x04\x01\xa4none\x91\xd4\x05\x11"))

	s.stepByStream("a stream as a result", says("\x96\x01\x01\x04\x01\xa4play\x90"))
	s.step("ACK", s.write(0, vectorFrame(1, 2, 2)))
	//nolint:errcheck // ends when it is read
	s.step("a chunk", func() { go io.WriteString(w, "played") })
	s.stepByStream("its end", func() { _ = w.Close() })
	s.stepByStream("FIN", fin(2))
	s.stepByStream("one that the dialer writes to", says("\x96\x01\x01\x04\x01\xa4take\x90"))
	s.step("a chunk", s.write(0, vectorFrame(1, 2, 4)), chunk(4, "taken"))
	s.stepByStream("its end", ends(4))
	s.step("FIN", fin(4))

	s.step("a stream that no message mentions", opens(19))
	s.step("15 s: it is reset", s.pass(15*time.Second))
	s.step("STOP for a stream that was never opened", says("\x93\x09\x00\x63"))
	s.step("10 s", s.pass(10*time.Second))
}

// transcriptStreamsOfCaller has a node that calls with streams.
func transcriptStreamsOfCaller(s *transcript) {
	conn, _ := s.begin(&pb.Node{Root: &tape{}, Logger: silent()}, nil)
	s.step("the acceptor's preface and ACK",
		s.write(1, []byte(transcriptPreface)), s.write(1, vectorFrame(1, 2, 1)))
	says := func(text string) func() { return s.write(1, transcriptMessage(text)) }
	ack := func(id uint32) func() { return s.write(1, vectorFrame(1, 2, id)) }
	ends := func(id uint32) func() { return s.write(1, vectorFrame(0, 0, id, []byte{0xc0})) }
	fin := func(id uint32) func() { return s.write(1, vectorFrame(1, 4, id)) }
	var in *io.PipeWriter
	reads := func(ctx context.Context) func() {
		return func() {
			var feed *io.PipeReader
			feed, in = io.Pipe()
			s.call(ctx, conn.Root(), "record", pb.Reader(feed))
		}
	}
	//nolint:errcheck // ends when it is read
	feeds := func(text string) func() { return func() { go io.WriteString(in, text) } }
	ctx := context.Background()

	s.step("a stream that is read", reads(ctx))
	s.step("ACK", ack(3))
	s.step("a chunk", feeds("all of it"))
	s.stepByStream("its end", func() { _ = in.Close() })
	s.step("FIN", fin(3))
	s.step("the answer", says("\x93\x02\x01\x01"))
	s.step("one with more than a window", reads(ctx), ack(5))
	for range 17 {
		s.step("16 KiB", feeds(strings.Repeat("a", 16381)))
	}
	s.step("some of it is given back",
		s.write(1, binary.BigEndian.AppendUint32(vectorFrame(1, 0, 5)[:8], 128<<10)))
	s.stepByStream("a failure", func() { _ = in.CloseWithError(errTranscript) })
	s.step("FIN", fin(5))
	s.step("the answer", says("\x93\x02\x01\x01"))
	s.step("one that nobody reads", reads(ctx), ack(7))
	s.stepByStream("STOP", says("\x93\x09\x00\x07"))
	s.step("FIN", fin(7))
	s.step("the answer", says("\x93\x02\x01\x01"))
	s.step("one that is reset", reads(ctx), ack(9))
	s.step("RST", s.write(1, vectorFrame(1, 8, 9)))
	s.step("the answer", says("\x93\x02\x01\x01"))
	over, cancel := context.WithCancel(ctx)
	s.step("a call that is given up", reads(over), ack(11))
	s.step("FINISH", cancel)
	s.step("10 s: the stream is reset", s.pass(10*time.Second))
	s.step("its answer", says("\x93\x02\x01\xc0"))
	s.step("a call that fails", reads(ctx), ack(13))
	s.stepByStream("its stream is reset", says("\x94\x02\x01\xc0\x92\xa1n\xa1t"))

	s.step("one that is written to", s.calls(conn.Root(), "fill", pb.Writer(io.Discard)))
	s.step("ACK and a chunk", ack(15), s.write(1, transcriptChunk(15, "filled")))
	s.stepByStream("its end", ends(15))
	s.step("FIN", fin(15))
	s.step("the answer", says("\x93\x02\x01\x01"))
	var d *pb.Deferred[any]
	s.step("a stream as a result", func() { d = s.call(ctx, conn.Root(), "play") })
	s.stepByStream("the answer", s.write(1, vectorFrame(1, 1, 2)), says("\x93\x02\x01\xd4\x05\x02"))
	s.step("a chunk", s.write(1, transcriptChunk(2, "played")))
	played := s.got(d).(io.ReadCloser)
	s.step("it is read", func() { go io.ReadAll(played) }) //nolint:errcheck // ends with the stream
	s.stepByStream("its end", ends(2))
	s.step("FIN", fin(2))
	s.step("one that is given back unread", func() { d = s.call(ctx, conn.Root(), "play") })
	s.stepByStream("the answer", s.write(1, vectorFrame(1, 1, 4)), says("\x93\x02\x01\xd4\x05\x04"))
	s.stepByStream("STOP", func() { _ = s.got(d).(io.Closer).Close() })
	s.step("FIN", ends(4), fin(4))
	s.step("60 ms", s.pass(60*time.Millisecond))
}

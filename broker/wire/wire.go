// Package wire is the seam between a session and what carries its messages.
//
// A session has the tables of a connection: questions, answers, exports, imports, turns. It knows
// no frame and no socket. A wire has the bytes: it knows no table. Package broker is the session;
// package link is the native wire, package memwire one that a test steps by hand. Messages pass
// the seam in their native form (package message), whatever the wire makes of them.
//
//	session ── Send, Call, Answer, After ──▶ wire ──▶ the peer
//	session ◀──── Deliver, Begin, Whole ──── wire ◀── the peer
package wire

import (
	"context"
	"io"
	"time"

	"perspective/broker/message"
	"perspective/jelly"
)

// A Wire carries the messages of one session to the session of the peer and back, in order. No
// method waits for the peer, but for those that say so. All may be called from several goroutines
// at once, but for those that are for the reader: the goroutine that Deliver was called on.
//
//nolint:interfacebloat // all that passes the seam, and no caller needs a part
type Wire interface {
	// Start begins. It is called once, before anything else.
	Start(Session)
	// Peer is what the peer's preface said; nil until Session.Greeted was called.
	Peer() *Peer
	// Restrict has no more taken from the peer than r says; nil: Limits hold.
	Restrict(r *Strict)
	// Heard reports whether anything came since it was called the last time.
	Heard() bool
	Sender
	Reading
	Streams

	// Stop has nothing delivered any more: the session ends for the reason that its Err gives.
	Stop()
	// Shut ends the sending, and the byte streams. What waits is dropped.
	Shut(reason error)
	// Linger waits for the peer to read what was sent, for a second at most.
	Linger()
	// Close ends the wire. It returns when no stream is left.
	Close()
	// Wait returns when no goroutine of the wire's is left, after Close.
	Wait()
}

// A Sender is the half of a Wire that messages are put into. A message has LengthSize bytes for its
// length in front. The wire hands what waits to a write when Flush is called, or a little later.
//
//nolint:interfacebloat // all that passes the seam, and no caller needs a part
type Sender interface {
	// Send puts a short message behind those that wait.
	Send(msg []byte) error
	// Call puts a CALL and flushes. at gets 1 + its position, before any goroutine may ask WasPut.
	// The wire keeps the encoder's buffer if kept is true. What the encoder lends is the lender's
	// again on return: the wire waits a few milliseconds for that, or until ctx ends.
	Call(ctx context.Context, e *jelly.Encoder, at *uint64) (kept bool, err error)
	// Answer puts a RETURN. With wait it waits for room before. counted says that Answers counts
	// it. The encoder is as in Call.
	Answer(e *jelly.Encoder, wait, counted bool) (kept bool, err error)
	// After puts a message behind the last piece of every long one that waits. It flushes nothing.
	// long is 0, or the long message before it: until LastLong gives that, it is not among what
	// leaves.
	After(msg []byte) (long uint32)
	// LastLong is the last long message that has wholly left, with what had to wait for it.
	LastLong() uint32
	// Flush has what waits written. FlushSoon has another goroutine do so.
	Flush()
	FlushSoon()
	// Written waits until the connection has taken what was put before, or has ended, which is the
	// error.
	Written() error
	// WasPut reports whether the message that Call gave *at for waits to be written, or was.
	WasPut(at *uint64) bool
	// WasHanded reports whether a byte of it was given to a write.
	WasHanded(at *uint64) bool
	// AwaitRoom waits until no more than limit bytes wait, or the end; HasRoom only looks.
	AwaitRoom(limit int)
	HasRoom(limit int) bool
	// Much reports whether so much waits that a write is worth while.
	Much() bool
	// Paused reports whether so much waits that no call of the peer's should begin. Session.Resume
	// is called when that is over.
	Paused() bool
	// Waiting is how many bytes wait.
	Waiting() int
	// Answers is how many RETURNs were put and counted.
	Answers() uint64
	// GoAway puts GOAWAY. After it, and after NoCalls, Call gives ErrGoingAway.
	GoAway()
	NoCalls()
	// LastWords puts msg as the last message, for reason, and waits for d at most until it is
	// written.
	LastWords(msg []byte, reason error, d time.Duration)
	// Drain waits until everything is written, for d at most.
	Drain(d time.Duration)
}

// Reading is about the role of the reader. See role.go of package link.
type Reading interface {
	// Reads reports whether the reader may run methods: nothing waits behind it for long, and
	// answers are written without waiting. For the reader.
	Reads() bool
	// Ran is called after the reader has run a method: answers leave now and then.
	Ran()
	// Replace has another goroutine read on from here, because the reader is inside of a method,
	// which will find out: then Deliver returns ErrReplaced. The old reader's buffer is the
	// method's.
	Replace()
	// Returned says that the answer to call has come. alone says that its caller waits for it and
	// for nothing else, and that no other call is under way. For the reader.
	Returned(call any, alone bool)
	// ReadFor has the caller of call read until its answer has come, ctx ends or the wire does, if
	// nobody else reads.
	ReadFor(ctx context.Context, call any)
	// WantReader has the wire's own goroutine read if nobody does.
	WantReader()
	// Reader tells which goroutine reads.
	Reader() ReaderStatus
}

// ReaderStatus tells which goroutine reads a wire, as it was at some moment.
type ReaderStatus struct {
	// Vacant: none does, and a caller may. Caller: a caller that waits for its answer does. Else
	// the wire's own goroutine does.
	Vacant, Caller bool
	// Dozing: the wire's own goroutine sleeps until the caller leaves.
	Dozing bool
	// Callers is how often a caller has read.
	Callers uint64
}

// Streams are the byte streams beside the messages.
type Streams interface {
	// OpenStream opens one, and waits for its turn to.
	OpenStream(ctx context.Context) (Stream, error)
	// ClaimStream gives the one that the peer opened as id.
	ClaimStream(id uint64) (Stream, error)
	// SettleStream is called when a message of the peer's that mentions it is done with. The
	// stream is reset, unless kept is true and it was claimed; then it gives true.
	SettleStream(id uint64, kept bool) bool
	// StreamWaits has w asked before a goroutine waits in the stream.
	StreamWaits(id uint64, w Waiter)
	// EndStreams gives streams up on both sides, for cause. What the program has ended goes its
	// way.
	EndStreams(ids []uint64, cause error)
	// FailStreams ends those that went with a call that has failed. What the peer has ended before
	// is read to its end.
	FailStreams(ids []uint64)
	// CancelStreams ends those that went with a call that is given up, here alone: the peer
	// resets them when it learns of that.
	CancelStreams(ids []uint64)
	// StreamStopped takes in a STOP: the peer reads no more of the stream.
	StreamStopped(id uint64) error
	// CountStreams is how many there are, and the bytes that came and were not read.
	CountStreams() (open, unread int)
}

// A Waiter is told before somebody waits in a stream. back is called afterwards.
type Waiter interface{ Aside() (back func()) }

// A Stream is a byte stream to the peer, beside the messages: both directions at once, each with
// its own end. One goroutine may read while another writes; of several that write, or read, one
// goes at a time. Deadlines, CloseRead and Close work beside both. The holder must Close it.
type Stream interface {
	// Read gives what the peer writes; then io.EOF, or the error that the peer ended with, or one
	// that is io.ErrUnexpectedEOF if the stream or the connection broke off before.
	//
	// Write sends; it waits while the peer's window is full. ErrStopped means that the peer reads
	// no more. After a deadline n counts what will be sent, and writing may go on when the deadline
	// is moved.
	//
	// Close ends both directions, what is written as CloseWrite(nil) does, within 10 s: a stream
	// whose end mark the peer does not take by then is reset.
	io.ReadWriteCloser
	// ID is the number that the stream is mentioned by.
	ID() uint64
	// CloseRead tells the peer that nobody reads any more: its Write fails with ErrStopped.
	CloseRead() error
	// CloseWrite ends what is written: the peer reads io.EOF after the last byte if err is nil,
	// else err as it crosses. Only the first call counts. It waits as Write does.
	CloseWrite(err error) error
	// Gone is closed when the stream breaks off: either side has given it up, the call that it went
	// with is over, or the connection. It stays open if both directions end by their end marks.
	Gone() <-chan struct{}
	// Stopped is closed when nothing that is written has a reader any more: the peer said so, or
	// the stream is Gone.
	Stopped() <-chan struct{}
	// Err says why the stream broke off; nil unless Gone is closed.
	Err() error
	// SetDeadline, SetReadDeadline and SetWriteDeadline set when waiting ends with
	// os.ErrDeadlineExceeded; zero is none.
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// A Session is what a Wire delivers to. The wire calls it from the reader alone, one call at a
// time, but where something else is said. An error that it gives ends the connection, but for
// ErrReplaced.
//
//nolint:interfacebloat // all that passes the seam, and no caller needs a part
type Session interface {
	// Greeted is called when the peer's preface was read.
	Greeted()
	// Deliver acts on one message. d stands behind its head. What Raw lies in is the wire's again
	// afterwards, unless it is Owned.
	Deliver(d *jelly.Decoder, h message.Head, m Scanned) error
	// Refuse fails the call that begins with raw, or the question it answers: the message, of size
	// bytes, is over a limit.
	Refuse(raw []byte, size int, reason error) error
	// Begin takes in the first piece of a long message, of size bytes: its place in the order is
	// here. over says that the rest of it is to be thrown away.
	Begin(d *jelly.Decoder, h message.Head, size int) (l Long, over bool, err error)
	// Whole acts on a long CALL whose last piece has come.
	Whole(d *jelly.Decoder, raw []byte, l Long) error
	// Over fails a long message that grew too large or, if full is set, found no room.
	Over(h message.Head, size int, l Long, full bool) error
	// Drop settles what is mentioned in the next bytes of a message that is thrown away. f keeps
	// where in the message that is.
	Drop(f *jelly.Finder, raw []byte)
	// PeerGoesAway takes in the end of the peer's calls. again: it said so before.
	PeerGoesAway() (again bool)

	// Asked is how many calls of this side's have no answer. Waits reports whether call is one of
	// them. Busy reports whether several calls are under way, so that a moment before a write
	// gathers more of them. All three may be called from any goroutine.
	Asked() int
	Waits(call any) bool
	Busy() bool
	// Resume is called from any goroutine when Paused is over.
	Resume()
	// Crowded is called on a goroutine of its own when many bytes of short messages wait.
	Crowded(shorts int)
	// StreamForgotten is called from any goroutine, under a lock, when a stream is over.
	StreamForgotten()
	// End ends the connection for the first reason that is given. Err is that reason; nil before.
	// Both may be called from any goroutine.
	End(reason error)
	Err() error
}

// Long is a long message as the session knows it: a call, or nil for an answer.
type Long any

// Scanned is a message that was found well-formed and within the limits for values.
type Scanned struct {
	Raw   []byte
	Refs  bool // it mentions objects or byte streams
	Owned bool // nobody else uses Raw again
}

// Errors turns errors into values and back.
type Errors interface {
	// EncodeError writes err as one value.
	EncodeError(e *jelly.Encoder, err error)
	// DecodeError reads one. It gives the error that was read, or one that says what is wrong
	// with the value.
	DecodeError(d *jelly.Decoder) error
}

// Peer is what the peer's preface said of it. Nothing in it is proved.
type Peer struct {
	// Node is the name that the peer goes by, at most 256 bytes; TLS proves names.
	Node string
	// Message is how large a message it takes, Calls and CallBytes how many calls may be
	// unanswered and how many bytes those may have, Streams how many byte streams there may be.
	Message, Calls, CallBytes, Streams int
}

// Strict is what is taken from a peer that has not logged in. It opens no byte streams.
type Strict struct{ Message, Calls, CallBytes, Queued int }

package wire

import (
	"errors"
	"fmt"
)

// Errors that a wire ends with, or gives; package broker has them by the same names.
var (
	// ErrClosed ends a connection that this side closed.
	ErrClosed = errors.New("broker: connection closed")
	// ErrPeerClosed ends a connection that the peer closed, in order or not.
	ErrPeerClosed = errors.New("broker: connection closed by the peer")
	// ErrUnheard is in an ErrPeerClosed where the peer may have said more than was read: the
	// connection could not be written to, or its byte streams broke down.
	ErrUnheard = errors.New("broker: the peer's last words may be lost")
	// ErrGoingAway refuses a call because one side is ending the connection in order.
	ErrGoingAway = errors.New("broker: connection is shutting down")
	// ErrOverloaded refuses a call that is over a budget, of the caller's side or of the peer's.
	ErrOverloaded = errors.New("broker: overloaded")
	// ErrTooLarge refuses a message over the size that the receiver takes.
	ErrTooLarge = errors.New("broker: message too large")
	// ErrTimeout ends a connection whose peer was silent for too long.
	ErrTimeout = errors.New("broker: peer does not answer")
	// ErrSlowReader ends a connection whose peer does not read what is sent to it.
	ErrSlowReader = errors.New("broker: peer does not read")
	// ErrCallStreamClosed ends a connection whose peer has closed the stream that it lives by; the
	// peer may still read.
	ErrCallStreamClosed = fmt.Errorf("%w: FIN or RST on the call stream", ErrPeerClosed)
	// ErrTooManyStreams refuses a byte stream, Limits.Streams being reached. It is an
	// ErrOverloaded.
	ErrTooManyStreams = fmt.Errorf("%w: too many byte streams on this connection (Limits.Streams)",
		ErrOverloaded)
	// ErrNoSuchStream refuses to claim a byte stream that the peer did not open, or that was
	// claimed before.
	ErrNoSuchStream = errors.New("broker: no such byte stream")
	// ErrStreamReset ends a byte stream that one side gave up without an end mark.
	ErrStreamReset = errors.New("broker: byte stream was reset")
	// ErrStopped ends the writing to a byte stream that the peer reads no more.
	ErrStopped = errors.New("broker: byte stream is not read any more")
)

// ErrReplaced is what Session.Deliver gives when another goroutine reads on: see Reading.Replace.
var ErrReplaced = errors.New("broker: another goroutine reads")

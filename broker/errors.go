package broker

import (
	"errors"
	"fmt"

	"perspective/broker/message"
	"perspective/broker/wire"
)

// Errors that callers test with errors.Is.
var (
	// ErrClosed ends a connection that this side closed.
	ErrClosed = wire.ErrClosed
	// ErrPeerClosed ends a connection that the peer closed, in order or not.
	ErrPeerClosed = wire.ErrPeerClosed
	// ErrUnheard is in an ErrPeerClosed where the peer may have said more than was read.
	ErrUnheard = wire.ErrUnheard
	// ErrGoingAway refuses a call because one side is ending the connection in order.
	ErrGoingAway = wire.ErrGoingAway
	// ErrOverloaded refuses a call that is over a budget, of the caller's side or of the peer's.
	ErrOverloaded = wire.ErrOverloaded
	// ErrTooLarge refuses a message over the size that the receiver takes.
	ErrTooLarge = wire.ErrTooLarge
	// ErrTooDeep refuses a call made while handling a call that is Limits.CallDepth deep already.
	ErrTooDeep = errors.New("broker: calls are nested too deep")
	// ErrNoSuchObject answers a call on an id that the connection does not know, or knows no more.
	ErrNoSuchObject = errors.New("broker: no such object")
	// ErrReleased refuses a call on a reference that this process has released.
	ErrReleased = errors.New("broker: reference was released")
	// ErrTooManyExports refuses to send a reference, Limits.Exports being reached. It is an
	// ErrOverloaded.
	ErrTooManyExports = fmt.Errorf(
		"%w: too many objects are lent over this connection (Limits.Exports)",
		ErrOverloaded)
	// ErrTooManyImports refuses a reference that came, Limits.Imports being reached. It is an
	// ErrOverloaded.
	ErrTooManyImports = fmt.Errorf(
		"%w: too many objects of the peer's are held over this connection (Limits.Imports)",
		ErrOverloaded)
	// ErrTooManyStreams refuses a byte stream, Limits.Streams being reached. It is an
	// ErrOverloaded.
	ErrTooManyStreams = wire.ErrTooManyStreams
	// ErrNoSuchStream refuses to claim a byte stream that the peer did not open, or that was
	// claimed before.
	ErrNoSuchStream = wire.ErrNoSuchStream
	// ErrStreamReset ends a byte stream that one side gave up without an end mark.
	ErrStreamReset = wire.ErrStreamReset
	// ErrStopped ends the writing to a byte stream that the peer reads no more.
	ErrStopped = wire.ErrStopped
	// ErrCancelled ends a call whose caller no longer wants it.
	ErrCancelled = errors.New("broker: call cancelled")
	// ErrTimeout ends a connection whose peer was silent for too long.
	ErrTimeout = wire.ErrTimeout
	// ErrSlowReader ends a connection whose peer does not read what is sent to it.
	ErrSlowReader = wire.ErrSlowReader
	// ErrNoAnswer answers a call whose method ended without an answer.
	ErrNoAnswer = errors.New("broker: method gave no answer")
)

// tooLarge is ErrTooLarge for a message of size bytes of which whose side takes
// limit, and names the knob. The texts are for the program that makes the call.
func tooLarge(size int, what, whose string, limit int, knob string) error {
	return tooLargeOf(fmt.Sprintf("%d bytes", size), what, whose, limit, knob)
}

func tooLargeOf(size, what, whose string, limit int, knob string) error {
	return fmt.Errorf("%w: %s of %s, %s takes %d (%s); send a stream (pb.Reader) for more",
		ErrTooLarge, what, size, whose, limit, knob)
}

// A ProtocolError ends a connection whose peer broke the rules of the wire.
// Its text goes to the peer too.
type ProtocolError = message.ProtocolError

// An AbortError ends a connection that the peer ended with a reason.
type AbortError struct {
	// Reason is the peer's text, at most 256 bytes; quote it before it is shown.
	Reason string
}

func (e *AbortError) Error() string {
	return fmt.Sprintf("broker: peer ended the connection: %q", e.Reason)
}

// Is reports that an AbortError is an ErrPeerClosed too.
func (e *AbortError) Is(target error) bool { return target == ErrPeerClosed }

// ErrAnswered is what Ask gives for a Header.Answer whose RETURN has come, or whose
// CALL another Ask is about to send: call what the answer holds instead, when it is there.
var ErrAnswered = errors.New("broker: the question is answered already")

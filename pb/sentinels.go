package pb

import (
	"context"
	"errors"

	"perspective/broker"
)

// What became of a call, and of Deferreds. Test them with errors.Is, wrapped or not; OutcomeOf
// says whether the method was executed.
var (
	// ErrOverloaded refuses a call that is over a budget, of this side or of the peer; the
	// text says which. Make it again later, or raise the field of Limits that is named.
	ErrOverloaded = broker.ErrOverloaded
	// ErrTooLarge refuses a message over Limits.Message of the side that receives it. Send a
	// Reader, or raise the limit there.
	ErrTooLarge = broker.ErrTooLarge
	// ErrTooDeep refuses a call made while handling a call that is Limits.CallDepth deep
	// already: objects call each other in a circle, most likely.
	ErrTooDeep = broker.ErrTooDeep
	// ErrNoSuchObject refuses a call on a reference that the peer does not know, or knows no
	// more. Ask for the object again.
	ErrNoSuchObject = broker.ErrNoSuchObject
	// ErrReleased refuses a call on a reference after RemoteReference.Release. It also
	// refuses to send that reference.
	ErrReleased = broker.ErrReleased
	// ErrTooManyExports refuses to send one more object, the peer holding Limits.Exports of
	// this side's. It is an ErrOverloaded.
	ErrTooManyExports = broker.ErrTooManyExports
	// ErrTooManyImports refuses to receive one more object, this side holding Limits.Imports
	// of the peer's. Release some. It is an ErrOverloaded.
	ErrTooManyImports = broker.ErrTooManyImports
	// ErrNoAnswer fails a call whose method has ended without an answer, a mistake of the
	// peer's program or implementation. The method was executed.
	ErrNoAnswer = broker.ErrNoAnswer
	// ErrCancelled fails a Deferred that was cancelled before it fired. It wraps
	// context.Canceled. Note and Reply give it when nobody waits for the call any more.
	ErrCancelled error = cancelledError{}
	// ErrOutsideMethod is the error of Note and Reply for a ctx that is not that of a remote
	// method, nor made from one: there is no call that they could belong to.
	ErrOutsideMethod = errors.New(
		"pb: outside of a remote method: pass the ctx that the method was called with")
)

// Why a call is not allowed.
var (
	// ErrNotLoggedIn refuses a call on the root of a node with a Portal before the login. Call
	// Conn.Login first.
	ErrNotLoggedIn = errors.New("pb: log in first")
	// ErrNoRoot refuses a call on the root of a node that has none.
	ErrNoRoot = errors.New("pb: this node has no root object")
	// ErrNoAvatar refuses a call to a View method from a caller that has not logged in, or
	// logged in to another kind of avatar than the method takes.
	ErrNoAvatar = errors.New("pb: the caller has no avatar for this method")
)

// Why a connection has ended, or was not made. Conn.Err gives them, and so do the calls that
// could not be finished. Dial again.
var (
	// ErrNodeClosed is what Serve, Dial and Attach give after Shutdown or Close.
	ErrNodeClosed = errors.New("pb: node is closed")
	// ErrWrongPeer fails a Dial that another node than the URL names has answered.
	ErrWrongPeer = errors.New("pb: another node answered")
	// ErrClosed ends a connection that this side has closed.
	ErrClosed = broker.ErrClosed
	// ErrPeerClosed ends a connection that the peer has closed, in order or not.
	ErrPeerClosed = broker.ErrPeerClosed
	// ErrUnheard is in an ErrPeerClosed where the peer may have said more than was read: this side
	// could not write to the connection, or its byte streams broke down.
	ErrUnheard = broker.ErrUnheard
	// ErrGoingAway refuses a call while one side ends the connection by Shutdown. It was not
	// executed.
	ErrGoingAway = broker.ErrGoingAway
	// ErrTimeout ends a connection whose peer was silent for too long: Limits.Handshake and
	// Limits.Keepalive say how long that is.
	ErrTimeout = broker.ErrTimeout
	// ErrSlowReader ends a connection whose peer does not read what is sent to it:
	// Limits.WriteStall and Limits.Queued say what it may leave unread.
	ErrSlowReader = broker.ErrSlowReader
)

// Errors of byte streams, which Reader and Writer send.
var (
	// ErrTooManyStreams refuses one more byte stream, Limits.Streams being open. It is an
	// ErrOverloaded.
	ErrTooManyStreams = broker.ErrTooManyStreams
	// ErrNoSuchStream refuses a byte stream that the peer did not open, or that was taken
	// before: a mistake of the peer's program or implementation.
	ErrNoSuchStream = broker.ErrNoSuchStream
	// ErrStreamReset ends a byte stream that one side gave up before its end. What was read
	// is not all. It comes with io.ErrUnexpectedEOF where a stream is read.
	ErrStreamReset = broker.ErrStreamReset
	// ErrStreamStopped ends the writing to a byte stream that the peer does not read any
	// more. Stop writing.
	ErrStreamStopped = broker.ErrStopped
)

// A ProtocolError is why Conn.Err has ended a connection whose peer broke a rule of the wire;
// its Reason says which, in this side's words. The peer is told it. Both are to be found with
// errors.As.
type ProtocolError = broker.ProtocolError

// An AbortError is why Conn.Err has ended a connection that the peer ended with a reason, such
// as a rule of the wire that this side broke. It is an ErrPeerClosed too. Its Reason is the
// peer's text, at most 256 bytes: quote it where control characters could do harm.
type AbortError = broker.AbortError

type cancelledError struct{}

func (cancelledError) Error() string { return "pb: cancelled" }
func (cancelledError) Unwrap() error { return context.Canceled }

package link

import (
	"time"

	"perspective/broker/message"
	"perspective/jelly"
)

// Limits bounds what one peer can make a Link spend. All fields are needed; those of
// broker.Limits say what they mean.
type Limits struct {
	Message, Calls, CallBytes, Streams, StreamBytes, Queued, Control int
	WriteStall, FrameStall, Handshake                                time.Duration
	Values                                                           jelly.Limits
}

const (
	// WholeSize is the longest message that goes in one piece.
	WholeSize = 64 << 10
	// StreamWindow is what may be on its way in each direction of a byte stream: the initial window
	// of every yamux stream (its spec.md).
	StreamWindow = 256 << 10
	// UsualStreams is how many byte streams there are at once where nothing is said.
	UsualStreams = 64
	// EarlyCalls is how many calls may be sent before the peer's preface has told its limits.
	EarlyCalls = 16
	// EarlyBytes is how many bytes they may have.
	EarlyBytes = 64 << 10
	// PauseQueued is how much may wait for the peer before its calls are no longer started.
	PauseQueued = 1 << 20

	wholeSize   = WholeSize
	yamuxWindow = StreamWindow
	pauseQueued = PauseQueued

	// pieceSize is what one PART carries; a longer message goes in pieces so that short ones pass
	// between them.
	pieceSize = wholeSize - message.MaxPartHead
	// flushSize is how much of what waits is worth a write of its own.
	flushSize = 32 << 10
	// startPiece is the part of a long message that is sent at once, to hold its place in the
	// order. It contains all that stands before the arguments: a path of 16 names, a method, a
	// trace and a token, at most.
	startPiece = 6 << 10
	// chunkSize is the payload of one chunk of a byte stream, so that a frame of it is at most
	// 16 KiB and messages do not wait long behind it.
	chunkSize = 16<<10 - 3
	// streamBatch of frames of byte streams may wait for one write.
	streamBatch = 32 << 10
	// largeWindow is the window of the call stream once it was made use of.
	largeWindow = 2 << 20
)

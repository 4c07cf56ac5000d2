package broker

import (
	"math"
	"time"

	"perspective/broker/link"
	"perspective/jelly"
)

// Limits bounds what one peer can make this process spend. A zero field
// stands for its default. What exceeds a budget costs the peer that call or
// stream; only a broken rule of the protocol costs it the connection.
type Limits struct {
	// Message is the size of one message in bytes; default 4 MiB. What is larger
	// goes over a byte stream.
	Message int
	// Arguments of one call; default 64.
	Arguments int
	// Calls that the peer may have unanswered; default 1,024. A quarter more
	// are taken if they are made while handling a call of ours.
	Calls int
	// CallBytes of the peer's unanswered calls together; default 8 MiB.
	CallBytes int
	// Handlers that run at once for the peer, an eighth of these while more than three
	// eighths of Config.Memory are held, counted until their methods
	// return, but not while they wait for other calls, which Calls bounds; default
	// 256. One that has waited goes on when there is room again, before calls that
	// have not begun; after HeldTurn in which none of these went on one does without,
	// for those that have the room may wait for it.
	Handlers int
	// Exports is how many objects of ours the peer may hold; default 10,000.
	Exports int
	// Imports is how many objects of the peer's this side holds; default 10,000.
	Imports int
	// Answers kept so that the peer can pipeline on them; default 1,024.
	Answers int
	// AnswerBytes of those; default 16 MiB.
	AnswerBytes int
	// Streams open at once, both sides' together; default 64.
	Streams int
	// StreamBytes that came over byte streams and were not read yet, of all
	// streams together; default 256 KiB for each of Streams, which is all that may come.
	// What exceeds it costs its stream.
	StreamBytes int
	// Queued bytes that wait to be written to the peer; default 8 MiB. Over it
	// methods wait to answer, and what nobody waits with (refusals and the like)
	// ends the connection with ErrSlowReader.
	Queued int
	// WriteStall is how long the peer may take nothing of what waits;
	// default 10 s.
	WriteStall time.Duration
	// Handshake is the time for the peer's preface; default 10 s.
	Handshake time.Duration
	// FrameStall is how long a frame begun may bring no byte; default 5 s.
	FrameStall time.Duration
	// Keepalive is the silence after which the peer is asked whether it is
	// there; it is lost after as much again. Default 30 s; negative: never.
	Keepalive time.Duration
	// MemoryWait is how long a call waits for room in Config.Memory for its
	// arguments, and again for its result, until it fails with ErrOverloaded;
	// default 2 s. Waiting for the peer to read is bounded by WriteStall alone.
	MemoryWait time.Duration
	// HeldTurn is how long a method may keep its turn with calls waiting
	// behind it before a warning with its stack is logged, and how long methods
	// may keep all the room among the Handlers from those that have waited; default 5 s.
	HeldTurn time.Duration
	// Control is how many frames a second that carry nothing (pings, resets,
	// empty updates, streams over the cap) are taken, twice as many at once; default 2,000.
	Control int
	// CallDepth is how deep calls made while handling calls may nest;
	// default 32.
	CallDepth int
	// Values bounds the values inside the messages. MessageBytes and
	// DecodedBytes left zero follow a larger Message.
	Values jelly.Limits
}

// Stranger is what is taken from a peer that has not logged in: a login and no
// more. No byte streams are, and it is not believed that a call was made while
// handling another. A zero field stands for its default.
type Stranger struct {
	// Message is the size of one message in bytes; default 64 KiB.
	Message int
	// Calls that the peer may have unanswered; default 16.
	Calls int
	// CallBytes of these together; default 64 KiB.
	CallBytes int
	// Memory that its calls and their answers take, as Config.Memory counts;
	// default 1 MiB.
	Memory int
	// Queued bytes that wait to be written to the peer, instead of
	// Limits.Queued; default 256 KiB.
	Queued int
}

func (s Stranger) withDefaults() Stranger {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&s.Message, 64<<10)
	def(&s.Calls, earlyCalls)
	def(&s.CallBytes, earlyBytes)
	def(&s.Memory, 1<<20)
	def(&s.Queued, 256<<10)
	return s
}

// withDefaults is l with every zero field filled in.
func (l Limits) withDefaults() Limits {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&l.Message, 4<<20)
	def(&l.Arguments, 64)
	def(&l.Calls, 1024)
	def(&l.CallBytes, 8<<20)
	def(&l.Handlers, 256)
	def(&l.Exports, 10_000)
	def(&l.Imports, 10_000)
	def(&l.Answers, 1024)
	def(&l.AnswerBytes, 16<<20)
	def(&l.Streams, link.UsualStreams)
	def(&l.StreamBytes, int(min(int64(l.Streams)*link.StreamWindow, math.MaxInt)))
	def(&l.Queued, 8<<20)
	def(&l.CallDepth, 32)
	def(&l.Control, 2000)
	def(&l.Values.MessageBytes, max(l.Message, wholeSize)) // PARTs are messages too
	def(&l.Values.DecodedBytes, max(16<<20, 4*l.Message))  // as the defaults stand to each other
	dur := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	dur(&l.WriteStall, 10*time.Second)
	dur(&l.Handshake, 10*time.Second)
	dur(&l.FrameStall, 5*time.Second)
	dur(&l.Keepalive, 30*time.Second)
	dur(&l.HeldTurn, 5*time.Second)
	dur(&l.MemoryWait, 2*time.Second)
	return l
}

// reserve is how many calls over Limits.Calls are taken when they are made
// while handling a call: they must not wait, or two peers could wait for each
// other for ever.
func (l *Limits) reserve() int { return l.Calls / 4 }

const (
	wholeSize   = link.WholeSize
	pauseQueued = link.PauseQueued
	earlyCalls  = link.EarlyCalls
	earlyBytes  = link.EarlyBytes
)

// ofLink are the limits that the native wire holds.
func (l *Limits) ofLink() link.Limits {
	return link.Limits{
		Message: l.Message, Calls: l.Calls, CallBytes: l.CallBytes, Streams: l.Streams,
		StreamBytes: l.StreamBytes, Queued: l.Queued, Control: l.Control, WriteStall: l.WriteStall,
		FrameStall: l.FrameStall, Handshake: l.Handshake, Values: l.Values,
	}
}

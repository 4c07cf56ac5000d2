package pb

import (
	"time"

	"perspective/broker"
	"perspective/jelly"
)

// Limits bound what peers can make a node spend. A field that is zero, or negative where
// nothing else is said, stands for its default. What exceeds a budget costs the peer that
// call or byte stream; only a broken rule of the protocol costs it the connection. Limits
// are a plain value; those of a Node must not change once it is in use.
type Limits struct {
	// Conns is how many connections a node has at once; default: any number. What comes
	// over it is closed at once.
	Conns int
	// Unauthenticated is how many connections of one address (of one /64 for IPv6) are
	// there at once that have proved nothing; default 16. With a Portal and no Allow that
	// is until the login, and what comes over it is closed. Otherwise it is until the
	// connection is set up, and what comes over it waits, see Backlog. What Attach gets as
	// the Acceptor counts too; unix sockets and what has no TCP address do not.
	Unauthenticated int
	// Backlog is how many connections of one address wait to be set up where no login is
	// needed, beside those that Unauthenticated counts; default 256. What comes over it
	// is closed.
	Backlog int
	// Refused is how many connections that Allow did not let in the node keeps at once, to
	// tell those peers so, for Login at most; default 64. What comes over it is closed at
	// once. They do not count among Conns.
	Refused int

	// Login is the time for TLS, preface and login together; default 10 s.
	Login time.Duration
	// LoginMessage is the size in bytes of one message before the login, if there is a
	// Portal; default 64 KiB.
	LoginMessage int
	// LoginCalls is how many calls a peer may have unanswered before the login; default
	// 16. Those over it fail with ErrOverloaded.
	LoginCalls int
	// LoginBytes is the size of those calls together; default 64 KiB.
	LoginBytes int
	// LoginMemory is what they take at most, as Node.Memory counts; default 1 MiB.
	LoginMemory int

	// Message is the size of one message in bytes; default 4 MiB. A call or an answer
	// that is larger fails with ErrTooLarge; Reader and Writer send any amount.
	Message int
	// Arguments is how many arguments a call has; default 64.
	Arguments int
	// Calls is how many calls the peer may have unanswered; default 1,024. A quarter more
	// are taken if they are made while handling a call of ours.
	Calls int
	// CallBytes is the size of the peer's unanswered calls together; default 8 MiB.
	CallBytes int
	// CallDepth is how deep calls made while handling calls may nest; default 32. A call
	// over it fails with ErrTooDeep.
	CallDepth int
	// Handlers is how many methods run at once for the peer; default 256, and an eighth of
	// Handlers while more than three eighths of Node.Memory are held. A method that waits
	// in this package does not count, for Calls bounds those. It goes on when there is
	// room again, before calls that have not begun; after HeldTurn in which no waiting
	// method went on, one does without room, for those that have the room may wait for it.
	Handlers int
	// HeldTurn is how long a method may keep its turn with calls waiting behind it before a
	// warning with its stack is logged, and how long methods may keep all the room among
	// the Handlers from those that have waited; default 5 s.
	HeldTurn time.Duration
	// MemoryWait is how long a call waits for room in Node.Memory for its arguments, and
	// again for its result, until it fails with ErrOverloaded; default 2 s.
	MemoryWait time.Duration

	// Exports is how many objects of this side the peer may hold; default 10,000. What is
	// over it is not lent: ErrTooManyExports.
	Exports int
	// Imports is how many objects of the peer's this side holds; default 10,000. What is
	// over it is not taken: ErrTooManyImports.
	Imports int
	// Answers is how many answers are kept so that the peer can call methods on what they
	// hold; default 1,024.
	Answers int
	// AnswerBytes is the size of those answers together; default 16 MiB.
	AnswerBytes int

	// Streams is how many byte streams are open at once, both sides' together; default 64.
	// One more fails with ErrTooManyStreams.
	Streams int
	// StreamBytes is how much came over all byte streams together and was not read yet;
	// default 256 KiB for each of Streams, which is all that may come. A byte stream that
	// exceeds it is reset.
	StreamBytes int

	// Queued is how many bytes wait to be written to the peer; default 8 MiB. Over it
	// methods wait to answer, and what nothing can wait with (refusals and the like) ends
	// the connection with ErrSlowReader.
	Queued int
	// WriteStall is how long the peer may take nothing of what waits to be written;
	// default 10 s. Then the connection ends with ErrSlowReader.
	WriteStall time.Duration
	// FrameStall is how long a frame that has begun may bring no byte; default 5 s. Then
	// the connection ends with a ProtocolError.
	FrameStall time.Duration
	// Handshake is the time for the peer's preface; default Login. Then the connection
	// ends with ErrTimeout.
	Handshake time.Duration
	// Keepalive is the silence after which the peer is asked whether it is there; after as
	// much again the connection ends with ErrTimeout. Default 30 s; negative: never.
	Keepalive time.Duration
	// Control is how many frames a second that carry nothing (pings, resets, empty
	// updates, byte streams over the cap) are taken, twice as many at once; default 2,000.
	// A peer that sends more loses the connection.
	Control int

	// Values bounds the values inside the messages. MessageBytes and DecodedBytes left
	// zero follow a larger Message.
	Values jelly.Limits
}

// withDefaults fills in what is a node's own. Package broker knows the other defaults.
func (l Limits) withDefaults() Limits {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&l.Unauthenticated, 16)
	def(&l.Backlog, 256)
	def(&l.Refused, 64)
	if l.Login <= 0 {
		l.Login = 10 * time.Second
	}
	if l.Handshake <= 0 {
		l.Handshake = l.Login
	}
	def(&l.LoginMessage, 64<<10)
	def(&l.LoginCalls, 16)
	def(&l.LoginBytes, 64<<10)
	def(&l.LoginMemory, 1<<20)
	return l
}

// ofConn is what holds over each connection.
func (l *Limits) ofConn() broker.Limits {
	return broker.Limits{
		Message:     l.Message,
		Arguments:   l.Arguments,
		Calls:       l.Calls,
		CallBytes:   l.CallBytes,
		Handlers:    l.Handlers,
		Exports:     l.Exports,
		Imports:     l.Imports,
		Answers:     l.Answers,
		AnswerBytes: l.AnswerBytes,
		Streams:     l.Streams,
		StreamBytes: l.StreamBytes,
		Queued:      l.Queued,
		WriteStall:  l.WriteStall,
		Handshake:   l.Handshake,
		FrameStall:  l.FrameStall,
		Keepalive:   l.Keepalive,
		MemoryWait:  l.MemoryWait,
		HeldTurn:    l.HeldTurn,
		Control:     l.Control,
		CallDepth:   l.CallDepth,
		Values:      l.Values,
	}
}

// beforeLogin is what holds over a connection until its peer has logged in.
func (l *Limits) beforeLogin() broker.Stranger {
	return broker.Stranger{
		Message:   l.LoginMessage,
		Calls:     l.LoginCalls,
		CallBytes: l.LoginBytes,
		Memory:    l.LoginMemory,
	}
}

// Stats counts what a connection has done and what it holds. It is a copy: nothing changes
// in it.
type Stats struct {
	// Sent and Received are the calls that this side and the peer made, ever.
	Sent, Received uint64
	// Asked and Unanswered are calls under way, this side's and the peer's.
	Asked, Unanswered int
	// Oneway is how many of Asked were made by Send: the peer has not said yet that they ended.
	Oneway int
	// Kept is how many answers the peer may still call methods on.
	Kept int
	// Exports and Imports are the objects lent and held, without those that every
	// connection has.
	Exports, Imports int
	// Streams is how many byte streams are open, both sides' together.
	Streams int
	// StreamBytes is how much came over them and was not read.
	StreamBytes int
	// Handlers is how many methods run for the peer.
	Handlers int
	// Queued is how many bytes of messages wait to be written.
	Queued int
	// Memory is what the peer's calls hold, as Node.Memory counts it, with the part that
	// does not count there.
	Memory int
}

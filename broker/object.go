package broker

import (
	"perspective/broker/wire"
	"perspective/jelly"
)

// Discipline says how the calls to one object are put in order.
type Discipline uint8

const (
	// Queued objects have one queue of calls for each connection: a call
	// starts when the turn of the one before it has ended.
	Queued Discipline = iota
	// Concurrent objects have no queue: each call starts at once.
	Concurrent
)

// An Object is what an export id names. Its methods are called by the
// connection's goroutines, several at once.
type Object interface {
	// Method finds what a call names. The name is as the peer sent it, valid
	// only during the call. An unknown name gives an error, which the caller
	// gets with the outcome NotExecuted.
	Method(name []byte) (Method, error)
	// Discipline is asked once, when the object is first exported on a
	// connection.
	Discipline() Discipline
}

// A Releaser is an Object that wants to know when the peer holds no reference
// to it any more. Released is called then, with the id that Export gave, without
// a lock but often by the connection's reader, so it must not block. It is not
// called at the end of the connection, which Done tells.
type Releaser interface {
	Object
	Released(id uint64)
}

// A Method answers one kind of call.
type Method interface {
	// Invoke answers in: it reads in.Args, then calls Begin, runs what the
	// method does, and ends with exactly one of Return, Refuse and Fail,
	// before or after Invoke returns. When Invoke returns the turn ends.
	Invoke(in *Incoming)
}

// A Question is a call's asking side. *pb.Deferred is what stands behind it. Except EncodeArgs, its
// methods are called by the connection's reader or by the goroutine that ends the connection. They
// must not block.
type Question interface {
	// EncodeArgs writes the arguments as one array. It runs on the goroutine
	// that called Ask, before Ask returns. Byte slices in them must not change
	// until then.
	EncodeArgs(*jelly.Encoder) error
	// Pure reports whether DecodeResult runs no user's code. An impure result
	// is decoded on a goroutine of its own.
	Pure() bool
	// DecodeResult reads the result. The bytes are gone when it returns, but
	// for what the Decoder has given away.
	// It is called at most once, and before Finish.
	DecodeResult(*jelly.Decoder) error
	// Finish ends the question: err is nil after a result that was decoded.
	// It is called exactly once for a question that Ask accepted.
	Finish(Outcome, error)
}

// A Noter is a Question that wants the notes which the answering side sends
// before its answer.
type Noter interface {
	Question
	// BeforeNote runs before each Note, under a lock, and must do next to nothing. A
	// question that is finished between the two, by the connection's end, is still in
	// the reader's hands.
	BeforeNote()
	// Note runs on the connection's reader and must not block. The bytes are
	// gone when it returns.
	Note(*jelly.Decoder)
}

// Errors turns errors into values of the wire and back.
type Errors = wire.Errors

// Outcome says what became of a call.
type Outcome uint8

const (
	// MaybeExecuted: the connection ended after the call was given to a write
	// and before an answer came. The zero value, for what is not known.
	MaybeExecuted Outcome = iota
	// NotExecuted: the call was never given to a write, or was refused before
	// its method began.
	NotExecuted
	// Executed: an answer came.
	Executed
)

// String gives the outcome in plain words.
func (o Outcome) String() string {
	switch o {
	case NotExecuted:
		return "not executed"
	case Executed:
		return "executed"
	default:
		return "maybe executed"
	}
}

package broker

import (
	"context"
	"sync/atomic"

	"perspective/broker/link"
	"perspective/broker/message"
	"perspective/broker/promise"
	"perspective/internal/guard"
	"perspective/internal/lines"
	"perspective/jelly"
)

const (
	turnNone  = iota // waiting, or of an object without a queue
	turnHeld         // the method runs and later calls wait for it
	turnEnded        // it never comes back, or none is needed
)

// An Incoming is a call of the peer's, from its arrival to its answer, and the
// context of the method that answers it: the context ends with the answer,
// with the call's deadline, when the caller gives it up, and with the
// connection. It is never used again for another call.
type Incoming struct { // 192 bytes: the peer's calls are most of what the collector has to do here
	b       *Broker
	q       uint32 // 0: oneway
	target  uint32 // the answer it was called on, if any
	size    uint32
	depth   uint16
	flags   uint8
	export  *export
	method  Method
	queue   *queue
	odd     *oddments    // nil: there are none
	stored  *stored      // nil: the call runs as it comes, or has begun
	streams *callStreams // nil: none came; of the method's goroutine

	decoder *jelly.Decoder
	reader  *reader // that runs the method, or ran it

	started    atomic.Uint32 // microseconds since epoch, never 0; 0: not timed, or no more
	turn       atomic.Int32
	held       atomic.Int32 // the permits it holds, see permits.go
	answered   atomic.Bool
	turnless   atomic.Bool  // the method needs no turn
	arrived    uint32       // when it did, by Broker.clock; fills a gap
	memory     atomic.Int64 // see memory.go
	noted      atomic.Bool  // a note was sent, or is about to be; set under mu
	overloaded bool
	shed       bool // not counted among the answers
	long       bool // it comes in pieces
	assembling bool // its arguments have not come yet; under mu
	owned      bool // the arguments' memory is the call's own
	pinned     bool // objects of ours among the arguments are kept for it: see exports.pin
	refs       bool // the arguments mention objects or streams that are not settled yet
	callContext

	// under b.answers.mu
	finished  bool // FINISH came
	forgotten bool // the answer found no room
	settled   bool // the answer is there, and kept if a later call may want it
	*interest      // nil: nothing else depends on the answer
}

// stored is what a call needs that does not run as it comes.
type stored struct {
	args    []byte
	b       []byte    // memory that args lies in, if it is borrowed
	next    *Incoming // in queue
	stalled func()    // what goes on when the arguments have come; under mu
}

// oddments are what few calls have. They do not change once the call may run, but for ended.
type oddments struct {
	ended   func(Outcome, error) // see OnEnd
	fn      func()               // instead of a method: a function in its turn
	refused error                // why it will be
	// of the method, as the peer wrote it, if it was called on an answer
	name         string
	path         []string // into that answer
	trace, token []byte
	holds        []*Incoming // the earlier calls whose answers stand in the arguments
}

// interest is what others have to do with a call's answer.
type interest struct {
	promise promise.Promise // of the answer
	cost    int             // 1 + what it counts for in keptBytes, if it does
	holders int             // calls whose arguments name the answer
}

// wantOdd makes room for oddments.
func (in *Incoming) wantOdd() *oddments {
	if in.odd == nil {
		in.odd = new(oddments)
	}
	return in.odd
}

// want makes room for interest. Needs b.answers.mu.
func (in *Incoming) want() *interest {
	if in.interest == nil {
		in.interest = new(interest)
	}
	return in.interest
}

// Broker is the connection that the call came over.
func (in *Incoming) Broker() *Broker { return in.b }

// Oneway reports that no answer is wanted; Return and Fail then only end the call.
func (in *Incoming) Oneway() bool { return in.q == 0 }

// Key is the identity of the object that was called, as given to Export.
func (in *Incoming) Key() any { return in.b.exports.keyOf(in.export) }

// Trace is what the caller's Header had.
func (in *Incoming) Trace() []byte {
	if in.odd == nil {
		return nil
	}
	return in.odd.trace
}

// Method is what the call names; nil if it was refused before that was found.
func (in *Incoming) Method() Method { return in.method }

// OnEnd has f called once, just before the answer is sent: with Executed and the method's error,
// or with NotExecuted and why the call was refused. The method calls it, before anything else;
// Config.Refused is not told of the call then. f is called on the goroutine that answers, perhaps
// the reader, so it must not block.
func (in *Incoming) OnEnd(f func(Outcome, error)) {
	in.b.answers.mu.Lock() // a window may look
	defer in.b.answers.mu.Unlock()
	in.wantOdd().ended = f
}

// tellEnd tells what the call has come to.
func (in *Incoming) tellEnd(o Outcome, err error) {
	switch {
	case in.odd != nil && in.odd.ended != nil:
		in.odd.ended(o, err)
	case o == NotExecuted && in.b.config.Refused != nil:
		in.b.config.Refused(in, err)
	}
}

// Args stands before the arguments' array. It is valid until Begin or Refuse.
func (in *Incoming) Args() *jelly.Decoder { return in.decoder }

// invoke runs the call on the current goroutine, which has a permit for it.
func (in *Incoming) invoke() {
	in.takePermit()
	defer func() {
		in.letMemoryGo()
		in.leavePermit()
	}()
	in.handle(in.timing())
}

// handle runs the call on the current goroutine.
func (in *Incoming) handle(t *Timing) {
	if in.odd != nil && in.odd.fn != nil {
		defer in.b.nudge()
		defer in.b.answers.remove(in) // though the function ends its goroutine
		in.odd.fn()
		return
	}
	switch {
	case in.overloaded:
		in.Refuse(ErrOverloaded)
		return
	case in.odd != nil && in.odd.refused != nil:
		in.Refuse(in.odd.refused)
		return
	case in.Err() != nil:
		in.Refuse(context.Cause(in))
		return
	}
	if in.decoder == nil {
		d := jelly.GetDecoder()
		refs := in.b.config.Refs
		if in.odd != nil && in.odd.holds != nil && in.b.config.CallRefs != nil {
			refs = in.b.config.CallRefs(in)
		}
		d.Reset(in.b.config.Types, refs, in.stored.args, &in.b.limits.Values)
		in.decoder = d
	}
	in.decoder.Metered(callFree, (*meter)(in))
	if in.owned {
		in.decoder.Own()
	}
	if in.refs {
		defer in.methodReturned()
	}
	if t == nil || in.reader != nil && in.reader.calls%timingSample != 0 {
		in.method.Invoke(in)
		return
	}
	in.started.Store(microseconds())
	in.method.Invoke(in)
	in.timed()
}

// Begin is called when the arguments are decoded and the method is about to
// start: an error after it means Executed. It is false if the call was given
// up meanwhile; it is answered then and the method must not run.
func (in *Incoming) Begin() bool {
	begun := in.Err() == nil
	in.letArgsGo(begun)
	if !begun {
		in.Refuse(context.Cause(in))
	}
	return begun
}

// letArgsGo is done with the arguments. kept says that the method has what was
// decoded of them.
func (in *Incoming) letArgsGo(kept bool) {
	if in.memory.Load() != 0 {
		in.decoded()
	}
	if in.refs {
		in.settleArgs(kept)
	}
	if d := in.decoder; d != nil {
		in.decoder = nil
		if in.reader == nil { // else it is the reader's
			jelly.PutDecoder(d)
		}
	}
	if a := in.stored; a != nil {
		in.stored = nil
		putStored(a)
	}
	if o := in.odd; o != nil && o.holds != nil {
		in.b.answers.letGo(o)
	}
}

// settleArgs settles what the arguments mention, once.
func (in *Incoming) settleArgs(kept bool) {
	in.refs = false
	if in.pinned {
		in.pinned = false
		in.b.exports.unpin(in.stored.args)
	}
	s := settler{b: in.b, kept: kept}
	if kept {
		s.in = in
	}
	var f jelly.Finder
	switch {
	case in.decoder != nil:
		f.Find(in.decoder.Scanned(), s.settle)
	case in.stored != nil:
		f.Find(in.stored.args, s.settle)
	}
	s.flush()
}

// Return answers with the one value that encode writes. If encode fails its error is the answer.
// One of more than 4 KiB waits until the peer takes what waits for it, and for room in
// Config.Memory: ErrOverloaded is the answer if there is none in time. Large byte slices are
// written from where they lie, for which Return waits a few milliseconds at most; they must not
// change before it returns.
func (in *Incoming) Return(encode func(*jelly.Encoder) error) {
	if in.q == 0 {
		in.end(nil, nil, nil, Executed, nil)
		return
	}
	e := jelly.GetEncoder()
	e.Reset(in.b.config.Types, in.b.config.Refs)
	message.BeginReturn(e, in.q)
	e.Allowed(resultFree, (*result)(in))
	at := e.Len()
	// the reader does not wait, and others must be kept
	if uint64(in.flags)&FlagFinal != 0 && !in.onReader() {
		e.ByReference(link.LendMin)
	}
	err := in.encode(e, encode)
	if denied := e.Denied(); denied != nil {
		err = denied
	}
	if size, limit := e.Size()-message.LengthSize, in.b.peerMessage(); err == nil && size > limit {
		err = tooLarge(size, "an answer", "the caller", limit, "its Limits.Message")
	}
	if err != nil {
		in.b.takeBack(e)
		in.letResultGo(e)
		jelly.PutEncoder(e)
		in.Fail(err)
		return
	}
	in.b.takeBackUnsent(e)
	if !in.end(e, e.Buffer()[at:], nil, Executed, nil) {
		in.b.takeBack(e)
		in.letResultGo(e)
		jelly.PutEncoder(e)
	}
}

// encode calls f, which runs methods of a program's types. If one ends the goroutine the call
// fails.
func (in *Incoming) encode(e *jelly.Encoder, f func(*jelly.Encoder) error) error {
	returned := false
	defer func() {
		if returned {
			return
		}
		in.b.takeBack(e)
		in.letResultGo(e)
		if r := recover(); r != nil {
			panic(r)
		}
		p := guard.Recovered(nil)
		lines.Fault(context.Background(), in.b.log, "encoding an answer", p)
		in.Fail(p)
	}()
	err := f(e)
	returned = true
	return err
}

// Fail answers with the method's error.
func (in *Incoming) Fail(err error) { in.sendError(err, Executed) }

// Refuse answers with an error that came before the method began.
func (in *Incoming) Refuse(err error) {
	in.letArgsGo(false)
	in.sendError(err, NotExecuted)
}

func (in *Incoming) sendError(err error, o Outcome) {
	if in.q == 0 {
		in.end(nil, nil, nil, o, err)
		return
	}
	e := jelly.GetEncoder()
	e.Reset(in.b.config.Types, in.b.config.Refs)
	failure := message.EncodeFailure(e, in.q, o == Executed, func(e *jelly.Encoder) {
		in.b.config.Errors.EncodeError(e, err)
		in.b.takeBackUnsent(e)
	})
	if !in.end(e, nil, failure, o, err) {
		in.b.takeBack(e)
		jelly.PutEncoder(e)
	}
}

// Note sends the caller a value before the answer, at most 64 KiB. After the
// answer it gives ErrCancelled. It waits while 1 MiB waits to be written, and for room in
// Config.Memory as Return does.
func (in *Incoming) Note(encode func(*jelly.Encoder) error) error {
	if in.q == 0 || in.answered.Load() {
		return ErrCancelled
	}
	e := jelly.GetEncoder()
	defer func() {
		in.letResultGo(e)
		jelly.PutEncoder(e)
	}()
	e.Reset(in.b.config.Types, in.b.config.Refs)
	message.BeginNote(e, in.q)
	e.Allowed(resultFree, (*note)(in))
	returned := false
	defer func() {
		if !returned {
			in.b.takeBack(e)
		}
	}()
	err := encode(e)
	returned = true
	if denied := e.Denied(); denied != nil {
		err = denied
	}
	in.b.takeBackUnsent(e)
	if size, limit := e.Len()-message.LengthSize, in.noteLimit(); err == nil && size > limit {
		err = tooLarge(size, "a note", "the caller", limit, noteKnob)
	}
	if err == nil {
		if !in.onReader() {
			in.b.wire.AwaitRoom(pauseQueued) // back-pressure: the method waits for its caller
		}
		err = in.sendNote(e.Buffer())
	}
	if err != nil {
		in.b.takeBack(e)
		return err
	}
	in.b.wire.Flush()
	return nil
}

// Written waits until the connection has taken the notes that were sent before: what this process
// does from then on comes after they have left it. The error is the connection's end.
func (in *Incoming) Written() error { return in.b.wire.Written() }

// sendNote puts a note in front of the answer, or nowhere.
func (in *Incoming) sendNote(msg []byte) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.noted.Store(true)
	if in.answered.Load() {
		return ErrCancelled
	}
	return in.b.wire.Send(msg)
}

// end answers the call with the message in e, whose result or failure is encoded as said; e is
// nil for a oneway call. o and err say what has become of the call. It is false if the call was
// answered before.
func (in *Incoming) end(e *jelly.Encoder, result, failure []byte, o Outcome, err error) bool {
	if !in.markAnswered() {
		return false
	}
	in.timed() // writing the answer is not the method's time
	if in.b.config.Refused == nil && (in.odd == nil || in.odd.ended == nil) {
		in.answer(e, result, failure)
		return true
	}
	defer in.answer(e, result, failure) // though what is told ends its goroutine
	in.tellEnd(o, err)
	return true
}

// answer sends what end has been given.
func (in *Incoming) answer(e *jelly.Encoder, result, failure []byte) {
	in.letArgsGo(false)
	b := in.b
	if !in.shed {
		b.answers.record(in, e, result, failure)
	}
	switch {
	case e != nil:
		// Else it is small, or one at most: the reader never waits, and what keeps others from
		// encoding has waited.
		wait := failure == nil && !in.onReader() && !in.hasResultTurn()
		kept, err := b.wire.Answer(e, wait, !in.shed)
		in.letResultGo(e)
		if !kept || err != nil {
			jelly.PutEncoder(e)
		}
	case in.hasArrived(): // else its size is not known yet: see creditRefused
		b.creditOneway(int(in.size))
	}
	in.cancel()
	if in.held.Load() >= aside {
		in.endHeld()
	}
	in.letMemoryGo()
	switch {
	case in.onReader() && !b.wire.Much():
		// the reader flushes when it has nothing more to do
	case in.queue != nil && in.turn.Load() == turnHeld && in.queue.more():
		b.wire.FlushSoon() // this goroutine has the next call to run
	default:
		b.wire.Flush()
	}
	b.nudge()
}

// markAnswered is true for the first answer. A call that comes in pieces
// may be completed at the same moment, and a note may be about to be sent.
func (in *Incoming) markAnswered() bool {
	if in.long {
		in.mu.Lock()
		defer in.mu.Unlock()
		return !in.answered.Swap(true)
	}
	if in.answered.Swap(true) {
		return false
	}
	if in.noted.Load() { // the note saw no answer, or sees this one
		in.mu.Lock()
		defer in.mu.Unlock()
	}
	return true
}

// creditOneway gives the caller of a oneway call its credit back.
func (b *Broker) creditOneway(size int) {
	b.wire.After(message.Small(message.Credit, 0, 1, uint64(size))) //nolint:gosec // not negative
}

// refuseLater has the call refused when its turn comes.
func (in *Incoming) refuseLater(err error) {
	in.b.answers.mu.Lock() // a window may look
	defer in.b.answers.mu.Unlock()
	if o := in.wantOdd(); o.refused == nil {
		o.refused = err
	}
}

// hasArrived reports whether the arguments are there.
func (in *Incoming) hasArrived() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return !in.assembling
}

// arrivedOr is hasArrived; if not, goOn is called when they come.
func (in *Incoming) arrivedOr(goOn func()) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.assembling {
		in.stored.stalled = goOn
	}
	return !in.assembling
}

// complete says that the arguments are there, or never come.
func (in *Incoming) complete() {
	in.mu.Lock()
	in.assembling = false
	goOn := in.stored.stalled
	in.stored.stalled = nil
	in.mu.Unlock()
	if goOn != nil {
		in.b.runner(goOn)
	}
}

// EndTurn lets the next call to the object start; what runs keeps running,
// beside it. It does nothing if the turn has ended or there is none.
func (in *Incoming) EndTurn() {
	if in.onReader() {
		in.timing().slow(true)
		in.b.steal(in)
	}
	in.passTurn()
}

func (in *Incoming) passTurn() {
	q := in.queue
	if q == nil || q.fast.CompareAndSwap(in, nil) {
		return
	}
	// the goroutine that made a turn on the reader an ordinary one has written so by now
	q.mu.Lock()
	held := in.turn.CompareAndSwap(turnHeld, turnEnded)
	q.mu.Unlock()
	if held {
		q.pass()
	}
}

// InTurn puts f at the end of the object's queue as if it were a call; false
// if the connection has ended or its budget of calls is used up.
func (in *Incoming) InTurn(f func()) bool {
	turn := &Incoming{
		b:       in.b,
		export:  in.export,
		arrived: in.b.clock.Load(),
		odd:     &oddments{fn: f},
		stored:  new(stored),
	}
	if ok, _ := in.b.answers.add(turn); !ok {
		return false
	}
	if in.queue == nil {
		in.b.startUnqueued(turn)
	} else {
		in.b.exports.pushTurn(turn)
	}
	return true
}

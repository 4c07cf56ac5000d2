package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"perspective/broker/link"
	"perspective/broker/message"
	"perspective/jelly"
)

// A Call is the asking side's state of one question. Its zero value is ready;
// it serves one Ask and lives as long as a caller may pipeline on the answer.
type Call struct {
	at uint64 // 1 + the message's position, once it is in the buffer; the wire's

	// below: under b.questions.mu
	q        uint32
	after    uint32 // the long message that FINISH waits for, if any
	pins     int32  // calls on the answer that are being encoded
	returned bool   // the RETURN has come
	finished bool   // FINISH was sent, or is not needed
}

// Flags of a call, for Header.Flags.
const (
	// FlagOneway: no answer is wanted, and none comes.
	FlagOneway = message.FlagOneway
	// FlagUnordered: the call need not wait for its turn.
	FlagUnordered = message.FlagUnordered
	// FlagFinal: nothing will be called on the answer, or on what is in it.
	FlagFinal = message.FlagFinal
)

// Header says where a call goes and how.
type Header struct {
	// Handle is the peer's object that is called. If it and Answer are nil
	// the call goes to Export: 0 is the boot object, 1 the root.
	Handle *Handle
	Export uint64
	// Answer, if not nil, makes the call go to the object that Answer's
	// question will be answered with, or what Path leads to in that answer.
	Answer *Call
	Path   []string
	// Method as the peer knows it.
	Method string
	// Flags are FlagOneway, FlagUnordered, FlagFinal.
	Flags uint64
	// Trace and Token are handed to the peer as they are, at most 256 bytes each.
	Trace, Token []byte
	// Call is the state of this question; needed unless the call is oneway.
	Call *Call
}

// questions are this side's calls that have no answer yet. The number of a
// question is its row's, plus one, and is used again when its life is over:
// the RETURN came and, if it was not final, the FINISH went.
type questions struct {
	mu      sync.Mutex
	rows    []row
	free    []uint32
	limbo   []limbo // numbers whose FINISH has not taken its place yet
	calls   int     // unanswered, with the oneway ones that CREDIT has not returned
	bytes   int
	sent    uint64 // calls, ever
	many    crowd  // calls are over 1, or often were
	limitN  int    // the peer's limits, as far as they are known
	limitB  int
	waiters []*creditWaiter
	err     error
	ending  atomic.Int32 // answered, and not finished yet

	oneway, onewayBytes int // of calls and bytes, the oneway ones
}

// limbo is a number that may be used again when a long message has left: a
// FINISH behind it would cancel the next question of that number.
type limbo struct{ q, after uint32 }

type row struct {
	question Question
	call     *Call
	size     int
	final    bool
	alone    bool     // its caller waits for the answer and can read it itself
	streams  []uint64 // that went with it, and end with it
	asking   asking   // for windows
}

// Ask sends a call and returns when it is in the hands of the connection; it waits only for credit,
// or with a large call for the peer's preface, and a call made while handling a call does not wait
// for that. Large byte slices among the arguments are written from where they lie, for which it
// waits a few milliseconds at most; they are the caller's again when it returns. After nil the
// question's Finish is called once, some time; after an error the call was not executed and Finish
// is never called.
func (b *Broker) Ask(ctx context.Context, h *Header, q Question) error {
	var head message.CallHead
	nested, err := b.prepare(ctx, h, &head)
	if err != nil {
		return err
	}
	if h.Answer != nil {
		if err := b.pin(h.Answer, &head.Answer); err != nil {
			return err
		}
		defer b.unpin(h.Answer)
	}
	e := jelly.GetEncoder()
	e.Reset(b.config.Types, b.config.Refs)
	message.EncodeCall(e, &head, h.Method)
	if !nested || !IncomingFrom(ctx).onReader() { // which does not wait
		e.ByReference(link.LendMin)
	}
	err = b.encodeArgs(q, e)
	b.takeBackUnsent(e)
	size := e.Size() - message.LengthSize
	if err == nil && size > b.peerMessage() {
		err = b.awaitSize(ctx, size)
	}
	var id uint32
	if err == nil {
		shown := b.asking(h, &head)
		id, err = b.questions.register(ctx, h, q, size, nested, b.wire.LastLong(),
			streamsIn(e), &shown)
	}
	if err != nil {
		b.takeBack(e)
		jelly.PutEncoder(e)
		return err
	}
	message.SetQ(e.Buffer(), id)
	var at *uint64
	if h.Call != nil {
		at = &h.Call.at
	}
	kept, err := b.wire.Call(ctx, e, at)
	if err != nil {
		b.takeBack(e)
	}
	if !kept {
		jelly.PutEncoder(e)
	}
	if !h.alone(nested) {
		b.wire.WantReader()
	}
	if err != nil && b.questions.withdraw(id, h.Call, size) {
		return err
	}
	return nil // after an error: the end of the connection has finished the question
}

// streamsIn are the byte streams that a message is about to mention.
func streamsIn(e *jelly.Encoder) (ids []uint64) {
	for _, r := range e.Sent() {
		if r.Kind == jelly.RefStream {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// encodeArgs has q write its arguments. What they lend is taken back if a program's
// code in them does not return.
func (b *Broker) encodeArgs(q Question, e *jelly.Encoder) error {
	returned := false
	defer func() {
		if !returned {
			b.takeBack(e)
		}
	}()
	err := q.EncodeArgs(e)
	returned = true
	return err
}

// alone reports whether the caller reads for itself: see ReadFor. A method that
// calls does not, for others must be kept meanwhile.
func (h *Header) alone(nested bool) bool { return h.Flags&FlagFinal != 0 && !nested }

// awaitSize has a large call wait until the peer has said how much it takes.
func (b *Broker) awaitSize(ctx context.Context, size int) error {
	select {
	case <-b.greeting:
	case <-b.done:
		return b.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if size > b.peerMessage() {
		return tooLarge(size, "a call", "the peer", b.peerMessage(), "its Limits.Message")
	}
	return nil
}

// prepare fills in the head from h and ctx.
func (b *Broker) prepare(
	ctx context.Context, h *Header, head *message.CallHead,
) (nested bool, err error) {
	if in := IncomingFrom(ctx); in != nil {
		nested = true
		head.Depth = int(in.depth) + 1
		if head.Depth > b.limits.CallDepth {
			return nested, ErrTooDeep
		}
	}
	if err := ctx.Err(); err != nil {
		return nested, err
	}
	if b.GoingAway() {
		return nested, ErrGoingAway
	}
	if t, ok := ctx.Deadline(); ok {
		head.Deadline = max(time.Until(t), time.Microsecond)
	}
	if err := h.check(); err != nil {
		return nested, err
	}
	head.Flags, head.Trace, head.Token = h.Flags, h.Trace, h.Token
	if h.Trace == nil {
		if head.Trace = TraceFrom(ctx); len(head.Trace) > message.MaxTrace {
			return nested, errTrace
		}
	}
	head.Export, head.Path = h.Export, h.Path
	if h.Handle != nil {
		if h.Handle.released.Load() {
			return nested, ErrReleased
		}
		head.Export = h.Handle.id
	}
	return nested, nil
}

// check refuses a head that the peer would take for a broken rule.
func (h *Header) check() error {
	switch {
	case len(h.Method) > message.MaxName:
		return fmt.Errorf("broker: method name of %d bytes, at most %d go", len(h.Method),
			message.MaxName)
	case len(h.Trace) > message.MaxTrace || len(h.Token) > message.MaxTrace:
		return errTrace
	case h.Call == nil && h.Flags&FlagOneway == 0:
		return errors.New("broker: Header.Call is nil in a call that is not oneway")
	case h.Flags&^message.FlagsKnown != 0:
		return fmt.Errorf("broker: unknown flags %#x", h.Flags)
	case h.Path == nil:
		return nil
	}
	return jelly.Ref{Kind: jelly.RefAnswer, Path: h.Path}.Check()
}

var errTrace = fmt.Errorf("broker: trace or token of over %d bytes", message.MaxTrace)

// register takes credit for the question, waiting for it if it must, and gives
// it its number; a oneway call has none, 0. done is the last long message that
// has left.
func (qs *questions) register(ctx context.Context, h *Header, q Question, size int,
	nested bool, done uint32,
	streams []uint64, shown *asking,
) (uint32, error) {
	qs.mu.Lock()
	if err := qs.credit(ctx, size, nested, shown); err != nil {
		qs.mu.Unlock()
		return 0, err
	}
	qs.sent++
	if h.Flags&FlagOneway != 0 {
		qs.oneway++
		qs.onewayBytes += size
		qs.mu.Unlock()
		return 0, nil
	}
	var id uint32
	if n := len(qs.free); n > 0 {
		id, qs.free = qs.free[n-1], qs.free[:n-1]
	} else if len(qs.limbo) > 0 && int32(done-qs.limbo[0].after) >= 0 { //nolint:gosec // they wrap
		id, qs.limbo = qs.limbo[0].q, qs.limbo[1:]
	} else {
		qs.rows = append(qs.rows, row{})
		//nolint:gosec // at most the peer's limit of calls and the answers it keeps
		id = uint32(len(qs.rows))
	}
	h.Call.q = id
	qs.rows[id-1] = row{
		question: q,
		call:     h.Call,
		size:     size,
		final:    h.Flags&FlagFinal != 0,
		alone:    h.alone(nested),
		streams:  streams,
		asking:   *shown,
	}
	qs.mu.Unlock()
	return id, nil
}

// withdraw takes back a question that was not sent; false if the end of the
// connection was faster and has finished it.
func (qs *questions) withdraw(id uint32, c *Call, size int) bool {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if id == 0 {
		if qs.err == nil {
			qs.oneway--
			qs.onewayBytes -= size
			qs.give(1, size)
		}
		return true
	}
	if qs.err != nil || qs.rows[id-1].call != c {
		return false
	}
	qs.give(1, qs.rows[id-1].size)
	qs.drop(id)
	c.q = 0
	return true
}

// drop frees a row. Needs mu.
func (qs *questions) drop(id uint32) {
	after := qs.rows[id-1].call.after
	qs.rows[id-1] = row{}
	if after != 0 {
		qs.limbo = append(qs.limbo, limbo{id, after})
		return
	}
	qs.free = append(qs.free, id)
}

// pin holds FINISH back while a call on the answer is encoded, and tells the
// answer's number.
func (b *Broker) pin(c *Call, number *uint32) error {
	qs := &b.questions
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if qs.err != nil {
		return qs.err
	}
	// nothing may stand before the CALL that it is for
	if c.returned || c.q == 0 || !b.wire.WasPut(&c.at) {
		return ErrAnswered
	}
	if c.finished {
		return ErrCancelled
	}
	c.pins++
	*number = c.q
	return nil
}

// unpin ends a pin; the FINISH that had to wait goes now.
func (b *Broker) unpin(c *Call) {
	qs := &b.questions
	qs.mu.Lock()
	c.pins--
	over := b.finishIfDone(c)
	qs.mu.Unlock()
	if over {
		b.flushLater()
	}
}

// finishIfDone sends FINISH for an answered question that nobody is about to
// pipeline on, and frees its number. The caller flushes if it is true, later, for
// the peer keeps the answer until it hears of it. Needs questions.mu.
func (b *Broker) finishIfDone(c *Call) bool {
	if !c.returned || c.pins > 0 || c.q == 0 {
		return false
	}
	if !c.finished {
		c.finished = true
		c.after = b.wire.After(message.Small(message.Finish, c.q))
	}
	b.questions.drop(c.q)
	c.q = 0
	return true
}

// Cancel tells the peer that nobody wants the answer any more. The question's
// DecodeResult and Finish are called all the same, when the RETURN comes or
// the connection ends. It does nothing while Ask has not put the CALL behind what
// waits, for the peer does not know a FINISH that comes before it: a caller that
// gives a call up during Ask calls Cancel again when Ask has returned.
func (b *Broker) Cancel(c *Call) {
	qs := &b.questions
	qs.mu.Lock()
	if c.q == 0 || c.returned || c.finished || qs.err != nil || !b.wire.WasPut(&c.at) {
		qs.mu.Unlock()
		return
	}
	c.finished = true
	c.after = b.wire.After(message.Small(message.Finish, c.q))
	streams := qs.rows[c.q-1].streams
	qs.mu.Unlock()
	b.wire.Flush()
	if streams != nil {
		b.wire.CancelStreams(streams)
	}
}

// Sent reports whether a byte of the call was given to a write: a call that
// is given up before that was certainly not executed.
func (b *Broker) Sent(c *Call) bool {
	return b.wire.WasHanded(&c.at)
}

// returned ends question id: its RETURN has come. With the question it gives the
// byte streams that went with the call. The caller finishes the question, and calls finished then.
func (b *Broker) returned(id uint32) (q Question, streams []uint64, err error) {
	qs := &b.questions
	qs.mu.Lock()
	if id == 0 || int(id) > len(qs.rows) || qs.rows[id-1].question == nil ||
		qs.rows[id-1].call.returned {
		qs.mu.Unlock()
		return nil, nil, notAsked(message.Return, id)
	}
	r := &qs.rows[id-1] // until it is dropped
	c := r.call
	q, streams = r.question, r.streams
	c.returned = true
	qs.ending.Add(1)
	qs.give(1, r.size)
	b.wire.Returned(c, r.alone && qs.calls == 0)
	over := false
	if r.final {
		c.q = 0
		qs.drop(id)
	} else {
		over = b.finishIfDone(c)
	}
	qs.mu.Unlock()
	if over {
		b.flushLater()
	}
	return q, streams, nil
}

// finished is called when the question of a RETURN is finished. Until then a Shutdown waits: what
// is decoded may mention objects, which the end of the connection takes away.
func (b *Broker) finished() {
	b.questions.ending.Add(-1)
	b.nudge()
}

// waits reports whether c has no answer yet.
func (qs *questions) waits(c *Call) bool {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	return c.q != 0 && !c.returned
}

// asked is how many calls have no answer.
func (qs *questions) asked() int {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	return qs.calls
}

// noted finds the question that a NOTE is for; nil if it does not listen.
func (qs *questions) noted(id uint32) (Noter, error) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if id == 0 || int(id) > len(qs.rows) || qs.rows[id-1].question == nil ||
		qs.rows[id-1].call.returned {
		return nil, notAsked(message.Note, id)
	}
	n, _ := qs.rows[id-1].question.(Noter)
	if n != nil {
		n.BeforeNote()
	}
	return n, nil
}

// failQuestions finishes every question with err, and refuses new ones. What was never
// given to a write was not executed.
func (b *Broker) failQuestions(err error) {
	qs := &b.questions
	qs.mu.Lock()
	qs.err = err
	rows := qs.rows
	qs.rows, qs.free, qs.limbo = nil, nil, nil
	qs.calls, qs.bytes, qs.oneway, qs.onewayBytes = 0, 0, 0, 0
	qs.many.set(false)
	waiters := qs.waiters
	qs.waiters = nil
	for _, s := range rows {
		if s.call != nil {
			s.call.q = 0
		}
	}
	qs.mu.Unlock()
	for _, w := range waiters {
		close(w.done)
	}
	for _, s := range rows {
		if s.question == nil || s.call.returned {
			continue
		}
		outcome := NotExecuted
		if b.Sent(s.call) {
			outcome = MaybeExecuted
		}
		s.question.Finish(outcome, err)
	}
}

// isAsked reports whether a RETURN for question id may come.
func (qs *questions) isAsked(id uint32) bool {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	return id != 0 && int(id) <= len(qs.rows) && qs.rows[id-1].question != nil &&
		!qs.rows[id-1].call.returned
}

func notAsked(kind message.Kind, id uint32) error {
	return message.WrongValue(kind, 1, "q", "a question that waits for its answer",
		fmt.Sprintf("%d, which is not asked", id))
}

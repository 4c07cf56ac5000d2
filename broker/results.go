package broker

import (
	"fmt"
	"time"

	"perspective/broker/budget"
	"perspective/broker/message"
	"perspective/jelly"
)

// How the results of methods find room. A result is encoded only while the peer takes what waits
// for it, and what it takes beyond resultFree counts in the account until it is among what waits
// to be written, which counts there too. Of the results over decodeFree one of a connection's is
// encoded at a time, for several that are half done could all wait for more. While one waits for
// the account no ordinary call of the peer's begins: its value would wait too, and nothing counts
// those.

// resultFree is what a result may take in memory without being counted or waiting.
const resultFree = 4 << 10

// result is a call as the jelly.Allowance of its result, note of one of its notes.
type (
	result Incoming
	note   Incoming
)

// Grow counts what the result grows into. Where there is no room it waits, and another goroutine
// reads.
func (r *result) Grow(size, need int) (int, error) {
	in := (*Incoming)(r)
	return in.grow(size, need, in.b.peerMessage(), "an answer", "its Limits.Message")
}

// Grow is that of a result.
func (n *note) Grow(size, need int) (int, error) {
	in := (*Incoming)(n)
	return in.grow(size, need, in.noteLimit(), "a note", noteKnob)
}

// noteLimit is how large a note may be.
func (in *Incoming) noteLimit() int { return min(wholeSize, in.b.peerMessage()) }

const noteKnob = "at most 64 KiB, and its Limits.Message"

// grow is Grow for a message of at most limit bytes.
func (in *Incoming) grow(size, need, limit int, what, knob string) (int, error) {
	if need-message.LengthSize > limit {
		return 0, tooLargeOf(fmt.Sprintf("at least %d bytes", need-message.LengthSize), what,
			"the caller", limit, knob)
	}
	room := min(max(need, 2*size), max(limit, resultFree)+message.LengthSize)
	if room <= decodeFree {
		if !in.onReader() {
			in.b.wire.AwaitRoom(in.b.queuedLimit())
		}
	} else if err := in.takeResultTurn(); err != nil {
		return 0, err
	}
	count := int64(room-size) * budget.Times
	// of the quarter that arguments leave, too, for they go when the result has
	if a := &in.b.account; !a.Take(count) {
		in.leaveReader()
		in.b.permits.hold()
		defer in.b.permits.release()
		if err := a.await(in, count, false); err != nil {
			return 0, err
		}
	}
	return room, nil
}

// takeResultTurn returns when the call has the turn of those that encode much, and the peer takes
// what waits. It fails when nobody has got the turn for Limits.MemoryWait.
func (in *Incoming) takeResultTurn() error {
	a, w := &in.b.account, in.b.wire
	for in.memory.Load()&resultTurn == 0 {
		limit := in.b.queuedLimit()
		if !in.onReader() {
			w.AwaitRoom(limit)
		}
		if err := in.awaitResultTurn(); err != nil {
			return err
		}
		a.turns.Add(1)
		if w.HasRoom(limit) {
			in.memory.Or(resultTurn)
			return nil
		}
		<-a.results // others are before it among what waits
		in.leaveReader()
	}
	return nil
}

// awaitResultTurn sends to account.results.
func (in *Incoming) awaitResultTurn() error {
	a := &in.b.account
	select {
	case a.results <- struct{}{}:
		return nil
	default:
	}
	in.leaveReader()
	wait := in.b.limits.MemoryWait
	t := time.NewTimer(wait)
	defer t.Stop()
	for turns := a.turns.Load(); ; {
		select {
		case a.results <- struct{}{}:
			return nil
		case <-in.Done():
			return ErrOverloaded
		case <-t.C:
		}
		now := a.turns.Load()
		if now == turns {
			return ErrOverloaded
		}
		turns = now
		t.Reset(wait)
	}
}

// hasResultTurn reports whether the call has the turn of those that encode much.
func (in *Incoming) hasResultTurn() bool { return in.memory.Load()&resultTurn != 0 }

// letResultGo is called once for each result: it is among what waits, or dropped.
func (in *Incoming) letResultGo(e *jelly.Encoder) {
	n := e.Granted()
	if n == 0 {
		return
	}
	a := &in.b.account
	a.Give(int64(n) * budget.Times)
	if in.memory.And(^int64(resultTurn))&resultTurn != 0 {
		<-a.results
	}
}

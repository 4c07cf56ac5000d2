package memwire

import (
	"bytes"
	"context"
	"sync"
	"time"

	"perspective/broker/message"
	"perspective/broker/wire"
	"perspective/jelly"
)

// out is the sending half of an end: messages without their lengths, in order. All of it is under
// the lock of the Wire.
type out struct {
	waiting [][]byte
	bytes   int       // of waiting
	put     uint64    // messages, ever
	handed  uint64    // of these, the ones that have left
	answers uint64    // RETURNs put and counted, ever
	away    bool      // no CALL may follow
	last    error     // why no message may follow; nil: they may
	err     error     // why nothing is sent any more; nil: it is
	paused  bool      // over Wire.Room
	changed sync.Cond // messages have left, or the sending has ended
}

// add puts a message, of which it keeps raw.
func (o *out) add(raw []byte, room int) error {
	switch {
	case o.err != nil:
		return o.err
	case o.last != nil:
		return o.last
	}
	o.waiting = append(o.waiting, raw)
	o.put++
	o.bytes += len(raw)
	o.paused = o.paused || room > 0 && o.bytes > room
	return nil
}

// fail ends the sending.
func (o *out) fail(err error) {
	if o.err == nil {
		o.err = err
		o.waiting, o.bytes = nil, 0
		o.changed.Broadcast()
	}
}

// roomy reports that nobody has to wait for room.
func (o *out) roomy(limit int) bool { return o.err != nil || o.bytes <= limit }

// copied is the message in e, as the wire keeps it.
func copied(e *jelly.Encoder) []byte {
	return bytes.Join(e.Segments(nil), nil)[message.LengthSize:]
}

// Messages gives those that wait for Leave, the oldest first, without their lengths. The slice is
// the wire's own. While no goroutine of the session's runs a test may exchange messages in it,
// where nothing but chance fixed their order.
func (w *Wire) Messages() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.waiting
}

// Send puts a message behind those that wait.
func (w *Wire) Send(msg []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.add(bytes.Clone(msg[message.LengthSize:]), w.Room)
}

// Call puts a CALL. It keeps nothing of e.
func (w *Wire) Call(_ context.Context, e *jelly.Encoder, at *uint64) (kept bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.out.away {
		return false, wire.ErrGoingAway
	}
	if err := w.out.add(copied(e), w.Room); err != nil {
		return false, err
	}
	if at != nil {
		*at = w.out.put // the first message is 1
	}
	return false, nil
}

// Answer puts a RETURN. With wait it waits until no more than Room waits. It keeps nothing of e.
func (w *Wire) Answer(e *jelly.Encoder, wait, counted bool) (kept bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for wait && w.Room > 0 && !w.out.roomy(w.Room) {
		w.out.changed.Wait()
	}
	err = w.out.add(copied(e), w.Room)
	if counted {
		w.out.answers++
	}
	return false, err
}

// After is Send: there are no pieces that a message could overtake.
func (w *Wire) After(msg []byte) (long uint32) {
	_ = w.Send(msg) // an error is the connection's end
	return 0
}

// LastLong is 0: no message goes in pieces.
func (w *Wire) LastLong() uint32 { return 0 }

// Flush does nothing: what waits leaves when the test says so.
func (w *Wire) Flush() {}

// FlushSoon does nothing, as Flush.
func (w *Wire) FlushSoon() {}

// Written does not wait: what has left is the test's to say.
func (w *Wire) Written() error { return nil }

// WasPut reports whether the message that Call gave *at for was put.
func (w *Wire) WasPut(at *uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *at != 0
}

// WasHanded reports whether the message that Call gave *at for has left.
func (w *Wire) WasHanded(at *uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *at != 0 && w.out.handed >= *at
}

// AwaitRoom waits until no more than limit bytes wait, or the end.
func (w *Wire) AwaitRoom(limit int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.out.roomy(limit) {
		w.out.changed.Wait()
	}
}

// HasRoom is AwaitRoom without waiting.
func (w *Wire) HasRoom(limit int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.roomy(limit)
}

// Much is false: no message leaves earlier for it.
func (w *Wire) Much() bool { return false }

// Paused reports whether more than Room has waited since the last Leave.
func (w *Wire) Paused() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.paused
}

// Waiting is how many bytes wait.
func (w *Wire) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.bytes
}

// Answers is how many RETURNs were put and counted.
func (w *Wire) Answers() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.answers
}

// GoAway puts GOAWAY. No CALL may follow.
func (w *Wire) GoAway() {
	_ = w.Send(message.Small(message.GoAway, 0)) // an error is the connection's end
	w.NoCalls()
}

// NoCalls has Call give ErrGoingAway from now on.
func (w *Wire) NoCalls() {
	w.mu.Lock()
	w.out.away = true
	w.mu.Unlock()
}

// LastWords puts msg as the last message. It leaves at once, with all that waits, for the session
// is ending and no step of the test's comes between.
func (w *Wire) LastWords(msg []byte, reason error, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.out.add(bytes.Clone(msg[message.LengthSize:]), 0) == nil {
		w.out.last = reason
		w.leave()
	}
}

// Drain waits for Leave, for d at most.
func (w *Wire) Drain(d time.Duration) {
	late := false
	w.mu.Lock()
	defer w.mu.Unlock()
	t := time.AfterFunc(d, func() { // stopped below
		w.mu.Lock()
		late = true
		w.out.changed.Broadcast()
		w.mu.Unlock()
	})
	defer t.Stop()
	for !late && !w.out.roomy(0) {
		w.out.changed.Wait()
	}
}

package memwire

import (
	"context"
	"errors"
	"sync"

	"perspective/broker/message"
	"perspective/broker/wire"
	"perspective/jelly"
)

// A delivery is one item on its way to the session.
type delivery struct {
	item

	once sync.Once
	done chan struct{} // closed when the session has acted on it, or the reader was replaced
}

func (d *delivery) finish() { d.once.Do(func() { close(d.done) }) }

// read is a reader's goroutine: it delivers what Step takes off the line.
//
// One reader at a time takes from steps. The one that is inside of a method when the session calls
// Replace delivers nothing more: the new reader goes on, and Step with it.
func (w *Wire) read() {
	dec := new(jelly.Decoder)
	for {
		select {
		case d := <-w.steps:
			if !w.take(dec, d) {
				return
			}
		case <-w.done:
			return
		}
	}
}

// errGone ends an end whose reader was ended by a function of the program's.
var errGone = errors.New(
	"broker: a function that was called while reading panicked or ended its goroutine")

// take delivers one item; false if the reader is not to go on.
func (w *Wire) take(dec *jelly.Decoder, d *delivery) bool {
	w.mu.Lock()
	over := w.over
	w.now = d
	w.mu.Unlock()
	err := errGone
	defer func() {
		switch mine := w.taken(d); {
		case mine && err != nil:
			w.session.End(err)
		case !mine && err == nil:
			w.session.End(errNotTold)
		}
		d.finish()
	}()
	if over {
		err = wire.ErrClosed
		return false
	}
	w.heard.Store(true)
	err = w.act(dec, d.item)
	return err == nil
}

// errNotTold ends an end whose session has broken a rule of wire.Reading.
var errNotTold = errors.New("memwire: Replace was called, and Deliver did not give ErrReplaced")

// taken says that the reader is done with d; false if it was replaced meanwhile.
func (w *Wire) taken(d *delivery) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	mine := w.now == d
	if mine {
		w.now = nil
	}
	return mine
}

// act has the session act on one item.
func (w *Wire) act(dec *jelly.Decoder, i item) error {
	switch {
	case i.preface != nil:
		w.peer.Store(i.preface)
		w.session.Greeted()
		return nil
	case i.end:
		return wire.ErrPeerClosed
	}
	return w.deliver(dec, i.raw)
}

// deliver hands one message to the session. Afterwards its bytes are spoilt, as those in the buffer
// of a socket are by the next read, so that a session which keeps them without leave is found out.
func (w *Wire) deliver(d *jelly.Decoder, raw []byte) error {
	sum, err := jelly.Scan(raw, &w.Values)
	if err != nil {
		if s, ok := errors.AsType[*jelly.ScanError](err); ok && s.Limit {
			return w.session.Refuse(raw, len(raw), err)
		}
		return message.Malformed(raw, err)
	}
	d.Reset(w.Types, w.Refs, raw, &w.Values)
	h, err := message.DecodeHead(d)
	if err != nil {
		return err
	}
	if h.Kind == message.Part {
		return message.Violation("PART: want whole messages on this wire, got one")
	}
	err = w.session.Deliver(d, h, wire.Scanned{Raw: raw, Refs: sum.Refs})
	if !errors.Is(err, wire.ErrReplaced) { // else they are the method's
		for i := range raw {
			raw[i] = spoilt
		}
	}
	return err
}

// spoilt begins no value of MessagePack.
const spoilt = 0xc1

// Reads is true: answers are put without waiting, and one of the wire's goroutines reads.
func (w *Wire) Reads() bool { return true }

// Ran does nothing: answers leave when the test says so.
func (w *Wire) Ran() {}

// Replace has another goroutine read on. The message that the old reader is inside of stays with
// its method.
func (w *Wire) Replace() {
	w.mu.Lock()
	d := w.now
	w.now = nil
	w.mu.Unlock()
	w.wg.Go(w.read) // ends with Close, or when it is replaced
	d.finish()
}

// Returned does nothing: nobody but the wire's own goroutine reads.
func (w *Wire) Returned(any, bool) {}

// ReadFor returns at once: the wire's own goroutine reads.
func (w *Wire) ReadFor(context.Context, any) {}

// WantReader does nothing, as ReadFor.
func (w *Wire) WantReader() {}

// Reader says that the wire's own goroutine reads.
func (w *Wire) Reader() wire.ReaderStatus { return wire.ReaderStatus{} }

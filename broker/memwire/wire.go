package memwire

import (
	"cmp"
	"fmt"
	"sync"
	"sync/atomic"

	"perspective/broker/wire"
	"perspective/jelly"
)

// A Wire is one end of a wire in memory. New makes both. The exported fields are set before the
// wire is given to a session and do not change afterwards. All methods may be called from several
// goroutines at once.
type Wire struct {
	// Types and Refs are what messages are decoded with, as those of broker.Config; nil: the
	// default registry, and no references.
	Types *jelly.Registry
	Refs  jelly.Refs
	// Values bounds the values inside the messages that come; zero fields are jelly's defaults.
	Values jelly.Limits
	// Preface is what this end says of itself. A zero limit in it is the default of
	// broker.Limits, but for Streams: there are none.
	Preface wire.Peer
	// Room is how many bytes may wait until Answer waits and Paused is true; 0: as many as come.
	Room int

	other   *Wire
	session wire.Session
	peer    atomic.Pointer[wire.Peer]
	heard   atomic.Bool    // something came since the last look
	steps   chan *delivery // to the goroutine that reads
	done    chan struct{}  // closed by Close
	wg      sync.WaitGroup // the readers

	mu   *sync.Mutex // of both ends
	out  out         // under mu
	line []item      // what is on its way to this end; under mu
	now  *delivery   // what the reader is inside of; under mu
	over bool        // nothing is delivered any more; under mu
}

var _ wire.Wire = (*Wire)(nil)

// An item is what lies on the line: a message, the preface, or the end of the other side.
type item struct {
	raw     []byte
	preface *wire.Peer
	end     bool
}

// New makes the two ends of a wire.
func New() (a, b *Wire) {
	mu := new(sync.Mutex)
	a, b = newEnd(mu), newEnd(mu)
	a.other, b.other = b, a
	return a, b
}

func newEnd(mu *sync.Mutex) *Wire {
	w := &Wire{mu: mu, steps: make(chan *delivery), done: make(chan struct{})}
	w.out.changed.L = mu
	return w
}

// Start puts the preface on the line and begins to read.
func (w *Wire) Start(s wire.Session) {
	w.session = s
	w.mu.Lock()
	w.other.arrive(item{preface: w.preface()})
	w.mu.Unlock()
	w.wg.Go(w.read) // ends with Close, or when it is replaced
}

// preface is what this end says of itself, with defaults.
func (w *Wire) preface() *wire.Peer {
	p := w.Preface
	p.Message = cmp.Or(p.Message, 4<<20)
	p.Calls = cmp.Or(p.Calls, 1024)
	p.CallBytes = cmp.Or(p.CallBytes, 8<<20)
	return &p
}

// Leave hands the messages that wait to the line, and reports whether there were any.
func (w *Wire) Leave() bool {
	w.mu.Lock()
	left := w.leave()
	resume := w.out.paused
	w.out.paused = false
	w.mu.Unlock()
	if resume {
		w.session.Resume()
	}
	return left
}

// leave needs mu.
func (w *Wire) leave() bool {
	left := len(w.out.waiting) > 0
	for _, raw := range w.out.waiting {
		w.other.arrive(item{raw: raw})
	}
	w.out.handed += uint64(len(w.out.waiting))
	w.out.waiting, w.out.bytes = nil, 0
	w.out.changed.Broadcast()
	return left
}

// arrive puts an item on the line to this end. Needs mu.
func (w *Wire) arrive(i item) {
	if !w.over {
		w.line = append(w.line, i)
	}
}

// Step takes the first item off the line and delivers it to the session: the other end's preface
// before everything, then messages, and at last the other end's Close. It returns when the session
// has acted on it, or when another goroutine reads on because a method that runs on the reader
// waits. It is false if nothing lies on the line, or this end is over. It is called after Start.
func (w *Wire) Step() bool {
	w.mu.Lock()
	if w.over || len(w.line) == 0 {
		w.mu.Unlock()
		return false
	}
	d := &delivery{item: w.line[0], done: make(chan struct{})}
	w.line = w.line[1:]
	w.mu.Unlock()
	select {
	case w.steps <- d:
		<-d.done
	case <-w.done:
	}
	return true
}

// errCut is what both ends of a wire that was cut end with.
var errCut = fmt.Errorf("%w: the wire was cut", wire.ErrPeerClosed)

// Cut ends both ends as a connection ends that breaks: what is on the line is lost.
func (w *Wire) Cut() {
	w.mu.Lock()
	ends := []*Wire{w, w.other}
	for _, end := range ends {
		end.over, end.line = true, nil
	}
	w.mu.Unlock()
	for _, end := range ends {
		if end.session != nil {
			end.session.End(errCut)
		}
	}
}

// Peer is what the other end's preface said; nil until it was delivered.
func (w *Wire) Peer() *wire.Peer { return w.peer.Load() }

// Restrict does nothing: the session itself looks at what a stranger sends.
func (w *Wire) Restrict(*wire.Strict) {}

// Heard reports whether anything came since it was called the last time.
func (w *Wire) Heard() bool { return w.heard.Swap(false) }

// Stop has nothing delivered any more.
func (w *Wire) Stop() {
	w.mu.Lock()
	w.over, w.line = true, nil
	w.mu.Unlock()
}

// Shut ends the sending. What waits is dropped.
func (w *Wire) Shut(reason error) {
	w.mu.Lock()
	w.out.fail(reason)
	w.mu.Unlock()
}

// Linger does nothing: what is on the line stays there for the other end.
func (w *Wire) Linger() {}

// Close ends the wire. The other end learns of it behind what is on the line to it.
func (w *Wire) Close() {
	w.mu.Lock()
	w.other.arrive(item{end: true})
	w.mu.Unlock()
	close(w.done)
}

// Wait returns when no reader is left, after Close.
func (w *Wire) Wait() { w.wg.Wait() }

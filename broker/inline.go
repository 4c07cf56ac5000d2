package broker

import (
	"sync/atomic"
	"time"

	"perspective/jelly"
)

// Running methods on the reader.
//
// A method that was always quick is run by the reader itself when nothing waits before it: no
// goroutine is started or woken. No peer may see a difference, so a reader can be replaced at any
// moment:
//
//  1. The reader stores the call in state, then runs the method.
//  2. When the method waits or yields its goroutine swaps state to stolen. So does the watchdog
//     when it finds the same call there twice. One swap alone succeeds.
//  3. The goroutine whose swap succeeded has a new goroutine read on (wire.Reading.Replace).
//  4. The old reader finds stolen in state when the method has returned, and ends.
//
// Only connections whose replies can be written without waiting run methods
// inline: sockets, TLS over one by UnderTLS, and what is link.Polled.

// reader is one goroutine's time as the reader of a connection.
type reader struct {
	// state is nil while it reads, the call it is inside of, or stolen for ever.
	state atomic.Pointer[Incoming]
	calls uint64 // run inline; only this goroutine counts
}

var stolen = new(Incoming)

const (
	// quickTime is what a method may take to be quick, and quickRuns how often
	// in a row it must have been.
	quickTime = 20 * time.Microsecond
	quickRuns = 16
	// timingSample is how many calls of a method that runs inline are one that
	// is timed.
	timingSample = 8
	// watchTime is how long a reader may be inside a method before it is replaced.
	watchTime = time.Millisecond
	// strikes is how often the watchdog may find a method before it is never
	// run inline again: the machine being busy is not the method's fault.
	strikes = 4
)

// Timing is what is known about how long a method takes. The zero value knows
// nothing. A Method that has one may be run by the reader.
type Timing struct {
	quick   atomic.Int32 // runs in a row that were quick
	strikes atomic.Int32
}

// Timed is a Method that keeps its Timing.
type Timed interface {
	Method
	Timing() *Timing
}

func (t *Timing) isQuick() bool {
	return t != nil && t.quick.Load() >= quickRuns && t.strikes.Load() < strikes
}

// took notes one run.
func (t *Timing) took(d time.Duration) {
	switch {
	case d > quickTime:
		t.quick.Store(0)
	case t.quick.Load() < quickRuns:
		t.quick.Add(1)
	}
}

// epoch is what times are counted from.
var epoch = time.Now()

// microseconds is the time, modulo 71 minutes; never 0.
//
//nolint:gosec // it wraps
func microseconds() uint32 { return uint32(time.Since(epoch).Microseconds()) | 1 }

// timing is what is known of the call's method; nil: nothing is kept.
func (in *Incoming) timing() *Timing {
	if t, ok := in.method.(Timed); ok {
		return t.Timing()
	}
	return nil
}

// timed notes how long the method took, the first time after it was started.
func (in *Incoming) timed() {
	if in.started.Load() == 0 {
		return
	}
	if start := in.started.Swap(0); start != 0 {
		in.timing().took(time.Duration(microseconds()-start) * time.Microsecond)
	}
}

// slow notes that a method was found on the reader. One that waits, for a call
// or a Deferred, is never run there again.
func (t *Timing) slow(waits bool) {
	if t == nil {
		return
	}
	t.quick.Store(0)
	if waits {
		t.strikes.Store(strikes)
		return
	}
	t.strikes.Add(1)
}

// inline runs a call on the reader if that may be done. Only the reader calls it, its decoder
// standing before the arguments in the read buffer, which stays as it is until the method returns.
// replaced says that another goroutine reads by then.
func (b *Broker) inline(in *Incoming, d *jelly.Decoder) (ran, replaced bool) {
	if in.odd != nil || in.target != 0 || in.assembling {
		return false, false
	}
	t := in.timing()
	if !t.isQuick() || !b.permits.free() || !b.wire.Reads() {
		return false, false
	}
	if in.queue == nil {
		in.turn.Store(turnEnded) // it needs none
	} else if !in.queue.takeTurn(in) {
		return false, false
	}
	me := b.reader.Load()
	me.calls++
	in.decoder, in.reader = d, me
	me.state.Store(in)
	if !b.inlineWatched.Load() {
		b.watchInline()
	}
	returned := false
	defer func() {
		in.letMemoryGo()
		in.passTurn()
		if !returned { // the method has ended the goroutine
			b.steal(in)
			in.leavePermit()
			return
		}
		if !me.state.CompareAndSwap(in, nil) {
			replaced = true
			in.leavePermit() // the thief took one for this
		}
	}()
	in.handle(t)
	returned = true
	return true, false
}

// onReader reports whether the call's method keeps the reader busy.
func (in *Incoming) onReader() bool {
	return in.reader != nil && in.reader.state.Load() == in
}

// NeedNoTurn lets later calls to the object start beside this one, as EndTurn
// does, for a method that never needed its turn.
func (in *Incoming) NeedNoTurn() {
	in.turnless.Store(true)
	// there nothing can come before it is stolen, and the thief looks at turnless
	if !in.onReader() {
		in.EndTurn()
	}
}

// steal lets a new goroutine read on if the reader is inside the call's method.
func (b *Broker) steal(in *Incoming) (stole bool) {
	b.permits.running.Add(1) // the method goes on, beside the new reader's
	in.takePermit()
	if in.reader == nil || !in.reader.state.CompareAndSwap(in, stolen) {
		in.leavePermit()
		return false
	}
	b.reader.Store(new(reader))
	b.wire.Replace()
	if in.turnless.Load() {
		in.passTurn()
	}
	return true
}

// watchInline looks at the reader every millisecond, while it runs methods.
func (b *Broker) watchInline() {
	b.endMu.Lock()
	defer b.endMu.Unlock()
	if b.err != nil || b.inlineWatched.Swap(true) {
		return
	}
	if b.inlineTimer == nil {
		b.inlineTimer = time.AfterFunc(watchTime, b.lookAtReader)
		return
	}
	b.inlineTimer.Reset(watchTime)
}

// stopInline ends the watch at the end of the connection.
func (b *Broker) stopInline() {
	b.endMu.Lock()
	defer b.endMu.Unlock()
	if b.inlineTimer != nil {
		b.inlineTimer.Stop()
	}
}

func (b *Broker) lookAtReader() {
	r := b.reader.Load()
	call := r.state.Load()
	idle := call == nil && b.inlineIdle
	if call != nil && call != stolen && call == b.inlineSeen && b.steal(call) {
		call.timing().slow(false)
	}
	b.inlineSeen, b.inlineIdle = call, call == nil
	if idle {
		b.inlineWatched.Store(false)
		if b.reader.Load().state.Load() == nil {
			return // the next call to run here finds that nobody watches
		}
		if b.inlineWatched.Swap(true) {
			return
		}
	}
	b.endMu.Lock()
	defer b.endMu.Unlock()
	if b.err == nil {
		b.inlineTimer.Reset(watchTime)
	}
}

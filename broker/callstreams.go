package broker

import (
	"context"
	"sync"
)

// callStreams are the byte streams that came with a call. They end with it: when it
// is given up, at its deadline, or else when it is answered and its method has
// returned, whichever is later, for a method may answer before it returns.
type callStreams struct {
	in *Incoming

	mu       sync.Mutex
	ids      []uint64
	over     bool // the call's context has ended
	wait     func() (back func())
	returned bool // the method has returned
}

// addStream makes id one of the call's streams. Only the method's goroutine calls it.
func (in *Incoming) addStream(id uint64) {
	cs, first := in.streams, in.streams == nil
	if first {
		cs = &callStreams{in: in}
		in.streams = cs
	}
	in.b.wire.StreamWaits(id, cs)
	cs.mu.Lock()
	cs.ids = append(cs.ids, id)
	late := cs.over
	cs.mu.Unlock()
	switch {
	case first:
		in.AfterFunc(cs.contextOver) // on a goroutine of its own if the context has ended
	case late:
		cs.end()
	}
}

// OnStreamWait has f called before a goroutine waits in one of the byte streams that came with the
// call, and what f returns afterwards, on that goroutine. The method calls it after Begin; without
// streams it does nothing and f is not kept.
func (in *Incoming) OnStreamWait(f func() (back func())) {
	if cs := in.streams; cs != nil {
		cs.mu.Lock()
		cs.wait = f
		cs.mu.Unlock()
	}
}

// HasStreams reports whether byte streams came with the call; from Begin on.
func (in *Incoming) HasStreams() bool { return in.streams != nil }

// Aside is called by the goroutine that is about to wait in one of the streams.
func (cs *callStreams) Aside() (back func()) {
	cs.mu.Lock()
	wait := cs.wait
	cs.mu.Unlock()
	if wait == nil {
		return func() {}
	}
	return wait()
}

// contextOver is called when the call's context ends.
func (cs *callStreams) contextOver() {
	cs.mu.Lock()
	cs.over = true
	runs := !cs.returned && cs.in.answered.Load()
	cs.mu.Unlock()
	if !runs {
		cs.end()
	}
}

// methodReturned is called when the method has returned or panicked.
func (in *Incoming) methodReturned() {
	cs := in.streams
	if cs == nil {
		return
	}
	cs.mu.Lock()
	cs.returned = true
	over := cs.over
	cs.mu.Unlock()
	if over {
		cs.end()
	}
}

func (cs *callStreams) end() {
	cs.mu.Lock()
	ids := cs.ids
	cs.ids = nil
	cs.mu.Unlock()
	if len(ids) > 0 {
		cs.in.b.wire.EndStreams(ids, context.Cause(cs.in))
	}
}

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
	entries  []*entry
	over     bool // the call's context has ended
	returned bool // the method has returned
}

// addStream makes e one of the call's streams. Only the method's goroutine calls it.
func (in *Incoming) addStream(e *entry) {
	if in.streams == nil {
		in.streams = &callStreams{in: in}
		in.streams.entries = append(in.streams.entries, e)
		in.AfterFunc(in.streams.contextOver) // a context that has ended gets it a goroutine
		return
	}
	cs := in.streams
	cs.mu.Lock()
	cs.entries = append(cs.entries, e)
	late := cs.over
	cs.mu.Unlock()
	if late {
		cs.end()
	}
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
	es := cs.entries
	cs.entries = nil
	cs.mu.Unlock()
	if len(es) > 0 {
		cs.in.b.streams.callOver(es, context.Cause(cs.in))
	}
}

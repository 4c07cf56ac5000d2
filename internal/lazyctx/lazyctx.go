// Package lazyctx has the part of a context.Context that ends, for contexts that are made with
// every call and that few ask for their end: [End] makes a channel, a timer or a registration with
// another context only when a watcher asks for it.
package lazyctx

import (
	"context"
	"sync"
	"sync/atomic"
)

// A Reason is why a context ended.
type Reason struct {
	// Err is what the context's Err says: context.Canceled or context.DeadlineExceeded.
	Err error
	// Cause is what End.Cause returns, for code that knows the owner; nil: it adds nothing to Err.
	Cause error
}

// The reasons without a cause.
var (
	Canceled         = &Reason{Err: context.Canceled}
	DeadlineExceeded = &Reason{Err: context.DeadlineExceeded}
)

// released is the reason of an End that nothing ends any more.
var released = &Reason{}

// End is the end of one context. The zero value is one that has not come. Its methods may be called
// from any goroutine. It must not be copied. Finish or Release ends its life; until then it holds
// what was armed.
//
// Finish and a watcher meet without a lock while nobody watches:
//
//  1. Finish stores the reason, then looks for a watch.
//  2. A watcher (Done, OnEnd) stores a watch, then looks for a reason.
//
// In any order of these steps at least one of the two sees the other.
type End struct {
	reason atomic.Pointer[Reason] // nil: it goes on
	watch  atomic.Pointer[watch]  // nil: nobody wants to be told
}

// Arm starts what will end the context by itself, such as a timer, and gives what stops that; nil:
// there is nothing to stop. An End calls it once, with its lock held, when the first watcher
// asks for the end. It must not call the End's methods.
type Arm func() (disarm func() bool)

// watch is what an End has once it is watched.
type watch struct {
	mu     sync.Mutex
	done   chan struct{} // nil: no caller asked for it
	closed bool
	armed  bool
	disarm func() bool
	after  map[*func()]struct{}
}

// Err is nil until the end, and then the reason's.
func (e *End) Err() error {
	if r := e.reason.Load(); r != nil {
		return r.Err
	}
	return nil
}

// Cause is that of the reason; nil before the end, and where the reason has none.
func (e *End) Cause() error {
	if r := e.reason.Load(); r != nil {
		return r.Cause
	}
	return nil
}

// Watched reports whether a watcher has asked for the end.
func (e *End) Watched() bool { return e.watch.Load() != nil }

// Done gives the channel that is closed at the end. First reports whether nobody had asked for it
// before. arm may be nil.
func (e *End) Done(arm Arm) (done <-chan struct{}, first bool) {
	w := e.lockWatch()
	defer w.mu.Unlock()
	if first = w.done == nil; first {
		w.done = make(chan struct{})
	}
	if r := e.reason.Load(); r != nil {
		w.close(r)
	} else {
		w.start(arm)
	}
	return w.done, first
}

// Arm has arm called now, unless one was before or the end has come.
func (e *End) Arm(arm Arm) {
	w := e.lockWatch()
	defer w.mu.Unlock()
	if e.reason.Load() == nil {
		w.start(arm)
	}
}

// OnEnd has f called at the end by the goroutine that calls Finish, which f must not hold up. It
// reports false, and forgets f, if the end has come. Stop has f forgotten and reports whether it
// was still to be called. arm may be nil.
func (e *End) OnEnd(f func(), arm Arm) (stop func() bool, ok bool) {
	w := e.lockWatch()
	defer w.mu.Unlock()
	if e.reason.Load() != nil {
		return func() bool { return false }, false
	}
	if w.after == nil {
		w.after = make(map[*func()]struct{})
	}
	w.after[&f] = struct{}{}
	w.start(arm)
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		_, pending := w.after[&f]
		delete(w.after, &f)
		return pending
	}, true
}

// AfterFunc is OnEnd as package context wants it of a context's method of this name, by which it
// follows without a goroutine.
func (e *End) AfterFunc(f func(), arm Arm) (stop func() bool) {
	stop, ok := e.OnEnd(f, arm)
	if !ok {
		go f() // ends with f, which context gave: it cancels a child, whose lock the caller holds
	}
	return stop
}

// Finish ends the context. The first reason counts; it reports whether this one did.
func (e *End) Finish(r *Reason) bool {
	if !e.reason.CompareAndSwap(nil, r) {
		return false
	}
	if w := e.watch.Load(); w != nil {
		for f := range w.end(r) {
			(*f)()
		}
	}
	return true
}

// Release is called when nobody waits for the end any more: it does not come from then on, and what
// was to be called then is forgotten.
func (e *End) Release() {
	if e.reason.CompareAndSwap(nil, released) {
		if w := e.watch.Load(); w != nil {
			w.end(released)
		}
	}
}

// lockWatch gives the watch, new or old, with its lock held.
func (e *End) lockWatch() *watch {
	w := e.watch.Load()
	if w == nil {
		w = new(watch)
		if !e.watch.CompareAndSwap(nil, w) {
			w = e.watch.Load()
		}
	}
	w.mu.Lock()
	return w
}

// end closes the channel, disarms, and gives what is to be called.
func (w *watch) end(r *Reason) (after map[*func()]struct{}) {
	w.mu.Lock()
	w.close(r)
	disarm := w.disarm
	after, w.after, w.disarm = w.after, nil, nil
	w.mu.Unlock()
	if disarm != nil {
		disarm()
	}
	return after
}

// close closes the channel once, if it is there and the end is one. Needs mu.
func (w *watch) close(r *Reason) {
	if w.done != nil && !w.closed && r != released {
		w.closed = true
		close(w.done)
	}
}

// start arms, the first time that there is something to arm. Needs mu.
func (w *watch) start(arm Arm) {
	if arm != nil && !w.armed {
		w.armed = true
		w.disarm = arm()
	}
}

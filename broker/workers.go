package broker

import (
	"sync"
	"time"
)

// workers run the methods that do not run on the reader. A goroutine that has
// run one waits a moment for the next: its stack has grown to what methods
// need, and growing it anew for each call costs more than the call.
type workers struct {
	mu      sync.Mutex
	idle    []*worker // the latest last
	used    bool      // since the last look
	looking bool      // timer runs
	timer   *time.Timer
	stopped bool
	running sync.WaitGroup
}

// worker is one goroutine; nil in next ends it.
type worker struct{ next chan func() }

const (
	// idleTime is how long nothing must have been run until the goroutines
	// that wait are let go, once or twice.
	idleTime = 100 * time.Millisecond
	// maxIdle is how many wait at most.
	maxIdle = 64
)

// run runs f on a goroutine; after the end it does not, and says so.
func (w *workers) run(f func()) bool {
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return false
	}
	w.used = true
	if n := len(w.idle); n > 0 {
		k := w.idle[n-1]
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		k.next <- f // it has room: k waits
		return true
	}
	w.running.Add(1)
	w.mu.Unlock()
	go w.work(f) // ends when it has waited for nothing, or with the connection; wait waits for it
	return true
}

func (w *workers) work(f func()) {
	defer w.running.Done()
	var k worker
	for f != nil {
		f()
		if !w.rest(&k) {
			return
		}
		f = <-k.next
	}
}

// rest puts k among those that wait; false if it is not needed.
func (w *workers) rest(k *worker) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || len(w.idle) >= maxIdle {
		return false
	}
	if k.next == nil {
		k.next = make(chan func(), 1)
	}
	w.idle = append(w.idle, k)
	if !w.looking {
		w.looking, w.used = true, false
		if w.timer == nil {
			w.timer = time.AfterFunc(idleTime, w.look)
		} else {
			w.timer.Reset(idleTime)
		}
	}
	return true
}

// look lets those that wait go if nothing was run since the last look.
func (w *workers) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	if w.used {
		w.used = false
		w.timer.Reset(idleTime)
		return
	}
	w.release()
	w.looking = false
}

// release needs mu.
func (w *workers) release() {
	for _, k := range w.idle {
		k.next <- nil // it has room: k waits
	}
	w.idle = nil
}

// stop starts nothing any more; what runs runs on.
func (w *workers) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.release()
}

// wait returns when the last goroutine has ended.
func (w *workers) wait() { w.running.Wait() }

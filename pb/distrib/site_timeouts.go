package distrib

import (
	"sync"
	"time"
)

// timeouts are times that all last equally long, kept in one list with one timer: setting and
// clearing one costs no timer. after and expire are needed.
type timeouts struct {
	after  time.Duration
	expire func(*exchange) // runs on the timer's goroutine; must not block

	mu          sync.Mutex
	first, last *timeout
	timer       *time.Timer // runs while it is armed, though the list may be empty
	armed       bool
	stopped     bool
}

// A timeout is one entry; it lies in what it belongs to. Its zero value is not set.
type timeout struct {
	at         time.Time
	of         *exchange
	prev, next *timeout
	set        bool
}

// start sets e. expire is called with ex if e is not cleared in time.
func (t *timeouts) start(e *timeout, ex *exchange) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	*e = timeout{at: now.Add(t.after), of: ex, prev: t.last, set: true}
	if t.last != nil {
		t.last.next = e
	} else {
		t.first = e
	}
	t.last = e
	if t.armed {
		return
	}
	t.armed = true
	if t.timer == nil {
		t.timer = time.AfterFunc(t.after, t.fire)
	} else {
		t.timer.Reset(t.after)
	}
}

// clear takes e back; it does nothing if e is not set.
func (t *timeouts) clear(e *timeout) {
	t.mu.Lock()
	t.unlink(e)
	t.mu.Unlock()
}

// unlink needs mu.
func (t *timeouts) unlink(e *timeout) {
	if !e.set {
		return
	}
	e.set = false
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		t.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		t.last = e.prev
	}
	e.prev, e.next, e.of = nil, nil, nil
}

// fire expires what is due and sets the timer for the next.
func (t *timeouts) fire() {
	now := time.Now()
	var due []*exchange
	t.mu.Lock()
	for t.first != nil && !t.first.at.After(now) {
		due = append(due, t.first.of)
		t.unlink(t.first)
	}
	t.armed = t.first != nil && !t.stopped
	if t.armed {
		t.timer.Reset(t.first.at.Sub(now))
	}
	t.mu.Unlock()
	for _, ex := range due {
		t.expire(ex)
	}
}

// stop ends the timer; nothing expires any more.
func (t *timeouts) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped, t.armed = true, false
	if t.timer != nil {
		t.timer.Stop()
	}
}

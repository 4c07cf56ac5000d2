package distrib

import (
	"sync"
	"time"
)

// A waitDeadline is a deadline that others wait for while it may be moved. The zero value is none.
type waitDeadline struct {
	mu    sync.Mutex
	at    time.Time
	moved chan struct{} // closed when it is moved; nil: nobody waits
}

func (d *waitDeadline) get() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at
}

func (d *waitDeadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = t
	if d.moved != nil {
		close(d.moved)
		d.moved = nil
	}
}

// passed gives a channel that is closed when the deadline has passed, until stop.
func (d *waitDeadline) passed() (late <-chan struct{}, stop func()) {
	done, gone := make(chan struct{}), make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() { // ends with stop
		for {
			d.mu.Lock()
			at := d.at
			if d.moved == nil {
				d.moved = make(chan struct{})
			}
			moved := d.moved
			d.mu.Unlock()
			var due <-chan time.Time
			timer := time.NewTimer(time.Until(at))
			if !at.IsZero() {
				due = timer.C
			}
			select {
			case <-due:
				timer.Stop()
				close(done)
				return
			case <-moved:
			case <-gone:
			}
			timer.Stop()
			select {
			case <-gone:
				return
			default:
			}
		}
	})
	return done, func() { close(gone); waiting.Wait() }
}

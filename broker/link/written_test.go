package link

import (
	"errors"
	"testing"
	"testing/synctest"
)

// Written waits while a write is under way with what was put before, and for nothing that comes
// after.
func TestWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Link{}
		o := &l.out
		o.changed.L = &o.mu
		o.appended, o.handed, o.taken = 100, 100, 40 // of which 40 bytes are under way
		done := make(chan error, 1)
		go func() { done <- l.Written() }() // ends below
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("Written() = %v while the write is under way", err)
		default:
		}
		o.mu.Lock()
		o.appended += 50
		o.taken = 0
		o.changed.Broadcast()
		o.mu.Unlock()
		if err := <-done; err != nil {
			t.Errorf("Written() = %v, want nil once it was written", err)
		}
		gone := errors.New("gone")
		go func() { done <- l.Written() }() // as above
		synctest.Wait()
		o.mu.Lock()
		o.err = gone
		o.changed.Broadcast()
		o.mu.Unlock()
		if err := <-done; !errors.Is(err, gone) {
			t.Errorf("Written() = %v, want what ended the connection", err)
		}
	})
}

package broker

import (
	"context"
	"perspective/broker/wire"
)

// SetQuick makes a method quick for tests that are slow themselves, as under
// the race detector.
func (t *Timing) SetQuick() {
	t.quick.Store(quickRuns)
	t.strikes.Store(0)
}

// Reader tells which goroutine reads the connection.
func (b *Broker) Reader() wire.ReaderStatus { return b.wire.Reader() }

// Register is the part of Ask before the CALL is put: the question has its number, and
// nothing is said yet.
func (b *Broker) Register(ctx context.Context, h *Header, q Question) error {
	_, err := b.questions.register(ctx, h, q, 0, false, 0, nil, new(asking))
	return err
}

// Finished reports whether FINISH was said for the question.
func (b *Broker) Finished(c *Call) bool {
	b.questions.mu.Lock()
	defer b.questions.mu.Unlock()
	return c.finished
}

// A Crowd is what tells calls that come together from those that come alone.
type Crowd struct{ crowd }

// Count says how many calls are under way and tells what it makes of that.
func (c *Crowd) Count(calls int) bool {
	c.count(calls)
	return c.Load()
}

package broker

// SetQuick makes a method quick for tests that are slow themselves, as under
// the race detector.
func (t *Timing) SetQuick() {
	t.quick.Store(quickRuns)
	t.strikes.Store(0)
}

// SizeHint is what a long message's beginning tells of its length.
func SizeHint(p []byte) int { return hint(p) }

// PartHead reads the head that AppendPartHead writes, without the length.
func PartHead(p []byte) (n uint32, last bool, head, size int) { return partHead(p) }

// AppendPartHead appends what stands before the size bytes of a piece.
func AppendPartHead(b []byte, n uint32, last bool, size int) []byte {
	return appendPartHead(b, n, last, size)
}

// CallersRead is how often a caller has read the connection itself.
func (b *Broker) CallersRead() uint64 { return b.in.taken.Load() }

// A Crowd is what tells calls that come together from those that come alone.
type Crowd struct{ crowd }

// Count says how many calls are under way and tells what it makes of that.
func (c *Crowd) Count(calls int) bool {
	c.count(calls)
	return c.Load()
}

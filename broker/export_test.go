package broker

// SetQuick makes a method quick for tests that are slow themselves, as under
// the race detector.
func (t *Timing) SetQuick() {
	t.quick.Store(quickRuns)
	t.strikes.Store(0)
}

package broker

// Pin keeps the answer to an unanswered question from being finished until
// Unpin, so that a call being made may name it in its arguments; the number is
// what a reference to the answer says. It is ErrAnswered once the RETURN came, and
// before the CALL waits to be written.
func (b *Broker) Pin(c *Call) (uint32, error) {
	var number uint32
	err := b.pin(c, &number)
	return number, err
}

// Unpin ends one Pin.
func (b *Broker) Unpin(c *Call) { b.unpin(c) }

// Pinned is the number of a question that is pinned.
func (b *Broker) Pinned(c *Call) (uint32, bool) {
	b.questions.mu.Lock()
	defer b.questions.mu.Unlock()
	return c.q, c.pins > 0 && c.q != 0
}

package broker

// Vacant reports whether the connection waits for a caller to read it.
func (b *Broker) Vacant() bool { return b.in.role.Load() == roleVacant }

// Dozing reports whether the reader's goroutine sleeps until a caller leaves.
func (b *Broker) Dozing() bool { return b.in.dozing.Load() }

// CallerReads reports whether a caller reads the connection.
func (b *Broker) CallerReads() bool { return b.in.role.Load() == roleCaller }

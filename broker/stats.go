package broker

import "sync/atomic"

type stats struct {
	violations atomic.Uint64
}

// Stats counts what a connection has done and what it holds.
type Stats struct {
	// Sent and Received are calls, ever.
	Sent, Received uint64
	// Asked and Unanswered are calls under way, ours and the peer's.
	Asked, Unanswered int
	// Oneway is how many of Asked want no answer: the peer has not said yet that they ended.
	Oneway int
	// Kept are answers that the peer may pipeline on.
	Kept int
	// Exports and Imports are objects lent and held, without boot and root.
	Exports, Imports int
	// Streams are byte streams, both sides' together.
	Streams int
	// StreamBytes came over them and were not read.
	StreamBytes int
	// Handlers are methods that run for the peer.
	Handlers int
	// Queued are bytes of messages that wait to be written.
	Queued int
	// Memory is what the peer's calls hold, as Config.Memory counts it, with what does
	// not count there.
	Memory int
}

// Stats may be called at any time, also after the end.
func (b *Broker) Stats() Stats {
	b.sweep()
	s := Stats{
		Exports: b.exports.count(),
		Imports: b.imports.size(),
		Queued:  b.wire.Waiting(),
	}
	s.Streams, s.StreamBytes = b.wire.CountStreams()
	b.questions.mu.Lock()
	s.Asked, s.Oneway, s.Sent = b.questions.calls, b.questions.oneway, b.questions.sent
	b.questions.mu.Unlock()
	b.answers.mu.Lock()
	s.Unanswered, s.Kept, s.Received = b.answers.calls, b.answers.kept, b.answers.received
	b.answers.mu.Unlock()
	s.Memory = int(b.account.Used())
	s.Handlers = int(b.permits.running.Load())
	return s
}

package broker

import (
	"context"
	"net"

	"perspective/broker/link"
	"perspective/broker/message"
	"perspective/broker/wire"
	"perspective/jelly"
)

// session is the Broker as its wire sees it.
type session Broker

var _ wire.Session = (*session)(nil)

func (s *session) b() *Broker { return (*Broker)(s) }

// Greeted takes the limits of the peer's preface over.
func (s *session) Greeted() {
	p := s.wire.Peer()
	close(s.greeting)
	s.questions.limits(p.Calls, p.CallBytes)
}

// Deliver acts on one message.
func (s *session) Deliver(d *jelly.Decoder, h message.Head, m wire.Scanned) error {
	return s.b().deliver(d, h, m)
}

// Refuse answers a message whose values are over a limit.
func (s *session) Refuse(raw []byte, size int, reason error) error {
	return s.b().refuseScanned(raw, size, reason)
}

// Begin takes in the first piece of a long message.
func (s *session) Begin(d *jelly.Decoder, h message.Head, size int) (wire.Long, bool, error) {
	in, err := s.b().begin(d, h, size)
	if in == nil {
		return nil, false, err
	}
	return in, in.answered.Load(), err
}

// Whole acts on a long CALL whose last piece has come.
func (s *session) Whole(d *jelly.Decoder, raw []byte, l wire.Long) error {
	return s.b().whole(d, raw, l.(*Incoming))
}

// Over fails a long message.
func (s *session) Over(h message.Head, size int, l wire.Long, full bool) error {
	in, _ := l.(*Incoming)
	return s.b().over(h, size, in, full)
}

// Drop gives back what a message mentions that is thrown away as it comes.
func (s *session) Drop(f *jelly.Finder, raw []byte) {
	settler := settler{b: s.b()}
	f.Find(raw, settler.settle)
	settler.flush()
}

// PeerGoesAway takes in a GOAWAY of the wire's own.
func (s *session) PeerGoesAway() (again bool) {
	if s.peerAway.Load() {
		return true
	}
	s.b().peerGoesAway()
	return false
}

// Asked is how many calls have no answer.
func (s *session) Asked() int { return s.questions.asked() }

// Waits reports whether call has no answer yet.
func (s *session) Waits(call any) bool { return s.questions.waits(call.(*Call)) }

// Busy reports whether several calls are under way, so that waiting a moment before a write
// gathers more of them.
func (s *session) Busy() bool { return s.questions.many.Load() || s.answers.many.Load() }

// Resume starts calls that had to wait for the peer to take what waits.
func (s *session) Resume() { s.permits.unpark() }

// Crowded ends the connection with a peer that reads less than it asks for. Calls of ours that
// wait to be written do not count: credit bounds them.
func (s *session) Crowded(shorts int) {
	s.questions.mu.Lock()
	shorts -= s.questions.bytes
	s.questions.mu.Unlock()
	if shorts > s.b().queuedLimit() {
		s.b().end(ErrSlowReader)
	}
}

// StreamForgotten tells a Shutdown of the end of a stream.
func (s *session) StreamForgotten() { s.b().nudge() }

// End ends the connection for the first reason that is given.
func (s *session) End(reason error) { s.b().end(reason) }

// Err is that reason.
func (s *session) Err() error { return s.b().Err() }

// A Stream is a byte stream to the peer, beside the messages. OpenStream and ClaimStream make it.
type Stream = wire.Stream

// Peer is what the peer's preface said of it. Nothing in it is proved.
type Peer = wire.Peer

// Peer is what the peer's preface said; nil until it came.
func (b *Broker) Peer() *Peer { return b.wire.Peer() }

// OpenStream opens a byte stream to the peer. It must be mentioned to the peer afterwards, by its
// ID, or the peer resets it after a while. An error means that nothing was opened:
// ErrTooManyStreams comes at once when Limits.Streams, of either side, is reached.
func (b *Broker) OpenStream(ctx context.Context) (Stream, error) {
	select {
	case <-b.greeting:
	case <-b.done:
		return nil, b.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if b.GoingAway() {
		return nil, ErrGoingAway
	}
	return b.wire.OpenStream(ctx)
}

// ClaimStream gives the stream that the peer opened and mentioned as id. It does not wait. A
// stream can be claimed once; one that nobody claims is reset about Limits.Handshake after it was
// opened.
func (b *Broker) ClaimStream(id uint64) (Stream, error) { return b.wire.ClaimStream(id) }

// ReadFor may be called by the goroutine that made a call with FlagFinal, not while handling a
// call, and waits for its answer and nothing else. If nobody reads the connection it does so
// itself, and returns when c has its answer, or is getting it, when ctx ends, or with the
// connection. Otherwise it returns at once.
func (b *Broker) ReadFor(ctx context.Context, c *Call) { b.wire.ReadFor(ctx, c) }

// UnderTLS gives what tls.Client or tls.Server is to get in the place of nc, for New to use the
// socket itself: see link.UnderTLS.
func UnderTLS(nc net.Conn) net.Conn { return link.UnderTLS(nc) }

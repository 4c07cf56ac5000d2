package broker

import (
	"context"
	"sync"
	"time"

	"perspective/broker/message"
	"perspective/jelly"
)

// abortTime bounds how long the end of a connection waits for its last words
// to be written.
const abortTime = time.Second

// sendAbort tells the peer why the connection ends, if it will hear it.
func (b *Broker) sendAbort(rule string, reason error) {
	e := jelly.GetEncoder()
	defer jelly.PutEncoder(e)
	e.Reset(nil, nil)
	message.EncodeAbort(e, rule)
	b.wire.LastWords(e.Buffer(), reason, abortTime)
}

// Shutdown ends the connection in order: calls that come from now on are
// refused as not executed, those under way are answered, byte streams end, and
// then, or when ctx ends, the connection is closed. It gives ctx's error if calls were cut off.
// For calls that cross its GOAWAY it waits until the peer has answered a PING behind that, or
// Limits.Handshake has passed.
func (b *Broker) Shutdown(ctx context.Context) error {
	if !b.away.Swap(true) {
		b.wire.GoAway()
	}
	n, pong := b.syncs.add()
	defer b.syncs.remove(n)
	_ = b.wire.Send(message.Small(message.Ping, 0, n)) // an error is the connection's end
	b.wire.Flush()
	late := time.NewTimer(b.limits.Handshake)
	defer late.Stop()
	for crossing := true; crossing && !b.peerAway.Load() || !b.quiet(); {
		select {
		case <-pong:
			crossing, pong = false, nil
		case <-late.C:
			crossing = false
		case <-b.idle:
		case <-b.done:
			return nil
		case <-ctx.Done():
			_ = b.Close()
			return context.Cause(ctx)
		}
	}
	b.wire.Drain(abortTime)
	b.polite.Store(true)
	return b.Close()
}

// quiet reports whether no call is under way either way, an answer that is
// about to be sent or is being decoded included, and no byte stream.
func (b *Broker) quiet() bool {
	// first: a call that is refused meanwhile must not stand for one that is about to be answered
	sent := b.wire.Answers()
	calls, settled := b.answers.unanswered()
	open, _ := b.wire.CountStreams()
	asked := b.questions.asked() // before ending: an answer goes from the one to the other
	ending := b.questions.ending.Load()
	return calls == 0 && sent == settled && asked == 0 && ending == 0 && open == 0
}

// nudge tells a Shutdown that a call has ended.
func (b *Broker) nudge() {
	if !b.away.Load() {
		return
	}
	select {
	case b.idle <- struct{}{}:
	default:
	}
}

// peerGoesAway takes in a GOAWAY: nothing new is asked. A call that is about to be sent is not, for
// what this side sends after the PONG to the PING behind the GOAWAY may find the connection closed.
func (b *Broker) peerGoesAway() {
	b.peerAway.Store(true)
	b.wire.NoCalls()
	b.nudge()
}

// GoingAway reports whether one of the sides is ending the connection in order.
func (b *Broker) GoingAway() bool { return b.away.Load() || b.peerAway.Load() }

// Sync writes all that waits and returns when the peer has read it and
// answered: a round trip.
func (b *Broker) Sync(ctx context.Context) error {
	b.sweep()
	n, ch := b.syncs.add()
	defer b.syncs.remove(n)
	if err := b.wire.Send(message.Small(message.Ping, 0, n)); err != nil {
		return err
	}
	b.wire.Flush()
	select {
	case <-ch:
		return nil
	case <-b.done:
		return b.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// syncs are the pings whose answer a goroutine waits for. The ticker's have number 0.
type syncs struct {
	mu   sync.Mutex
	next uint64
	wait map[uint64]chan struct{}
}

func (s *syncs) add() (uint64, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wait == nil {
		s.wait = make(map[uint64]chan struct{})
	}
	s.next++
	ch := make(chan struct{})
	s.wait[s.next] = ch
	return s.next, ch
}

func (s *syncs) remove(n uint64) {
	s.mu.Lock()
	delete(s.wait, n)
	s.mu.Unlock()
}

func (s *syncs) pong(n uint64) {
	s.mu.Lock()
	if ch := s.wait[n]; ch != nil {
		delete(s.wait, n)
		close(ch)
	}
	s.mu.Unlock()
}

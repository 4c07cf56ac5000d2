package broker

import (
	"context"
	"io"
	"net"
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
	if !b.out.lastWords(e.Buffer(), reason) {
		return
	}
	b.out.flush()
	b.out.settle(abortTime)
}

// lastWords puts a message after which none is sent; false if the sending half
// has ended. What was to follow of long messages is dropped.
func (o *out) lastWords(msg []byte, reason error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refuses() != nil {
		return false
	}
	_, _ = o.put(msg, nil) // a short one, which is not kept
	o.last = reason
	o.long, o.longLeft = nil, 0
	o.open = true // a preface that was refused stands before the opening, which is there all the same
	return true
}

// settle waits until everything is written, for d at most.
func (o *out) settle(d time.Duration) {
	var late bool
	o.mu.Lock()
	defer o.mu.Unlock()
	t := time.AfterFunc(d, func() {
		o.mu.Lock()
		late = true
		o.role.Broadcast()
		o.mu.Unlock()
	})
	defer t.Stop()
	for (o.flushing || o.backlog() > 0) && !late && o.err == nil {
		o.role.Wait()
	}
}

// linger waits a little for the peer to read the last words: closing a socket
// in which bytes lie unread makes the kernel throw away what was sent too. A unix
// socket keeps it: its peer reads it first and learns of the end afterwards.
func (b *Broker) linger() {
	if a, ok := b.conn.(interface{ LocalAddr() net.Addr }); ok && a.LocalAddr().Network() == "unix" {
		return
	}
	c, ok := b.conn.(interface{ CloseWrite() error })
	if !ok || c.CloseWrite() != nil {
		return
	}
	t := time.AfterFunc(abortTime, func() { _ = b.conn.Close() }) // ends the reads below
	defer t.Stop()
	_, _ = io.CopyN(io.Discard, b.conn, lingerBytes) // to the end, or as far as it goes
}

// lingerBytes bounds what is read from a peer that has been told of the end.
const lingerBytes = 4 << 20

// Shutdown ends the connection in order: calls that come from now on are
// refused as not executed, those under way are answered, byte streams end, and
// then, or when ctx ends, the connection is closed. It gives ctx's error if calls were cut off.
// For calls that cross its GOAWAY it waits until the peer has answered a PING behind that, or
// Limits.Handshake has passed.
func (b *Broker) Shutdown(ctx context.Context) error {
	if !b.away.Swap(true) {
		b.out.goAway()
	}
	n, pong := b.syncs.add()
	defer b.syncs.remove(n)
	_ = b.out.send(message.Small(message.Ping, 0, n)) // an error is the connection's end
	b.out.flush()
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
	b.out.settle(abortTime)
	b.polite.Store(true)
	return b.Close()
}

// goAway puts GOAWAY, after which no CALL is sent.
func (o *out) goAway() {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = o.put(message.Small(message.GoAway, 0), nil) // an error is the connection's end
	o.away = true
}

// noCalls has no CALL sent from now on.
func (o *out) noCalls() {
	o.mu.Lock()
	o.away = true
	o.mu.Unlock()
}

// quiet reports whether no call is under way either way, an answer that is
// about to be sent included, and no byte stream.
func (b *Broker) quiet() bool {
	sent := b.out.answered() // first: a call that is refused meanwhile must not stand for one that is about to be answered
	calls, settled := b.answers.unanswered()
	return calls == 0 && sent == settled && b.questions.asked() == 0 && b.streams.count() == 0
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

// peerGoesAway takes in a GOAWAY: nothing new is asked. A call that is about to be sent is not, for what
// this side sends after the PONG to the PING behind the GOAWAY may find the connection closed.
func (b *Broker) peerGoesAway() {
	b.peerAway.Store(true)
	b.out.noCalls()
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
	if err := b.out.send(message.Small(message.Ping, 0, n)); err != nil {
		return err
	}
	b.out.flush()
	select {
	case <-ch:
		return nil
	case <-b.done:
		return b.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// syncs are the pings that somebody waits for. The ticker's have number 0.
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

package broker

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"time"

	"perspective/broker/message"
)

// A peer that was silent for Limits.Keepalive is asked whether it is there, and is
// lost after as much again without a byte. The ticker looks ticksPerSilence times
// in that time, for nothing takes down when a byte came: so it asks up to a tick
// early, and the answer has the whole time.
const ticksPerSilence = 8

// startTicker begins the keepalive.
func (b *Broker) startTicker() {
	if b.limits.Keepalive <= 0 {
		return
	}
	b.endMu.Lock()
	defer b.endMu.Unlock()
	if b.err != nil {
		return
	}
	//nolint:gosec // no secret: thousands of connections are not to tick together
	first := time.Duration(rand.Int64N(int64(b.tickTime())))
	b.ticker = time.AfterFunc(first+1, b.tick)
}

func (b *Broker) tickTime() time.Duration { return max(b.limits.Keepalive/ticksPerSilence, 1) }

// stopTicker stops the keepalive, and what else waits for the end.
func (b *Broker) stopTicker() {
	b.endMu.Lock()
	defer b.endMu.Unlock()
	if b.ticker != nil {
		b.ticker.Stop()
	}
	if b.lateFlush != nil {
		b.lateFlush.Stop()
	}
}

func (b *Broker) tick() {
	b.sweep()
	b.silent++
	switch {
	case b.wire.Heard():
		b.silent, b.pinged = 0, false
	case b.silent < ticksPerSilence-1, b.pinged && b.silent < 2*ticksPerSilence-1:
	case b.pinged:
		b.end(fmt.Errorf("%w: nothing came for %v after a PING", ErrTimeout, b.limits.Keepalive))
		return
	default:
		b.pinged = true
		_ = b.wire.Send(message.Small(message.Ping, 0, 0)) // an error is the connection's end
	}
	b.wire.Flush()
	b.endMu.Lock()
	defer b.endMu.Unlock()
	if b.err == nil {
		b.ticker.Reset(b.tickTime())
	}
}

// watch looks after a queue in which a call has to wait, and after all others
// of the connection, until nothing waits any more.
func (b *Broker) watch() {
	if b.watching.Load() || b.watching.Swap(true) {
		return
	}
	// ends by itself when nothing waits
	time.AfterFunc(b.limits.HeldTurn/looksPerTurn, b.lookAtTurns)
}

// looksPerTurn is how often a turn must be seen unchanged to be held: it is
// found out a quarter too late at most.
const looksPerTurn = 4

func (b *Broker) lookAtTurns() {
	b.watching.Store(false)
	b.exports.mu.Lock()
	queues := make([]*queue, 0, len(b.exports.byID))
	for _, e := range b.exports.byID {
		if e.queue != nil {
			queues = append(queues, e.queue)
		}
	}
	b.exports.mu.Unlock()
	waiting := false
	for _, q := range queues {
		q.mu.Lock()
		if q.length > 0 && q.started == q.seen && q.holder != nil {
			q.looks++
		} else {
			q.looks = 0
		}
		held, n, in := q.looks == looksPerTurn, q.length, q.holder
		q.seen = q.started
		waiting = waiting || q.length > 0
		q.mu.Unlock()
		if held {
			b.log.Warn("a method keeps its turn while calls wait behind it",
				"method", in.methodName(), "waiting", n, "for", b.limits.HeldTurn, "stack",
				handlerStacks{})
		}
	}
	if waiting && b.Err() == nil {
		b.watch()
	}
}

// methodName is for people: the method's own, or as the caller wrote it.
func (in *Incoming) methodName() string {
	name := ""
	if in.odd != nil {
		name = in.odd.name
	}
	return shownName(in.method, name)
}

// shownName is methodName of a method, or of nil, and the name that the caller wrote.
func shownName(m Method, name string) string {
	if s, ok := m.(fmt.Stringer); ok {
		name = s.String()
	}
	if len(name) > 256 {
		name = name[:256]
	}
	return message.Printable(name)
}

// handlerStacks shows what the methods that were called from outside do, if the line with it is
// written: it stops the whole process for a moment.
type handlerStacks struct{}

// LogValue looks.
func (handlerStacks) LogValue() slog.Value {
	buf := make([]byte, 256<<10)
	buf = buf[:runtime.Stack(buf, true)]
	var out []byte
	for s := range bytes.SplitSeq(buf, []byte("\n\n")) {
		if bytes.Contains(s, []byte("broker.(*Incoming).handle")) && len(out) < 16<<10 {
			out = append(append(out, s...), "\n\n"...)
		}
	}
	return slog.StringValue(string(out))
}

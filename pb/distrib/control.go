package distrib

import (
	"errors"
	"fmt"
	"time"
)

// The control socket of a part is one end of a SOCK_SEQPACKET pair, so messages keep their bounds and nothing is ever
// in between. A message is one byte of kind and at most 255 bytes of text; some carry exactly one descriptor.
//
//	monitor → part: the plan (JSON, read by the sandbox before the program runs), then
//	                listener(name)+fd, file(name)+fd, …, begin, then link(name)+fd as links come
//	init → monitor: born+fd, where an init starts the part, and failed(why) where it cannot
//	part → monitor: report(what holds) or failed(why) from the sandbox, then ready, start(name), stop(name)
//
// The end of the socket is the end of the other side: a part without a monitor exits, a part that closes it is killed.

type messageKind byte

const (
	msgListener messageKind = iota + 1
	msgFile
	msgBegin
	msgLink
	msgReport
	msgFailed
	msgReady
	msgStart
	msgStop
	msgBorn // from init, before all else: the part's process, as a descriptor
)

const (
	maxText = 255
	maxPlan = 64 << 10
)

var errControl = errors.New("distrib: control socket out of step")

type message struct {
	kind messageKind
	text string
}

// carries says whether a descriptor comes with the message.
func (k messageKind) carries() bool {
	return k == msgListener || k == msgFile || k == msgLink || k == msgBorn
}

// named says whether the text is the name of a part, a listener or a file.
func (k messageKind) named() bool {
	return k.carries() || k == msgStart || k == msgStop
}

func (m message) encode() []byte {
	return append([]byte{byte(m.kind)}, m.text[:min(len(m.text), maxText)]...)
}

// decodeMessage takes one message as it came; descriptors is how many came with it.
func decodeMessage(b []byte, descriptors int) (message, error) {
	if len(b) < 1 || len(b) > 1+maxText {
		return message{}, fmt.Errorf("%w: %d bytes", errControl, len(b))
	}
	m := message{messageKind(b[0]), string(b[1:])}
	if m.kind < msgListener || m.kind > msgBorn {
		return message{}, fmt.Errorf("%w: kind %d", errControl, b[0])
	}
	want := 0
	if m.kind.carries() {
		want = 1
	}
	if descriptors != want {
		return message{}, fmt.Errorf("%w: kind %d with %d descriptors", errControl, b[0], descriptors)
	}
	if m.kind.named() && !validName(m.text) {
		return message{}, fmt.Errorf("%w: %q is no name", errControl, m.text)
	}
	if (m.kind == msgBegin || m.kind == msgReady) && m.text != "" {
		return message{}, fmt.Errorf("%w: text after kind %d", errControl, b[0])
	}
	return m, nil
}

// rules is what the monitor holds a part to. It is used by the one goroutine that reads the part's socket.
type rules struct {
	mayBeBorn               bool // an init starts the part, and nothing was said yet
	reported, failed, ready bool
	tokens                  float64
	last                    time.Time
}

const (
	burst  = 32  // messages at once
	refill = 4.0 // messages a second
)

// admit says whether a part may send this message now.
func (r *rules) admit(m message, now time.Time) error {
	if r.last.IsZero() {
		r.last, r.tokens = now, burst
	}
	r.tokens = min(burst, r.tokens+refill*now.Sub(r.last).Seconds())
	r.last = now
	if r.tokens < 1 {
		return fmt.Errorf("%w: too many messages", errControl)
	}
	r.tokens--
	mayBeBorn := r.mayBeBorn
	r.mayBeBorn = false
	switch m.kind {
	case msgBorn:
		if !mayBeBorn {
			return fmt.Errorf("%w: born out of turn", errControl)
		}
		return nil
	case msgReport:
		if r.reported {
			return fmt.Errorf("%w: a second report", errControl)
		}
		r.reported = true
		return nil
	case msgFailed: // also after the report, where the program cannot be executed
		if r.failed || r.ready {
			return fmt.Errorf("%w: failed out of turn", errControl)
		}
		r.failed = true
		return nil
	case msgReady:
		if r.ready || !r.reported {
			return fmt.Errorf("%w: ready out of turn", errControl)
		}
		r.ready = true
		return nil
	case msgStart, msgStop:
		if !r.reported {
			return fmt.Errorf("%w: a request before the report", errControl)
		}
		return nil
	default:
		return fmt.Errorf("%w: kind %d is the monitor's", errControl, m.kind)
	}
}

package distrib

import (
	"time"

	"perspective/pb"
)

// Limits bound what one back end may cost the front, and how long the front waits for it. A zero field stands for its
// default. Both ends of a link should be given the same Requests, Streams and Bytes.
type Limits struct {
	// Requests under way at once, answers being written included; default 8,192.
	Requests int
	// Streams open at once: one for each long request body, one for each response that is long or flushed; default 4,096.
	// From about 10,000 on the end of a link can starve the process.
	Streams int
	// Bytes of unanswered requests together, long bodies not counted; default 64 MiB.
	Bytes int
	// Waiting is how many requests may wait while the back end is away or has Requests under way; default 1,024.
	// What comes over it gets 503.
	Waiting int
	// ClientRequests is how many requests of one client (one address, or one /64 of IPv6) may be under way or wait,
	// ClientStreams how many streams they may have open, and ClientWaiting how many may wait; zero: an eighth of the sum,
	// but up to 8 of a small one. The last quarter of each sum is for clients that have less than an eighth of that. What
	// comes over it gets 503. Clients without an address, as behind a unix socket, are bounded by the sums alone.
	ClientRequests, ClientStreams, ClientWaiting int
	// Hold is how long a request waits for that before it gets 503; default 10 s.
	Hold time.Duration
	// HeaderTimeout is how long a handler may take to its first byte; default 60 s. The request then gets 504.
	HeaderTimeout time.Duration
	// ResponseTimeout is how long a request may take altogether; zero: as long as the client stays.
	ResponseTimeout time.Duration
}

func (l Limits) withDefaults() Limits {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&l.Requests, 8192)
	def(&l.Streams, 4096)
	def(&l.Bytes, 64<<20)
	def(&l.Waiting, 1024)
	def(&l.ClientRequests, share(l.Requests+l.Waiting))
	def(&l.ClientStreams, share(l.Streams))
	def(&l.ClientWaiting, share(l.Waiting))
	if l.Hold <= 0 {
		l.Hold = 10 * time.Second
	}
	if l.HeaderTimeout <= 0 {
		l.HeaderTimeout = 60 * time.Second
	}
	return l
}

// maxMessage holds a head and a small body, each at their bounds.
const maxMessage = maxHeaderBytes + smallBody + 64<<10

// ofFront returns what the front takes from a back end: answers of any number, but hardly a call.
func (l Limits) ofFront() pb.Limits {
	p := l.common()
	p.Calls, p.Handlers = 2*l.Requests, 256
	p.CallBytes = 1 << 20
	p.Exports, p.Imports = 16, 16
	return p
}

// ofBack returns what a back end takes from the front.
func (l Limits) ofBack() pb.Limits {
	p := l.common()
	// Handlers go on while their responses are streamed, and the calls for the streams must find room beside them.
	p.Calls, p.Handlers, p.CallBytes = l.Requests, 2*l.Requests, l.Bytes
	return p
}

func (l Limits) common() pb.Limits {
	var p pb.Limits
	p.Message = maxMessage
	p.Streams = l.Streams
	p.Queued = l.Bytes
	p.Answers, p.AnswerBytes = l.Requests, l.Bytes
	p.Control = 4 * l.Streams // each stream takes a few frames that carry nothing
	p.Values.Items = 4*maxFields + 64
	p.Values.Depth = 8
	return p
}

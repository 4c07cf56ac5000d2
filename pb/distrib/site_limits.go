package distrib

import (
	"time"

	"perspective/pb"
)

// Limits bound what one back end may cost the front, and how long the front waits for it. A zero
// field stands for its default. Both ends of a link should be given the same Requests, Streams,
// BodyBytes and Bytes.
type Limits struct {
	// Requests under way at once, answers being written included; default 8,192.
	Requests int
	// Streams open at once: one for each long request body, one for each response that is long or
	// flushed; default 4,096. From about 10,000 on the end of a link can starve the process.
	Streams int
	// BodyBytes of long bodies that came over the link and were not passed on yet, on each of its
	// ends; default 256 MiB, at least 1 MiB, of which a slow client or handler holds up to 256 KiB
	// for each body. So many streams as could fill a 128th of it each client has by itself, 8 of
	// the default; beyond that all clients together have as many as could fill three quarters, and
	// a long response begins only while there is room. What comes over BodyBytes all the same costs
	// its body.
	BodyBytes int
	// Bytes of unanswered requests together, long bodies not counted; default 64 MiB.
	Bytes int
	// Waiting is how many requests may wait while the back end is away or has Requests under way;
	// default 1,024. What comes over it gets 503.
	Waiting int
	// Instances is how many instances of the back end may serve at once; default 16. What comes
	// over it is refused.
	Instances int
	// ClientRequests is how many requests of one client (one address, or one /64 of IPv6) may be
	// under way or wait, ClientStreams how many streams they may have open, and ClientWaiting how
	// many may wait; zero: an eighth of the sum, but up to 8 of a small one. The last quarter of
	// each sum is for clients that have less than an eighth of that. What comes over it gets 503.
	// Clients without an address, as behind a unix socket, are bounded by the sums alone.
	ClientRequests, ClientStreams, ClientWaiting int
	// Hold is how long a request waits for that before it gets 503; default 10 s.
	Hold time.Duration
	// HeaderTimeout is how long a handler may take to its first byte; default 60 s. The request
	// then gets 504.
	HeaderTimeout time.Duration
	// ResponseTimeout is how long a request may take altogether; zero: as long as the client stays.
	ResponseTimeout time.Duration

	keepalive time.Duration // pb's; zero: its default
}

func (l Limits) withDefaults() Limits {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&l.Requests, 8192)
	def(&l.Streams, 4096)
	def(&l.BodyBytes, 256<<20)
	l.BodyBytes = max(l.BodyBytes, 4*streamWindow)
	def(&l.Bytes, 64<<20)
	def(&l.Waiting, 1024)
	def(&l.Instances, 16)
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

// streamWindow is what one byte stream may bring before it is read; yamux's initial window.
const streamWindow = 256 << 10

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
	// Handlers go on while their responses are streamed, and the calls for the streams must find
	// room beside them.
	p.Calls, p.Handlers, p.CallBytes = l.Requests, 2*l.Requests, l.Bytes
	return p
}

// streamShares are those of clients in the streams of a link.
func (l Limits) streamShares() shares {
	windows := l.BodyBytes / streamWindow
	return shares{
		sum:  l.Streams,
		each: l.ClientStreams,
		few:  max(1, windows/128),
		many: windows / 4 * 3,
	}
}

// memory is the Node.Memory of an end of a link, which is a node of its own. One connection gets
// half of it, and two bytes are counted for one, three of byte streams. Handlers are all to run
// until more than three quarters of that are held.
func (l Limits) memory() int64 { return 2 * (3*int64(l.BodyBytes) + 2*int64(l.Bytes)) }

func (l Limits) common() pb.Limits {
	var p pb.Limits
	p.Message, p.Keepalive = maxMessage, l.keepalive
	p.Streams, p.StreamBytes = l.Streams, l.BodyBytes
	p.Queued = l.Bytes
	p.Answers, p.AnswerBytes = l.Requests, l.Bytes
	p.Control = 4 * l.Streams // each stream takes a few frames that carry nothing
	p.Values.Items = 4*maxFields + 64
	p.Values.Depth = 8
	return p
}

package distrib

import (
	"fmt"
	"maps"
	"net/http"
	"sync"
)

// The notes that a back end sends before its answer: nil asks for the body of a request that
// announced it with Expect; a list is an interim response, a status between 102 and 199 with names
// and values of its header in turn; noteSession is about a session, and noteStarted says that the
// handler starts.

// maxInformed bounds the interim responses of one request: more than any handler sends. An honest
// back end drops those over it; there are two other notes of a request, and some more do no harm.
const (
	maxInformed = 1000
	maxNotes    = maxInformed + 16
)

// noteStarted is the note of a request that may not be sent again from then on.
const noteStarted = "start"

// maxPending bounds what of them waits for a slow client: in bytes of names and values.
const maxPending = 256 << 10

// notes are what a back end says before its answer. They arrive on the link's reader, which must
// not wait for the client: a goroutine writes them, and is gone when end returns.
type notes struct {
	ex *exchange

	mu      sync.Mutex
	wanted  chan struct{} // closed when the body is asked for; nil: nobody waits for that
	asked   bool
	ended   bool
	link    *link  // that they come by
	id      uint64 // of the request, on that link
	offered bool   // the back end may ask for the request's session
	all     int    // notes
	count   int    // interim responses
	waiting int    // bytes of what came since nothing was pending
	pending [][]any
	writing sync.WaitGroup
	busy    bool // the goroutine runs
}

// by says which link they come by.
func (n *notes) by(l *link, id uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.withdraw()
	n.link, n.id = l, id
}

// withdraw needs mu.
func (n *notes) withdraw() {
	if n.offered {
		n.offered = false
		n.link.withdraw(n.id)
	}
}

// receive takes a note.
func (n *notes) receive(v any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return
	}
	if n.all++; n.all > maxNotes && n.link != nil {
		l := n.link
		// ends with the link
		n.writing.Go(func() {
			l.reset(fmt.Errorf("%w: %d notes of one request", errHostile, maxNotes))
		})
		n.ended = true
		return
	}
	interim, ok := v.([]any)
	if !ok {
		switch {
		case v == nil && !n.asked && n.wanted != nil:
			n.asked = true
			n.add(nil)
		case v == noteStarted:
			n.ex.started.Store(true)
		case v == noteSession && !n.offered && n.link != nil:
			n.offered = true
			n.link.offer(n.id, n.ex)
		}
		return
	}
	size := 0
	for _, v := range interim {
		if s, ok := v.(string); ok {
			size += len(s)
		}
	}
	if n.count++; n.count > maxInformed || n.waiting+size > maxPending {
		return
	}
	n.waiting += size
	n.add(interim)
}

// add has the goroutine write an interim response, or nil, the word to go on. Needs mu.
func (n *notes) add(interim []any) {
	n.pending = append(n.pending, interim)
	if !n.busy {
		n.busy = true
		n.writing.Go(n.write) // ends when nothing is pending
	}
}

// write sends interim responses to the client. The word to go on is one of them: net/http would
// send it when the body is read, which the link's goroutine does while this one may be writing
// another.
func (n *notes) write() {
	for {
		n.mu.Lock()
		if len(n.pending) == 0 {
			n.busy, n.waiting = false, 0
			n.mu.Unlock()
			return
		}
		interim := n.pending[0]
		n.pending = n.pending[1:]
		n.mu.Unlock()
		if interim == nil {
			n.ex.goOn()
			close(n.wanted)
			continue
		}
		n.ex.inform(interim)
	}
}

// read has the body read though the back end cannot ask for it any more: its answer has begun. The
// client may not send one, after an answer in place of the word to go on, so nobody may wait for it
// but as long as the answer lasts.
func (n *notes) read() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.wanted == nil || n.asked {
		return
	}
	n.asked = true
	_, _ = n.ex.w.Write(nil) // net/http would still send 100, in the middle of the answer
	n.ex.client.patient = true
	close(n.wanted)
}

// informed says whether the client has got anything yet.
func (n *notes) informed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.count > 0
}

// end waits until what came is written and the client's writer is the caller's alone. Later notes
// are dropped.
func (n *notes) end() {
	n.mu.Lock()
	n.ended = true
	n.withdraw()
	n.mu.Unlock()
	n.writing.Wait()
}

// goOn tells the client to send the body. HTTP/2 can do so at any time, and an older client asks
// for nothing.
func (ex *exchange) goOn() {
	if ex.r.ProtoMajor != 1 || ex.r.ProtoMinor < 1 {
		return
	}
	h := ex.w.Header()
	kept := maps.Clone(h) // what a program before the Site has set for the answer
	clear(h)
	ex.w.WriteHeader(http.StatusContinue)
	maps.Copy(h, kept)
}

// inform writes an interim response, if it is one.
func (ex *exchange) inform(interim []any) {
	if len(interim) == 0 || len(interim) > 1+2*maxFields || len(interim)%2 == 0 {
		return
	}
	status, ok := interim[0].(int64)
	// 100 is net/http's to send, and 101 hands the connection over.
	if !ok || status < http.StatusProcessing || status > 199 || !ex.r.ProtoAtLeast(1, 1) {
		return // a client of HTTP/1.0 would take it for the answer
	}
	fields := make([]string, 0, len(interim)-1)
	for _, v := range interim[1:] {
		switch v := v.(type) {
		case string:
			fields = append(fields, v)
		case []byte: // what is not UTF-8
			fields = append(fields, string(v))
		default:
			return
		}
	}
	h := ex.w.Header()
	if ex.route.copyHeader(h, fields) == nil {
		h.Del("Set-Cookie") // an interim response changes nothing
		ex.w.WriteHeader(int(status))
	}
	clear(h)
}

package link

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"perspective/broker/wire"
)

// The role of the reader.
//
// One goroutine at a time is the reader of a link, and all of in is its own. It is the link's own
// goroutine (loop) or, when answers come one at a time, the caller that waits for the next one:
// with one call at a time, each answer costs a switch from the loop to the caller, which is a third
// of what the call takes. Nothing else is different while a caller reads: what comes is handled as
// ever, but no method runs on a caller's goroutine.
//
//	            offer                      take
//	  loop ───────────────▶ vacant ───────────────────▶ caller
//	  │  ▲                   │ ▲                          │
//	  │  └───────────────────┘ └──────────────────────────┘
//	  │    takeBack: kicked, or no            leave
//	  │    caller came for napTime
//	  ▼
//	another loop    replace: the loop is inside of a method that waits or takes long
//
// The role changes hands by holder alone:
//
//  1. The loop offers the role, then looks whether an answer is waited for; if so it takes the
//     role back, unless a caller was faster.
//  2. A caller asks first and looks at the role afterwards: one of the two sees the other.
//  3. A caller that leaves kicks the loop if others wait for answers or bytes lie unread; a call
//     whose caller does not read kicks it too.
//  4. The loop takes a vacant role back when it is kicked, and when no caller has had it for
//     napTime. At the end of the connection the holder of the role finds out.
//  5. A loop that is replaced stays with its method and the buffer that its arguments lie in. The
//     session knows which goroutine is inside of a method and lets one alone replace it. The old
//     loop learns of it from Deliver and touches nothing of in any more.
type role struct {
	holder atomic.Int32  // loops, vacant or calls
	taken  atomic.Uint64 // how often a caller took the role
	kick   chan struct{} // gets a value when the loop is wanted
	dozing atomic.Bool   // the loop sleeps until the caller that reads leaves

	// score is how many answers came alone, in a row; last was it before the message under way.
	// Both are the reader's.
	score, last int
}

const (
	loops  = iota // the link's own goroutine reads
	vacant        // nobody does
	calls         // a caller does
)

func (r *role) init() { r.kick = make(chan struct{}, 1) }

// offer lets a caller have the role. It is for the loop, which keeps to it afterwards unless a call
// was asked meanwhile: then its caller may have looked too early.
func (r *role) offer()                { r.holder.Store(vacant) }
func (r *role) keepTo(asked int) bool { return asked == 0 || !r.takeBack() }

// takeBack gives the role to the loop; false if a caller has it.
func (r *role) takeBack() bool { return r.holder.CompareAndSwap(vacant, loops) }

// take gives a vacant role to a caller.
func (r *role) take() bool {
	if r.holder.Load() != vacant || !r.holder.CompareAndSwap(vacant, calls) {
		return false
	}
	r.taken.Add(1)
	return true
}

// leave ends a caller's time as the reader. handOver follows: unread says that bytes lie unread,
// asked is how many calls have no answer.
func (r *role) leave() { r.holder.Store(vacant) }

func (r *role) handOver(unread bool, asked int) {
	if unread || r.dozing.Load() || asked > 0 {
		r.want()
	}
}

// want kicks the loop if the role is vacant.
func (r *role) want() {
	if r.holder.Load() != vacant {
		return
	}
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// woken is for the loop, when it was kicked (wanted) or has slept for napTime. last is how often
// callers had the role before. The loop has it back if mine is true, and may doze if none came.
func (r *role) woken(wanted bool, last uint64) (now uint64, mine bool) {
	r.dozing.Store(false)
	now = r.taken.Load()
	return now, (wanted || now == last) && r.takeBack()
}

// doze says that the loop is about to sleep without a timer, until the caller that reads leaves.
// mayDoze follows: handOver looks at dozing after leave, so one of the two sees the other.
func (r *role) doze() { r.dozing.Store(true) }

func (r *role) mayDoze() bool {
	if r.holder.Load() == calls {
		return true
	}
	r.dozing.Store(false)
	return false
}

// before is called for each message, and alone for an answer that came alone.
func (r *role) before() { r.last, r.score = r.score, 0 }
func (r *role) alone()  { r.score = r.last + 1 }

// A reader is one goroutine's time as the reader.
type reader struct {
	lately int  // methods it has run since something was read or written
	lost   bool // it is not to read on: only its goroutine looks
}

const (
	// aloneRuns is how many answers must have come alone until callers read.
	aloneRuns = 8
	// napTime is how long no caller must have read until the loop does again, once or twice.
	napTime = time.Millisecond
)

var (
	// errVacant ends the loop's run because callers read now.
	errVacant = errors.New("broker: callers read")
	// errLeft ends a caller's run because its answer is there.
	errLeft = errors.New("broker: the caller that reads has its answer")
	// errGone ends a connection whose reader was ended by a function of the user's, such as one
	// that listens to notes.
	errGone = errors.New(
		"broker: a function that was called while reading panicked or ended its goroutine")
)

// vacate gives the role up if answers come one at a time. The loop calls it when it has nothing
// more to do.
func (s *inbound) vacate() bool {
	if s.score < aloneRuns || s.raw == nil || s.raw.holds() || s.holder.Load() != loops {
		return false
	}
	s.score = 0
	s.l.Flush()
	s.offer()
	return s.keepTo(s.l.session.Asked())
}

// nap waits until the loop has the role again; false at the end of the connection. While one
// caller reads for long it sleeps without a timer: many connections may wait so.
func (l *Link) nap() bool {
	s := &l.in
	t := time.NewTimer(napTime)
	defer t.Stop()
	for last := s.taken.Load(); ; {
		wanted := false
		select {
		case <-s.kick:
			wanted = true
		case <-t.C:
		case <-l.done:
			if s.takeBack() { // else its holder finds out
				s.letCtxGo()
				l.parts.end()
			}
			return false
		}
		now, mine := s.woken(wanted, last)
		if mine {
			s.letCtxGo()
			return true
		}
		if now == last {
			s.doze()
			if s.mayDoze() {
				t.Stop()
				continue
			}
		}
		last = now // the holder of the role will see what is wanted
		t.Reset(napTime)
	}
}

// WantReader has the loop take a role that is vacant.
func (l *Link) WantReader() { l.in.want() }

// Reader tells which goroutine reads.
func (l *Link) Reader() wire.ReaderStatus {
	s := &l.in
	h := s.holder.Load()
	return wire.ReaderStatus{
		Vacant:  h == vacant,
		Caller:  h == calls,
		Dozing:  s.dozing.Load(),
		Callers: s.taken.Load(),
	}
}

// ReadFor may be called by the goroutine that made a call, not while handling a call, and waits for
// its answer and nothing else. If nobody reads the connection it does so itself, and returns when
// call has its answer, or is getting it, when ctx ends, or with the connection. Otherwise it
// returns at once.
func (l *Link) ReadFor(ctx context.Context, call any) {
	s := &l.in
	if !s.take() {
		return
	}
	if !l.session.Waits(call) {
		l.leaveRole(false) // the answer came before the role was vacant
		return
	}
	s.awaited, s.caller.lost = call, false
	s.interruptible(ctx)
	err := errGone
	defer func() {
		//nolint:errorlint // run has not returned, and the caller may catch the panic
		if err == errGone {
			s.letCtxGo()
			l.session.End(err)
		}
	}()
	err = s.run(&s.caller) //nolint:contextcheck // what it reads are others' calls and answers
	cut := s.uninterruptible()
	s.awaited = nil
	switch {
	case errors.Is(err, errLeft):
		l.leaveRole(false)
	case cut && errors.Is(err, os.ErrDeadlineExceeded):
		l.leaveRole(true)
	default:
		s.letCtxGo()
		l.readEnded(err)
	}
}

// leaveRole ends a caller's time as the reader.
func (l *Link) leaveRole(wanted bool) {
	s := &l.in
	wanted = wanted || s.i < s.n || len(s.rest) > 0 || s.raw.holds()
	l.Flush()
	s.leave()
	s.handOver(wanted, l.session.Asked())
}

// Returned says that the answer to call has come, and whether it came alone.
func (l *Link) Returned(call any, alone bool) {
	if alone {
		l.in.alone()
	}
	if l.in.awaited != nil && call == l.in.awaited {
		l.in.caller.lost = true
	}
}

const (
	// flushRuns is how many methods at least are run before their answers leave, while there are
	// more. flushParts is how many times that is done in the calls of one read, at most.
	flushRuns  = 8
	flushParts = 4
)

// Reads reports whether the reader is the loop, and answers are written without waiting: sockets,
// and TLS over one by UnderTLS.
func (l *Link) Reads() bool { return l.out.raw != nil && l.in.holder.Load() == loops }

// Ran has answers leave while the loop runs methods: the peer has something to do meanwhile. All
// at once would let one side wait while the other works.
func (l *Link) Ran() {
	s := &l.in
	me := s.me.Load()
	if me.lately++; me.lately < flushRuns || s.i-len(s.rest)-s.flushed < s.n/flushParts {
		return
	}
	me.lately, s.flushed = 0, s.i-len(s.rest)
	l.Flush()
}

// Replace has a new loop go on with the bytes that are read and not used. The old one is inside of
// a method, and its buffer stays with that.
func (l *Link) Replace() {
	s := &l.in
	unread := s.buf[s.i-len(s.rest) : s.n]
	s.borrow()
	copy(s.buf, unread)
	s.rest, s.i, s.n, s.flushed = s.buf[:len(s.rest)], len(s.rest), len(unread), 0
	s.me.Store(new(reader))
	s.dec = newDecoder()
	l.wg.Go(l.read) // ends with the connection, or when it is replaced
}

// An interruption lets the end of a caller's ctx end the read that it is in. The ctx that is
// followed is that of the last caller: most make their calls with the same one, and following it
// costs four allocations. It is told from others by its Done.
type interruption struct {
	followed <-chan struct{}
	unfollow func() bool

	mu  sync.Mutex
	cut <-chan struct{} // whose end may interrupt the read; nil: nobody's
	did bool            // it was
}

// interruptible lets the end of ctx interrupt reads, until uninterruptible is called.
func (s *inbound) interruptible(ctx context.Context) {
	end := ctx.Done()
	if end == nil {
		return
	}
	s.mu.Lock()
	s.cut = end
	s.mu.Unlock()
	if s.followed != end {
		s.letCtxGo()
		s.followed, s.unfollow = end, context.AfterFunc(ctx, func() { s.interrupt(end) })
	} else if ctx.Err() != nil {
		s.interrupt(end) // it may have ended before cut was set
	}
}

// interrupt ends the read of a caller that is to be told of end.
func (s *inbound) interrupt(end <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut == end {
		s.did = true
		s.readUntil(time.Unix(1, 0))
	}
}

// readUntil sets the deadline of reads. What has a descriptor has one.
func (s *inbound) readUntil(t time.Time) {
	if c, ok := s.r.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = c.SetReadDeadline(t)
	}
}

// uninterruptible ends what interruptible began, and tells whether the read was interrupted.
func (s *inbound) uninterruptible() (was bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was = s.did; was {
		s.readUntil(time.Time{})
	}
	s.cut, s.did = nil, false
	return was
}

// letCtxGo follows no caller's ctx any more. Only the holder of the role calls it.
func (i *interruption) letCtxGo() {
	if i.unfollow != nil {
		i.unfollow()
	}
	i.followed, i.unfollow = nil, nil
}

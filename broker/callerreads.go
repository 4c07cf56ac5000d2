package broker

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Callers that read.
//
// With one call at a time, each answer costs a switch from the reader's goroutine to the caller's,
// which is a third of what the call takes. So when answers come one by one, to callers that wait
// for them, the reader leaves its role vacant, and a caller reads the connection itself until its
// answer is there. Nothing else is different: what comes meanwhile is handled as ever, but no
// method runs on a caller's goroutine.
//
//	          vacate                    ReadFor
//	reader ───────────▶ vacant ───────────────────▶ caller
//	  ▲                   │ ▲                          │
//	  └───────────────────┘ └──────────────────────────┘
//	    nap: kicked, or no              leaveRole
//	    caller for napTime
//
// The holder of the role owns all of in. The role changes hands by vacancy.role alone:
//
//  1. The reader's goroutine vacates it, then looks whether an answer is waited for; if so it
//     takes the role back, unless a caller was faster.
//  2. A caller asks first and looks at the role afterwards: one of the two sees the other.
//  3. A caller that leaves kicks the reader's goroutine if others wait for answers or bytes lie
//     unread; a call whose caller does not wait kicks it too.
//  4. The reader's goroutine takes a vacant role when it is kicked, and when no caller has had it
//     for napTime. At the end of the connection whoever has the role finds out.
type vacancy struct {
	role    atomic.Int32
	taken   atomic.Uint64 // how often a caller took the role
	kick    chan struct{} // gets a value when the reader's goroutine is wanted
	score   int           // answers that came alone, in a row
	awaited *Call         // by the caller that reads
	caller  reader        // the caller that reads
	dozing  atomic.Bool   // the reader's goroutine sleeps until the caller that reads leaves

	// The ctx that is followed is that of the last caller: most make their calls
	// with the same one, and following it costs four allocations. It is told from
	// others by its Done.
	followed <-chan struct{}
	unfollow func() bool

	mu  sync.Mutex
	cut <-chan struct{} // whose end may interrupt the read; nil: nobody's
	did bool            // it was
}

const (
	roleReader = iota // the reader's goroutine reads
	roleVacant        // nobody does
	roleCaller        // a caller does
)

const (
	// aloneRuns is how many answers must have come alone until callers read.
	aloneRuns = 8
	// napTime is how long no caller must have read until the reader does again,
	// once or twice.
	napTime = time.Millisecond
)

// errVacant ends the reader's run because callers read now.
var errVacant = errors.New("broker: callers read")

// errGone ends a connection whose reader was ended by a function of the user's, such
// as one that listens to notes.
var errGone = errors.New("broker: a function that was called while reading panicked or ended its goroutine")

// vacate gives the role up if answers come one at a time. Only the reader's
// goroutine calls it, when it has nothing more to do.
func (s *in) vacate() bool {
	if s.score < aloneRuns || s.raw == nil || s.raw.holds() || s.role.Load() != roleReader {
		return false
	}
	s.score = 0
	s.b.out.flush()
	s.role.Store(roleVacant)
	return s.b.questions.asked() == 0 || !s.role.CompareAndSwap(roleVacant, roleReader)
}

// nap waits until the reader's goroutine has the role again; false at the end of the
// connection. While one caller reads for long it sleeps without a timer: many
// connections may wait so.
func (b *Broker) nap() bool {
	v := &b.in.vacancy
	t := time.NewTimer(napTime)
	defer t.Stop()
	for last := v.taken.Load(); ; {
		wanted := false
		select {
		case <-v.kick:
			wanted = true
		case <-t.C:
		case <-b.done:
			if v.role.CompareAndSwap(roleVacant, roleReader) { // else its holder finds out
				v.letCtxGo()
				b.parts.end()
			}
			return false
		}
		v.dozing.Store(false)
		now := v.taken.Load()
		if (wanted || now == last) && v.role.CompareAndSwap(roleVacant, roleReader) {
			v.letCtxGo()
			return true
		}
		if now == last {
			v.dozing.Store(true)
			if v.role.Load() == roleCaller { // it leaves later, and sees dozing
				t.Stop()
				continue
			}
			v.dozing.Store(false)
		}
		last = now // the holder of the role will see what is wanted
		t.Reset(napTime)
	}
}

// wantReader has the reader's goroutine take a role that is vacant.
func (b *Broker) wantReader() {
	if b.in.role.Load() != roleVacant {
		return
	}
	select {
	case b.in.kick <- struct{}{}:
	default:
	}
}

// ReadFor may be called by the goroutine that made a call with FlagFinal, not while handling a call,
// and waits for its answer and nothing else. If nobody reads the connection it does
// so itself, and returns when c has its answer, or is getting it, when ctx ends, or
// with the connection. Otherwise it returns at once.
func (b *Broker) ReadFor(ctx context.Context, c *Call) {
	s := &b.in
	if s.role.Load() != roleVacant || !s.role.CompareAndSwap(roleVacant, roleCaller) {
		return
	}
	s.taken.Add(1)
	if !b.questions.waits(c) {
		b.leaveRole(false) // the answer came before the role was vacant
		return
	}
	s.awaited, s.caller.lost = c, false
	s.interruptible(ctx)
	err := errGone
	defer func() {
		if err == errGone { //nolint:errorlint // run has not returned, and the caller may catch the panic
			s.letCtxGo()
			b.end(err)
		}
	}()
	err = s.run(&s.caller) //nolint:contextcheck // what it reads are others' calls and answers
	cut := s.uninterruptible()
	s.awaited = nil
	switch {
	case errors.Is(err, errStolen):
		b.leaveRole(false)
	case cut && errors.Is(err, os.ErrDeadlineExceeded):
		b.leaveRole(true)
	default:
		s.letCtxGo()
		b.readEnded(err)
	}
}

// leaveRole ends a caller's time as the reader.
func (b *Broker) leaveRole(wanted bool) {
	s := &b.in
	wanted = wanted || s.i < s.n || len(s.rest) > 0 || s.raw.holds()
	b.out.flush()
	s.role.Store(roleVacant)
	if wanted || s.dozing.Load() || b.questions.asked() > 0 {
		b.wantReader()
	}
}

// interruptible lets the end of ctx interrupt reads, until uninterruptible is called.
func (s *in) interruptible(ctx context.Context) {
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
func (s *in) interrupt(end <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut == end {
		s.did = true
		s.readUntil(time.Unix(1, 0))
	}
}

// readUntil sets the deadline of reads. What has a descriptor has one.
func (s *in) readUntil(t time.Time) {
	if c, ok := s.r.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = c.SetReadDeadline(t)
	}
}

// uninterruptible ends what interruptible began, and tells whether the read was interrupted.
func (s *in) uninterruptible() (was bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was = s.did; was {
		s.readUntil(time.Time{})
	}
	s.cut, s.did = nil, false
	return was
}

// letCtxGo follows no caller's ctx any more. Only the holder of the role calls it.
func (v *vacancy) letCtxGo() {
	if v.unfollow != nil {
		v.unfollow()
	}
	v.followed, v.unfollow = nil, nil
}

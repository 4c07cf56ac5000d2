package broker

import (
	"context"
	"iter"
	"perspective/broker/message"
	"perspective/broker/promise"
	"slices"
	"time"
)

// Windows into a connection: what is under way and what is held, for tools that show it.
// They read the tables under their locks, one after another, and hand out copies. What a
// call pays for them is a few words that are written with others and never read: the time
// of its arrival is one that the sweep has put down.

// A CallPhase is how far a call has come.
type CallPhase uint8

// The phases of a call of this side's, then those of the peer's, in their order.
const (
	// PhaseCredit waits for the peer to take more calls: it takes as many as its Limits.Calls and
	// CallBytes say. The call has no number yet.
	PhaseCredit CallPhase = iota
	// PhaseUnsent waits to be written: no byte of the call was given to a write.
	PhaseUnsent
	// PhaseSent waits for the peer's answer.
	PhaseSent
	// PhaseArriving is a long call whose arguments have not come yet.
	PhaseArriving
	// PhasePromised is a call on the answer to an earlier one that is not there yet.
	PhasePromised
	// PhaseQueued waits for its turn behind others to the same object.
	PhaseQueued
	// PhaseRoom waits for room among Limits.Handlers, or is about to begin.
	PhaseRoom
	// PhaseArguments has arguments that are answers to earlier calls, and waits for them.
	PhaseArguments
	// PhaseRunning is a method that runs.
	PhaseRunning
	// PhaseAside is a method that waits for a call of its own, a Deferred or a stream.
	PhaseAside
	// PhaseDeferred is a call whose method has returned and whose answer is to come.
	PhaseDeferred
	// PhaseAnswered is kept until FINISH, for calls may still be made on the answer.
	PhaseAnswered
)

var phaseNames = [...]string{
	PhaseCredit:    "waits for credit",
	PhaseUnsent:    "waits to be written",
	PhaseSent:      "waits for the answer",
	PhaseArriving:  "arrives",
	PhasePromised:  "waits for its target",
	PhaseQueued:    "waits for its turn",
	PhaseRoom:      "waits for room",
	PhaseArguments: "waits for its arguments",
	PhaseRunning:   "runs",
	PhaseAside:     "runs and waits",
	PhaseDeferred:  "has returned a Deferred",
	PhaseAnswered:  "is answered and kept",
}

// String gives the phase in plain words.
func (p CallPhase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return "unknown"
}

// CallStatus is one call that is under way or kept, as it was when it was looked at. It has
// nothing of the arguments and of the answer.
type CallStatus struct {
	// Outgoing is true for a call of this side's.
	Outgoing bool
	// ID is the number of the question, by its direction; 0: no answer is wanted, or the call
	// waits for credit.
	ID uint32
	// Method as its caller names it or, where it is found, as this side does; without what
	// must not reach a terminal.
	Method string
	// On is the number of the call whose answer this one is made on; 0: it is made on Target.
	On uint32
	// Target is the number of the object: one of the callee's exports.
	Target uint64
	// Phase is how far it has come.
	Phase CallPhase
	// Behind is the call that it waits for: the one whose turn it is, or whose answer is its
	// target or argument. 0: none, or one without a number.
	Behind uint32
	// Since is when it arrived or was asked, up to a second early; without a program that
	// calls Sweep every second, up to an eighth of Limits.Keepalive.
	Since time.Time
	// Deadline is when the caller stops waiting; zero: never.
	Deadline time.Time
	// Depth is how deep the call is nested in others of the peer's; 0 for a call of this side's.
	Depth int
	// Bytes of the message.
	Bytes int
	// GivenUp says that its caller wants no answer any more.
	GivenUp bool
	// Trace is what WithTrace gave it, without what must not reach a terminal.
	Trace string
}

// ReferenceStatus is an object that the peer holds, or one of the peer's that this side holds.
type ReferenceStatus struct {
	// Lent is true for an object of this side's.
	Lent bool
	// ID is the object's number. 0 is the boot object and 1 the root, which are there unsent.
	ID uint64
	// Type is the object's, as its TypeName method says; empty for what has none.
	Type string
	// Count is how often the object was sent and not given back.
	Count uint64
	// Since is when it was lent or came first, as CallStatus.Since.
	Since time.Time
}

// typeNamed is an Object that can say its type. TypeName must not block.
type typeNamed interface{ TypeName() string }

// clockUnit is what arrivals are counted in: 32 bits of it are 13 years.
const clockUnit = 100 * time.Millisecond

// setClock puts down the time of arrivals to come.
func (b *Broker) setClock() {
	b.clock.Store(uint32(time.Since(b.born) / clockUnit)) //nolint:gosec // it wraps after 13 years
}

// at is the time that the clock showed.
func (b *Broker) at(clock uint32) time.Time {
	return b.born.Add(time.Duration(clock) * clockUnit)
}

// asking is what the windows tell of a question.
type asking struct {
	method   string
	target   uint64
	trace    []byte
	deadline int64 // in nanoseconds since Broker.born; 0: none
	answer   uint32
	since    uint32
}

// asking gives what the windows tell of a call that is about to be asked.
func (b *Broker) asking(h *Header, head *message.CallHead) asking {
	a := asking{
		method: h.Method,
		target: head.Export,
		answer: head.Answer,
		trace:  head.Trace,
		since:  b.clock.Load(),
	}
	if head.Deadline > 0 {
		a.deadline = int64(time.Since(b.born) + head.Deadline)
	}
	return a
}

// Calls gives the calls that are under way, of both sides, and those of the peer's whose
// answers are kept. It looks when it is ranged over; each row was right at some moment. A call
// of this side's that wants no answer is there only while it waits for credit: CREDIT says how
// many have ended and not which, so Stats.Oneway has their number. It may be used at any time;
// after the end there are none.
func (b *Broker) Calls() iter.Seq[CallStatus] {
	return func(yield func(CallStatus) bool) {
		b.setClock()
		for _, s := range append(b.askedCalls(), b.peerCalls()...) {
			if !yield(s) {
				return
			}
		}
	}
}

// askedCalls are those of this side's: the ones that have a number, then those that wait for
// credit, in their order.
func (b *Broker) askedCalls() (all []CallStatus) {
	qs := &b.questions
	qs.mu.Lock()
	defer qs.mu.Unlock()
	for i := range qs.rows {
		s := &qs.rows[i]
		if s.question == nil || s.call.returned {
			continue
		}
		c := s.asking.row(b, s.size)
		c.ID, c.Phase, c.GivenUp = uint32(i+1), PhaseUnsent, s.call.finished
		if b.Sent(s.call) {
			c.Phase = PhaseSent
		}
		all = append(all, c)
	}
	for _, w := range qs.waiters {
		all = append(all, w.asking.row(b, w.size))
	}
	return all
}

// row is what the windows tell of a question of size bytes that waits for credit.
func (a *asking) row(b *Broker, size int) CallStatus {
	c := CallStatus{
		Outgoing: true,
		Method:   shownName(nil, a.method),
		On:       a.answer,
		Target:   a.target,
		Phase:    PhaseCredit,
		Behind:   a.answer,
		Since:    b.at(a.since),
		Bytes:    size,
		Trace:    message.Printable(string(a.trace)),
	}
	if d := a.deadline; d != 0 {
		c.Deadline = b.born.Add(time.Duration(d))
	}
	return c
}

// lookedAt is a call of the peer's while its row is made.
type lookedAt struct {
	CallStatus
	in     *Incoming
	method Method // nil: only the name is known
	name   string
	queued bool // its object has a queue
}

// peerCalls are those of the peer's, in the order of their arrival as far as that is told.
func (b *Broker) peerCalls() []CallStatus {
	rows := b.answers.look()
	turns := b.exports.turns()
	onReader := b.reader.Load().state.Load()
	all := make([]CallStatus, len(rows))
	for i := range rows {
		r := &rows[i]
		r.Method = shownName(r.method, r.name)
		if r.Phase == PhaseRoom {
			r.place(turns, onReader)
		}
		all[i] = r.CallStatus
	}
	slices.SortStableFunc(all, func(a, b CallStatus) int { return a.Since.Compare(b.Since) })
	return all
}

// look reads the table. What it can not tell has the phase PhaseRoom.
func (a *answers) look() (rows []lookedAt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	each := func(in *Incoming) {
		if in != nil {
			rows = append(rows, in.look())
		}
	}
	for _, in := range a.low {
		each(in)
	}
	for _, in := range a.byQ {
		each(in)
	}
	for in := range a.oneway {
		each(in)
	}
	// A call on an answer is in the table as others are; what it waits for knows it.
	waits := make(map[*Incoming]uint32)
	for i := range rows {
		if in := rows[i].in; in.interest != nil {
			in.promise.Waiting(func(w promise.Waiter) {
				if w, ok := w.(*onAnswer); ok {
					waits[(*Incoming)(w)] = in.q
				}
			})
		}
	}
	for i := range rows {
		if q, ok := waits[rows[i].in]; ok {
			rows[i].Phase, rows[i].Behind = PhasePromised, q
		}
	}
	return rows
}

// look reads what stands under answers.mu, which the caller holds, and what did not change
// since answers.add.
func (in *Incoming) look() lookedAt {
	r := lookedAt{in: in}
	r.ID, r.On, r.Depth, r.Bytes = in.q, in.target, int(in.depth), int(in.size)
	r.Since, r.GivenUp, r.Phase = in.b.at(in.arrived), in.finished, PhaseRoom
	if in.deadline != nil {
		r.Deadline = *in.deadline
	}
	if o := in.odd; o != nil {
		r.name, r.Trace = o.name, message.Printable(string(o.trace))
		if o.fn != nil {
			r.name = "(a function in its turn)"
		}
		for _, h := range o.holds {
			if !h.settled && r.Behind == 0 {
				r.Behind = h.q
			}
		}
	}
	if in.target == 0 && in.export != nil && r.name == "" {
		r.method, r.Target, r.queued = in.method, in.export.id, in.queue != nil
	}
	if in.settled {
		r.Phase, r.Behind = PhaseAnswered, 0
	}
	return r
}

// turnSeen says where a call stands in its object's queue.
type turnSeen struct {
	holder *Incoming // nil: nobody has the turn
	waits  bool
	first  bool
}

// turns are the calls that have a turn or wait for one.
func (x *exports) turns() map[*Incoming]turnSeen {
	seen := make(map[*Incoming]turnSeen)
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.byID {
		if e.queue != nil {
			e.queue.look(seen)
		}
	}
	for _, q := range x.orphans {
		q.look(seen)
	}
	return seen
}

func (q *queue) look(seen map[*Incoming]turnSeen) {
	q.mu.Lock()
	defer q.mu.Unlock()
	holder := q.holder
	if in := q.fast.Load(); in != nil && in != slowly {
		holder = in
	}
	if holder != nil {
		seen[holder] = turnSeen{holder: holder}
	}
	for in := q.head; in != nil; in = in.stored.next {
		seen[in] = turnSeen{holder: holder, waits: true, first: in == q.head}
	}
}

// place finds out how far a call has come that has no answer and is not promised.
func (r *lookedAt) place(turns map[*Incoming]turnSeen, onReader *Incoming) {
	in := r.in
	turn, known := turns[in]
	place := in.held.Load()
	switch {
	case in.long && !in.hasArrived():
		r.Phase = PhaseArriving
	case turn.waits && turn.first && turn.holder == nil:
	case turn.waits:
		r.Phase, r.Behind = PhaseQueued, 0
		if turn.holder != nil {
			r.Behind = turn.holder.q
		}
	case place >= aside && place < heldEnded:
		r.Phase = PhaseAside
		if r.Behind != 0 {
			r.Phase = PhaseArguments
		}
	case in == onReader, weight(place) > 0, known:
		r.Phase = PhaseRunning
		if r.Behind != 0 {
			r.Phase = PhaseArguments
		}
	case r.queued, in.turn.Load() != turnNone:
		r.Phase = PhaseDeferred
	}
}

// References gives the objects of this side's that the peer holds, and those of the peer's
// that this side holds, as Calls gives calls. The peer's boot object and root are not among
// them: nobody was given these.
func (b *Broker) References() iter.Seq[ReferenceStatus] {
	return func(yield func(ReferenceStatus) bool) {
		b.sweep()
		for _, s := range append(b.lentObjects(), b.heldObjects()...) {
			if !yield(s) {
				return
			}
		}
	}
}

func (b *Broker) lentObjects() []ReferenceStatus {
	type row struct {
		ReferenceStatus
		obj Object
	}
	var rows []row
	x := &b.exports
	x.mu.Lock()
	for _, e := range x.byID {
		rows = append(rows,
			row{ReferenceStatus{Lent: true, ID: e.id, Count: e.sent, Since: b.at(e.since)}, e.obj})
	}
	x.mu.Unlock()
	all := make([]ReferenceStatus, len(rows))
	for i, r := range rows {
		if n, ok := r.obj.(typeNamed); ok {
			r.Type = n.TypeName()
		}
		all[i] = r.ReferenceStatus
	}
	sortByID(all)
	return all
}

func (b *Broker) heldObjects() (all []ReferenceStatus) {
	m := &b.imports
	m.mu.Lock()
	for id, e := range m.byID {
		if !e.given && id >= firstExport {
			all = append(all, ReferenceStatus{ID: id, Count: e.count, Since: b.at(e.since)})
		}
	}
	m.mu.Unlock()
	sortByID(all)
	return all
}

func sortByID(all []ReferenceStatus) {
	slices.SortFunc(all, func(a, b ReferenceStatus) int {
		switch {
		case a.ID < b.ID:
			return -1
		case a.ID > b.ID:
			return 1
		}
		return 0
	})
}

type traceKey struct{}

// WithTrace is ctx for calls that carry trace, at most 256 bytes; with an empty one they carry
// none. A call that is handled hands its own trace to the calls that are made with its context.
func WithTrace(ctx context.Context, trace []byte) context.Context {
	return context.WithValue(ctx, traceKey{}, &trace)
}

// TraceFrom is the trace of the calls that are made with ctx; nil: none. The bytes must not be
// changed.
func TraceFrom(ctx context.Context) []byte {
	if t, ok := ctx.Value(traceKey{}).(*[]byte); ok && len(*t) > 0 {
		return *t
	}
	return nil
}

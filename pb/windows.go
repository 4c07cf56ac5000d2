package pb

import (
	"fmt"
	"iter"
	"time"

	"perspective/broker"
	"perspective/cred"
)

// A CallPhase is how far a call has come. Its String says so in plain words.
type CallPhase = broker.CallPhase

// The phases of a call of this side's, then those of the peer's, in their order.
const (
	// PhaseCredit waits for the peer to take more calls; it has no number yet.
	PhaseCredit   = broker.PhaseCredit
	PhaseUnsent   = broker.PhaseUnsent   // waits to be written
	PhaseSent     = broker.PhaseSent     // waits for the peer's answer
	PhaseArriving = broker.PhaseArriving // is long, and its arguments have not come yet
	PhasePromised = broker.PhasePromised // is made on an answer that is not there yet
	PhaseQueued   = broker.PhaseQueued   // waits for its turn
	// PhaseRoom waits for room among Limits.Handlers, or is about to begin.
	PhaseRoom      = broker.PhaseRoom
	PhaseArguments = broker.PhaseArguments // waits for answers that are its arguments
	PhaseRunning   = broker.PhaseRunning   // its method runs
	PhaseAside     = broker.PhaseAside     // its method waits for a call, a Deferred or a stream
	PhaseDeferred  = broker.PhaseDeferred  // its method has returned, and the answer is to come
	PhaseAnswered  = broker.PhaseAnswered  // is answered, and may still be called upon
)

// A CallStatus is one call of a connection that is under way, or whose answer is kept, as it
// was when Conn.Calls looked. It has nothing of the arguments and of the answer. What the peer
// chose in it is short and without what must not reach a terminal.
type CallStatus struct {
	// Outgoing is true for a call of this side's.
	Outgoing bool
	// ID is the number of the question, by its direction; 0: nobody waits for an answer, or the
	// call waits for credit.
	ID uint32
	// Method is the name that this side has for it, with the type of the object; of a call
	// that is outgoing, or made on an answer, as its caller wrote it.
	Method string
	// On is the number of the call whose answer this one is made on; 0: it is made on Target.
	On uint32
	// Target is the number of the object that is called, as References has it.
	Target uint64
	// Peer is the other side, as Conn.String has it.
	Peer string
	// Account is what the peer logged in as, the last time; empty if it has not.
	Account cred.AvatarID
	// Phase is how far the call has come.
	Phase CallPhase
	// Behind is the call that it waits for: the one whose turn it is, or whose answer it is
	// made on or has as an argument. 0: none, or one that nobody waits for.
	Behind uint32
	// Since is when it arrived or was asked, up to a second early.
	Since time.Time
	// Deadline is when the caller stops waiting; zero: never.
	Deadline time.Time
	// Depth is how deep a call of the peer's is nested in others; 0 for one of this side's.
	Depth int
	// Bytes of its message.
	Bytes int
	// GivenUp says that its caller wants no answer any more.
	GivenUp bool
	// Trace is what the caller gave with WithTrace.
	Trace string
}

// A ReferenceStatus is one object that a connection has a number for, as it was when
// Conn.References looked.
type ReferenceStatus struct {
	// Lent is true for an object of this side's, which the peer may call.
	Lent bool
	// ID is the object's number, by the side that has it; 1 is the root. Each connection has
	// numbers of its own.
	ID uint64
	// Type is the Go type of an object that is lent; empty for the peer's.
	Type string
	// Count is how often the object was sent and not given back; 0 for a root that was not.
	Count uint64
	// Since is when it was lent or came first, up to a second early.
	Since time.Time
}

// Calls gives the calls that are under way over the connection, of both sides, and those of
// the peer's that are answered and may still be called upon. It looks when it is ranged over,
// without stopping any call: each row was right at some moment. A call that Send made is there
// only while it waits for credit: the peer says how many of those have ended and not which, so
// Stats.Oneway has their number. Nor is a large call that waits for the peer's preface. After
// the end there are none.
func (c *Conn) Calls() iter.Seq[CallStatus] {
	return func(yield func(CallStatus) bool) {
		account := c.account()
		for s := range c.broker.Calls() {
			ok := yield(CallStatus{
				Outgoing: s.Outgoing,
				ID:       s.ID,
				Method:   s.Method,
				On:       s.On,
				Target:   s.Target,
				Peer:     c.name,
				Account:  account,
				Phase:    s.Phase,
				Behind:   s.Behind,
				Since:    s.Since,
				Deadline: s.Deadline,
				Depth:    s.Depth,
				Bytes:    s.Bytes,
				GivenUp:  s.GivenUp,
				Trace:    s.Trace,
			})
			if !ok {
				return
			}
		}
	}
}

// References gives the objects of this side's that the peer holds or may name, then those of
// the peer's that this side holds, each by its number. It looks as Calls does. An object that
// several parts of this program have is there once: the collector tells when none has it. The
// peer's root, which was not sent, is not among them.
func (c *Conn) References() iter.Seq[ReferenceStatus] {
	return func(yield func(ReferenceStatus) bool) {
		for s := range c.broker.References() {
			if s.ID == 0 {
				continue // the boot object, which no program has
			}
			if !yield(ReferenceStatus(s)) {
				return
			}
		}
	}
}

// account is what the peer logged in as, the last time.
func (c *Conn) account() cred.AvatarID {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.sessions); n > 0 {
		return c.sessions[n-1].login.ID
	}
	return ""
}

// TypeName is the type of the object, for windows, as those below.
func (x *exported) TypeName() string { return x.obj.Type().String() }

func (forwarder) TypeName() string { return "*pb.RemoteReference" }

// TypeName is empty as long as the object is not known.
func (o *lateObject) TypeName() string {
	if f := o.found.Load(); f != nil {
		if n, ok := f.Object.(interface{ TypeName() string }); ok {
			return n.TypeName()
		}
	}
	return ""
}

// String is the name of the method as its caller wrote it, for logs and windows, which clean
// it; as that below.
func (f forwarded) String() string { return f.name }

func (m lateMethod) String() string { return m.name }

// String is the method's own.
func (m turnlessMethod) String() string {
	if s, ok := m.Method.(fmt.Stringer); ok {
		return s.String()
	}
	return ""
}

package broker

import (
	"sync/atomic"
	"time"

	"perspective/broker/budget"
)

const (
	// callFree is what the arguments of a call may take in memory without being counted.
	callFree = 1 << 10
	// decodeFree is what calls may decode at the same time; with more than that one of a
	// connection's is at work, for several that are half done could all wait for more.
	decodeFree = 64 << 10
	// callCost is what a call takes beside its message.
	callCost = 1 << 10
)

// Memory bounds what the peers of several connections take together.
type Memory = budget.Memory

// NewMemory makes a Memory of size bytes.
func NewMemory(size int64) *Memory { return budget.NewMemory(size) }

// defaultMemory is that of a connection without Config.Memory.
const defaultMemory = 256 << 20

// An account is what the connection has of its Memory, with the turns of the calls that take much
// of it.
type account struct {
	budget.Account
	turn    chan struct{} // held by the call that decodes more than decodeFree
	results chan struct{} // held by the call whose result takes more than that
	turns   atomic.Uint32 // how often, ever
}

func (a *account) init(m *Memory) {
	a.Init(m)
	a.turn, a.results = make(chan struct{}, 1), make(chan struct{}, 1)
}

// await waits for room for a call's n bytes, for Limits.MemoryWait at most.
func (a *account) await(in *Incoming, n int64, values bool) error {
	if !a.Await(in.Done(), in.b.limits.MemoryWait, n, values) {
		return ErrOverloaded
	}
	return nil
}

// What Incoming.memory holds: the bytes counted for the values of the arguments, that the call
// has the turn of those that decode much, that the first of two has happened, the method's
// return and the answer, and that the call has the turn of those that encode much.
const (
	memoryTurn = 1 << 62
	memoryHalf = 1 << 61
	resultTurn = 1 << 60
	memorySum  = resultTurn - 1
)

// meter is a call as the jelly.Meter of its arguments.
type meter Incoming

// Take counts n bytes of values. Where there is no room it waits, and another goroutine reads.
func (m *meter) Take(n int) error {
	in := (*Incoming)(m)
	a := &in.b.account
	if v := in.memory.Load(); v&memoryTurn == 0 &&
		v+int64(n)*budget.Times > decodeFree*budget.Times {
		if err := in.takeDecodeTurn(); err != nil {
			return err
		}
	}
	count := int64(n) * budget.Times
	if !a.TakeValues(count) {
		in.leaveReader()
		if err := a.await(in, count, true); err != nil {
			return err
		}
	}
	in.memory.Add(count)
	return nil
}

// leaveReader has another goroutine read, if the call's method keeps the reader busy.
func (in *Incoming) leaveReader() {
	if in.onReader() {
		in.timing().slow(false)
		in.b.steal(in)
	}
}

func (in *Incoming) takeDecodeTurn() error {
	a := &in.b.account
	select {
	case a.turn <- struct{}{}:
		in.memory.Or(memoryTurn)
		return nil
	default:
	}
	in.leaveReader()
	t := time.NewTimer(in.b.limits.MemoryWait)
	defer t.Stop()
	select {
	case a.turn <- struct{}{}:
		in.memory.Or(memoryTurn)
		return nil
	case <-in.Done():
	case <-t.C:
	}
	return ErrOverloaded
}

// decoded ends the turn of those that decode much.
func (in *Incoming) decoded() {
	if in.memory.And(^int64(memoryTurn))&memoryTurn != 0 {
		<-in.b.account.turn
	}
}

// letMemoryGo is called when the method has returned, and when the call is answered: the values
// may be in use until both have happened.
func (in *Incoming) letMemoryGo() {
	if in.memory.Load()&^resultTurn == 0 {
		return
	}
	in.decoded()
	for {
		v := in.memory.Load()
		switch {
		case v&^resultTurn == 0:
			return
		case v&memoryHalf == 0:
			if in.memory.CompareAndSwap(v, v|memoryHalf) {
				return
			}
		default:
			if in.memory.CompareAndSwap(v, v&resultTurn) {
				in.b.account.Give(v & memorySum)
				return
			}
		}
	}
}

package broker

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Memory bounds what the peers of several connections take together for their calls: the
// messages that wait, the values made from them until their methods have returned, the answers
// that are encoded, wait or are kept, and what came over byte streams. It counts two bytes for each, because
// the collector lets about as much garbage stand as there is in use, and three for byte streams.
// What methods make is not counted: while more than three eighths of the Memory are held, an
// eighth of Limits.Handlers run.
//
// A connection may hold as much as is left free for each other one that holds some: one alone at
// most half, and who comes last still finds a share. Beside that each has 256 KiB that nobody
// else can take. The zero value gives nothing but those; make one with NewMemory. All its
// methods may be called from several goroutines at once, and it needs no ending.
type Memory struct {
	size    int64
	mu      sync.Mutex
	used    int64
	holders int // accounts that hold some
	waiting []*memoryWait
	waits   atomic.Int32 // how many, for who gives back
	tight   atomic.Bool  // more than three eighths are used
}

// NewMemory makes a Memory of size bytes.
func NewMemory(size int64) *Memory { return &Memory{size: size} }

// Used is how much of it the connections hold now.
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// A memoryWait is one call that waits for memory. It is granted when done is closed.
type memoryWait struct {
	account *account
	n       int64
	values  bool // as in account.takeFor
	done    chan struct{}
}

const (
	// defaultMemory is that of a connection without Config.Memory.
	defaultMemory = 256 << 20
	// memoryFloor is what each connection has without asking.
	memoryFloor = 256 << 10
	// memoryPiece is what an account takes from its Memory at once.
	memoryPiece = 256 << 10
	// memoryTimes is how many bytes are counted for one.
	memoryTimes = 2
	// streamTimes is that for byte streams: yamux's buffers have up to twice the room they need.
	streamTimes = 3
	// callCost is what a call takes beside its message.
	callCost = 1 << 10
	// callFree is what the arguments of a call may take in memory without being counted.
	callFree = 1 << 10
	// decodeFree is what calls may decode at the same time; with more than that one of a
	// connection's is at work, for several that are half done could all wait for more.
	decodeFree = 64 << 10
)

// An account is what one connection has of a Memory. It outlives the connection with the methods
// that do.
type account struct {
	m    *Memory
	used atomic.Int64
	held atomic.Int64  // of m; written under m.mu
	cap  atomic.Int64  // of used, for a stranger; 0: none
	turn chan struct{} // held by the call that decodes more than decodeFree

	results chan struct{} // held by the call whose result takes more than that
	turns   atomic.Uint32 // how often, ever
}

func (a *account) init(m *Memory) {
	a.m, a.turn, a.results = m, make(chan struct{}, 1), make(chan struct{}, 1)
}

// take counts n bytes, or says that there is no room for them. What waits can't be told to
// wait elsewhere, so values that are yet to be decoded leave a quarter of the share to it.
func (a *account) take(n int64) bool { return a.takeFor(n, false) }

func (a *account) takeFor(n int64, values bool) bool {
	used := a.used.Add(n)
	if limit := a.cap.Load(); limit > 0 && used > limit {
		a.used.Add(-n)
		return false
	}
	if used <= a.held.Load()+memoryFloor {
		return true
	}
	a.m.mu.Lock()
	ok := a.cover(values)
	a.m.mu.Unlock()
	if !ok {
		a.used.Add(-n)
	}
	return ok
}

// force counts n bytes that are taken already.
func (a *account) force(n int64) {
	if a.used.Add(n) <= a.held.Load()+memoryFloor {
		return
	}
	a.m.mu.Lock()
	if !a.cover(false) {
		a.hold(max(a.used.Load()-memoryFloor-a.held.Load(), 0))
	}
	a.m.mu.Unlock()
}

// cover has the account hold what it uses, if that is not over its share. Needs m.mu.
func (a *account) cover(values bool) bool {
	need := a.used.Load() - memoryFloor - a.held.Load()
	if need <= 0 {
		return true
	}
	if n := max(need, memoryPiece); a.within(n, values) {
		a.hold(n)
		return true
	}
	if !a.within(need, values) {
		return false
	}
	a.hold(need)
	return true
}

// within reports whether the account's share has room for n more. Needs m.mu.
func (a *account) within(n int64, values bool) bool {
	held := a.held.Load()
	least := held + n
	if values {
		least += least / 3
	}
	others := a.m.holders
	if held > 0 {
		others--
	}
	return least <= (a.m.size-a.m.used-n)/int64(max(others, 1))
}

// hold needs m.mu.
func (a *account) hold(n int64) {
	before := a.held.Load()
	a.held.Store(before + n)
	a.m.used += n
	if tight := a.m.used > a.m.size/8*3; tight != a.m.tight.Load() {
		a.m.tight.Store(tight)
	}
	switch {
	case before == 0 && n > 0:
		a.m.holders++
	case before > 0 && before+n == 0:
		a.m.holders--
	}
}

// crowded reports whether the connection holds more than its share.
func (a *account) crowded() bool {
	if a.held.Load() == 0 {
		return false
	}
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	return !a.within(0, false)
}

// give uncounts n bytes.
func (a *account) give(n int64) {
	used := a.used.Add(-n)
	held := a.held.Load()
	if held == 0 && a.m.waits.Load() == 0 {
		return
	}
	if used > memoryFloor && held+memoryFloor-used < 2*memoryPiece && a.m.waits.Load() == 0 {
		return
	}
	a.m.mu.Lock()
	if surplus := min(a.held.Load(), a.held.Load()+memoryFloor-a.used.Load()); surplus > 0 {
		a.hold(-surplus)
	}
	a.m.wake()
	a.m.mu.Unlock()
}

// wake grants what can be granted: who holds least first. Needs mu.
func (m *Memory) wake() {
	for len(m.waiting) > 0 {
		best := -1
		for i, w := range m.waiting {
			if best >= 0 && w.account.held.Load() >= m.waiting[best].account.held.Load() || !w.fits() {
				continue
			}
			best = i
		}
		if best < 0 {
			return
		}
		w := m.waiting[best]
		m.waiting = append(m.waiting[:best], m.waiting[best+1:]...)
		m.waits.Add(-1)
		w.account.used.Add(w.n)
		if !w.account.cover(w.values) {
			w.account.hold(max(w.account.used.Load()-memoryFloor-w.account.held.Load(), 0)) // used has grown meanwhile
		}
		close(w.done)
	}
}

// fits needs mu.
func (w *memoryWait) fits() bool {
	a := w.account
	used := a.used.Load() + w.n
	if limit := a.cap.Load(); limit > 0 && used > limit {
		return false
	}
	need := used - memoryFloor - a.held.Load()
	return need <= 0 || a.within(need, w.values)
}

// await is takeFor for a call that waits for room, for Limits.MemoryWait at most.
func (a *account) await(in *Incoming, n int64, values bool) error {
	w := &memoryWait{account: a, n: n, values: values, done: make(chan struct{})}
	a.m.mu.Lock()
	a.m.waiting = append(a.m.waiting, w)
	a.m.waits.Add(1)
	a.m.wake() // there may have come room since
	a.m.mu.Unlock()
	t := time.NewTimer(in.b.limits.MemoryWait)
	defer t.Stop()
	select {
	case <-w.done:
		return nil
	case <-in.Done():
	case <-t.C:
	}
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	for i, x := range a.m.waiting {
		if x == w {
			a.m.waiting = append(a.m.waiting[:i], a.m.waiting[i+1:]...)
			a.m.waits.Add(-1)
			return ErrOverloaded
		}
	}
	return nil // it was granted at this moment
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
	if v := in.memory.Load(); v&memoryTurn == 0 && v+int64(n)*memoryTimes > decodeFree*memoryTimes {
		if err := in.takeDecodeTurn(); err != nil {
			return err
		}
	}
	count := int64(n) * memoryTimes
	if !a.takeFor(count, true) {
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
				in.b.account.give(v & memorySum)
				return
			}
		}
	}
}

// A tally is one kind of memory of a connection, counted in its account in steps. Its zero value
// has counted nothing. Whoever calls its methods has a lock for it.
type tally struct{ covered int64 }

// tallyStep is what a tally counts at once.
const tallyStep = 64 << 10

// take makes the tally at least need; false if there is no room.
func (t *tally) take(a *account, need int64) bool {
	if need <= t.covered {
		return true
	}
	n := need - t.covered
	if up := (n + tallyStep - 1) / tallyStep * tallyStep; a.take(up) {
		t.covered += up
		return true
	}
	if !a.take(n) {
		return false
	}
	t.covered += n
	return true
}

// force makes the tally need, more or less, whether or not there is room.
func (t *tally) force(a *account, need int64) {
	if n := need - t.covered; n > 0 {
		n = (n + tallyStep - 1) / tallyStep * tallyStep
		a.force(n)
		t.covered += n
		return
	}
	t.shrink(a, need)
}

// shrink gives back what is far more than need, and everything for nothing.
func (t *tally) shrink(a *account, need int64) {
	if n := t.covered - need; n >= 2*tallyStep || need == 0 && n > 0 {
		a.give(n)
		t.covered = need
	}
}

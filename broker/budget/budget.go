// Package budget counts the memory that peers take, of one process, of each connection and of
// each kind of thing in it. It knows nothing of what is counted.
package budget

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Memory bounds what the peers of several connections take together for their calls: the messages
// that wait, the values made from them until their methods have returned, the answers that are
// encoded, wait or are kept, and what came over byte streams. It counts two bytes for each, because
// the collector lets about as much garbage stand as there is in use, and three for byte streams.
// What methods make is not counted: while more than three eighths of the Memory are held, an eighth
// of Limits.Handlers run.
//
// A connection may hold as much as is left free for each other one that holds some: one alone at
// most half, and the last to come still finds a share. Beside that each has 256 KiB that nobody
// else can take. The zero value gives nothing but those; make one with NewMemory. All its
// methods may be called from several goroutines at once, and it needs no ending.
type Memory struct {
	size    int64
	mu      sync.Mutex
	used    int64
	holders int // accounts that hold some
	waiting []*memoryWait
	waits   atomic.Int32 // how many, for Give
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
	account *Account
	n       int64
	values  bool // for TakeValues
	done    chan struct{}
}

const (
	// Floor is what each connection has without asking.
	Floor = 256 << 10
	// memoryPiece is what an account takes from its Memory at once.
	memoryPiece = 256 << 10
	// Times is how many bytes are counted for one.
	Times = 2
	// StreamTimes is that for byte streams: yamux's buffers have up to twice the room they need.
	StreamTimes = 3
)

// An Account is what one connection has of a Memory. It outlives the connection with the methods
// that do.
type Account struct {
	m    *Memory
	used atomic.Int64
	held atomic.Int64 // of m; written under m.mu
	cap  atomic.Int64 // of used, for a stranger; 0: none
}

// Init opens the account with m.
func (a *Account) Init(m *Memory) { a.m = m }

// Cap bounds what the account may use to n bytes, for a stranger; 0 ends that.
func (a *Account) Cap(n int64) { a.cap.Store(n) }

// Used is how many bytes are counted.
func (a *Account) Used() int64 { return a.used.Load() }

// Tight reports whether more than three eighths of the Memory are held, by whomever.
func (a *Account) Tight() bool { return a.m.tight.Load() }

// Take counts n bytes, or says that there is no room for them. What waits can't be told to
// wait elsewhere, so values that are yet to be decoded leave a quarter of the share to it.
func (a *Account) Take(n int64) bool { return a.take(n, false) }

// TakeValues is Take for values that are yet to be decoded.
func (a *Account) TakeValues(n int64) bool { return a.take(n, true) }

func (a *Account) take(n int64, values bool) bool {
	used := a.used.Add(n)
	if limit := a.cap.Load(); limit > 0 && used > limit {
		a.used.Add(-n)
		return false
	}
	if used <= a.held.Load()+Floor {
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

// Force counts n bytes that are taken already.
func (a *Account) Force(n int64) {
	if a.used.Add(n) <= a.held.Load()+Floor {
		return
	}
	a.m.mu.Lock()
	if !a.cover(false) {
		a.hold(max(a.used.Load()-Floor-a.held.Load(), 0))
	}
	a.m.mu.Unlock()
}

// cover has the account hold what it uses, if that is not over its share. Needs m.mu.
func (a *Account) cover(values bool) bool {
	need := a.used.Load() - Floor - a.held.Load()
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
func (a *Account) within(n int64, values bool) bool {
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
func (a *Account) hold(n int64) {
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

// Crowded reports whether the connection holds more than its share.
func (a *Account) Crowded() bool {
	if a.held.Load() == 0 {
		return false
	}
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	return !a.within(0, false)
}

// Give uncounts n bytes.
func (a *Account) Give(n int64) {
	used := a.used.Add(-n)
	held := a.held.Load()
	if held == 0 && a.m.waits.Load() == 0 {
		return
	}
	if used > Floor && held+Floor-used < 2*memoryPiece && a.m.waits.Load() == 0 {
		return
	}
	a.m.mu.Lock()
	if surplus := min(a.held.Load(), a.held.Load()+Floor-a.used.Load()); surplus > 0 {
		a.hold(-surplus)
	}
	a.m.wake()
	a.m.mu.Unlock()
}

// wake grants what can be granted, first to the account that holds least. Needs mu.
func (m *Memory) wake() {
	for len(m.waiting) > 0 {
		best := -1
		for i, w := range m.waiting {
			if best >= 0 &&
				w.account.held.Load() >= m.waiting[best].account.held.Load() || !w.fits() {
				continue
			}
			best = i
		}
		if best < 0 {
			return
		}
		w := m.waiting[best]
		m.waiting = slices.Delete(m.waiting, best, best+1)
		m.waits.Add(-1)
		w.account.used.Add(w.n)
		if !w.account.cover(w.values) {
			// used has grown meanwhile
			w.account.hold(max(w.account.used.Load()-Floor-w.account.held.Load(), 0))
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
	need := used - Floor - a.held.Load()
	return need <= 0 || a.within(need, w.values)
}

// Await is Take or TakeValues, if values is true, which waits for room until done is closed, or
// for the time of wait at most. It is false if there was none.
func (a *Account) Await(done <-chan struct{}, wait time.Duration, n int64, values bool) bool {
	w := &memoryWait{account: a, n: n, values: values, done: make(chan struct{})}
	a.m.mu.Lock()
	a.m.waiting = append(a.m.waiting, w)
	a.m.waits.Add(1)
	a.m.wake() // there may have come room since
	a.m.mu.Unlock()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-w.done:
		return true
	case <-done:
	case <-t.C:
	}
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	i := slices.Index(a.m.waiting, w)
	if i < 0 {
		return true // it was granted at this moment
	}
	a.m.waiting = slices.Delete(a.m.waiting, i, i+1)
	a.m.waits.Add(-1)
	return false
}

// A Tally is one kind of memory of a connection, counted in its account in steps. Its zero value
// has counted nothing. Its caller holds the lock that guards it.
type Tally struct{ covered int64 }

// Counted reports whether the tally counts anything.
func (t *Tally) Counted() bool { return t.covered > 0 }

// tallyStep is what a tally counts at once.
const tallyStep = 64 << 10

// Take makes the tally at least need; false if there is no room.
func (t *Tally) Take(a *Account, need int64) bool {
	if need <= t.covered {
		return true
	}
	n := need - t.covered
	if up := (n + tallyStep - 1) / tallyStep * tallyStep; a.Take(up) {
		t.covered += up
		return true
	}
	if !a.Take(n) {
		return false
	}
	t.covered += n
	return true
}

// Force makes the tally need, more or less, whether or not there is room.
func (t *Tally) Force(a *Account, need int64) {
	if n := need - t.covered; n > 0 {
		n = (n + tallyStep - 1) / tallyStep * tallyStep
		a.Force(n)
		t.covered += n
		return
	}
	t.Shrink(a, need)
}

// Shrink gives back what is far more than need, and everything for nothing.
func (t *Tally) Shrink(a *Account, need int64) {
	if n := t.covered - need; n >= 2*tallyStep || need == 0 && n > 0 {
		a.Give(n)
		t.covered = need
	}
}

package broker

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"perspective/broker/message"
)

// A Handle is this process's hold on an object of the peer's. It lies inside
// the reference that users see, so that both live and die together: there is
// one for each object and connection, and settled references compare with ==.
type Handle struct {
	b        *Broker
	id       uint64
	released atomic.Bool
	// Owner is what the handle lies in.
	Owner any
}

// ID is the number that the peer gave the object.
func (h *Handle) ID() uint64 { return h.id }

// Broker is the connection that the object is reached through.
func (h *Handle) Broker() *Broker { return h.b }

// Released reports whether Release was called.
func (h *Handle) Released() bool { return h.released.Load() }

// imports counts how often each of the peer's ids came, and holds the handles
// weakly: when the collector takes one, its count goes back in a RELEASE.
type imports struct {
	mu    sync.Mutex
	byID  map[uint64]*imported
	gen   uint64 // counts handles
	given int    // how many have all given back
	err   error

	dropped *dropped
}

// dropped is what the collector took. It is memory of its own: cleanups are
// roots of the collector, and one that led to the connection would keep the
// handle it waits for alive, and all of the connection with it.
type dropped struct {
	mu   sync.Mutex
	list []droppedHandle
	some atomic.Bool
}

// add is the cleanup: it must wake nobody, so the RELEASE goes with the next
// Sweep or the next tick.
func (d *dropped) add(h droppedHandle) {
	d.mu.Lock()
	d.list = append(d.list, h)
	d.mu.Unlock()
	d.some.Store(true)
}

type imported struct {
	handle weak.Pointer[Handle]
	count  uint64 // arrivals since the last RELEASE
	gen    uint64 // of the handle: a cleanup for an older one changes nothing
	since  uint32 // as Incoming.arrived
	given  bool   // all was given back; the collector has yet to take the handle
}

type droppedHandle struct{ id, gen uint64 }

// Import gives the handle of the peer's object id, made by fresh if there is none
// alive. It counts nothing: that is done when the message that mentions the object
// is, for a handle that is held by then.
func (b *Broker) Import(id uint64, fresh func() *Handle) (*Handle, error) {
	m := &b.imports
	m.mu.Lock()
	if m.err != nil {
		m.mu.Unlock()
		return nil, m.err
	}
	e := m.byID[id]
	if e != nil {
		if h := e.handle.Value(); h != nil {
			m.mu.Unlock()
			return h, nil
		}
	} else if id >= firstExport && m.lent() >= b.limits.Imports {
		m.mu.Unlock()
		return nil, ErrTooManyImports
	}
	m.mu.Unlock()
	h := fresh() // outside the lock: it is another package's code
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return nil, m.err
	}
	if e = m.byID[id]; e == nil {
		e = &imported{since: b.clock.Load()}
		m.byID[id] = e
	}
	if other := e.handle.Value(); other != nil {
		return other, nil // another goroutine was faster
	}
	m.keep(e)
	m.gen++
	e.gen = m.gen
	h.b, h.id = b, id
	e.handle = weak.Make(h)
	if id >= firstExport { // the others are never released
		runtime.AddCleanup(h, m.dropped.add, droppedHandle{id, e.gen})
	}
	return h, nil
}

// counted counts one arrival of the peer's object id, if there is a handle for it.
func (m *imports) counted(id uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byID[id]
	if e != nil {
		e.count++
		m.keep(e)
	}
	return e != nil
}

// givenBack says that nothing is kept of a message that mentions the peer's object id. A handle
// that decoding has made, and that nobody is counted for, does not take the room of others until
// the collector has taken it.
func (m *imports) givenBack(id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byID[id]; e != nil && e.count == 0 && !e.given {
		e.given = true
		m.given++
	}
}

// keep ends givenBack. Needs mu.
func (m *imports) keep(e *imported) {
	if e.given {
		e.given = false
		m.given--
	}
}

// Release gives the object up at once, for all code in this process that has the reference. A
// second call does nothing.
func (b *Broker) Release(h *Handle) {
	if h.released.Swap(true) {
		return
	}
	m := &b.imports
	m.mu.Lock()
	e := m.byID[h.id]
	var n uint64
	if e != nil && e.handle.Value() == h {
		n = e.count
		m.keep(e)
		delete(m.byID, h.id)
	}
	m.mu.Unlock()
	if n > 0 {
		b.sendRelease(h.id, n)
	}
}

// sweep sends the RELEASEs for what the collector took. It causes no write at once.
func (b *Broker) sweep() {
	b.setClock()
	m := &b.imports
	if !m.dropped.some.Load() || !m.dropped.some.Swap(false) {
		return
	}
	m.dropped.mu.Lock()
	list := m.dropped.list
	m.dropped.list = nil
	m.dropped.mu.Unlock()
	for _, d := range list {
		m.mu.Lock()
		e := m.byID[d.id]
		var n uint64
		if e != nil && e.gen == d.gen {
			n = e.count
			m.keep(e)
			delete(m.byID, d.id)
		}
		m.mu.Unlock()
		if n > 0 {
			b.sendRelease(d.id, n)
		}
	}
}

func (b *Broker) sendRelease(id, n uint64) {
	if id >= firstExport {
		b.wire.After(message.Small(message.Release, 0, id, n))
		b.flushLater()
	}
}

// flushTime is how long a RELEASE waits for other messages to leave with it.
const flushTime = 50 * time.Millisecond

// flushLater has what waits written soon.
func (b *Broker) flushLater() {
	if b.flushing.Load() || b.flushing.Swap(true) {
		return
	}
	b.endMu.Lock()
	defer b.endMu.Unlock()
	switch {
	case b.err != nil:
	case b.lateFlush == nil:
		b.lateFlush = time.AfterFunc(flushTime, func() { // stopped by teardown
			b.flushing.Store(false)
			b.wire.Flush()
		})
	default:
		b.lateFlush.Reset(flushTime)
	}
}

// Sweep gives back what the collector took since the last time; it is sent within
// 100 ms. Without it that is done when something else is sent to a peer that is
// asked whether it is there, every Limits.Keepalive: one Sweep a second for all
// connections of a program is cheaper than a timer in each.
func (b *Broker) Sweep() { b.sweep() }

func (m *imports) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lent()
}

// lent is how many objects are held, boot and root not counted. Needs mu.
func (m *imports) lent() int {
	n := len(m.byID) - m.given
	for id := range uint64(firstExport) {
		if m.byID[id] != nil {
			n--
		}
	}
	return n
}

func (m *imports) clear(err error) {
	m.mu.Lock()
	m.err = err
	m.byID, m.given = nil, 0
	m.mu.Unlock()
}

package broker

import (
	"sync"

	"perspective/jelly"
)

// export is an object of ours that the peer holds, or may name: 0, the boot
// object, and 1, the root, are there without having been sent.
type export struct {
	id    uint64
	key   any
	obj   Object
	queue *queue // nil: calls are concurrent
	sent  uint64 // how often its id is in the peer's hands; RELEASE counts it down
	fixed bool
}

// exports is the table of them. Ids count up and are never used twice, so a
// late RELEASE can not hit another object.
type exports struct {
	b     *Broker
	mu    sync.Mutex
	byID  map[uint64]*export
	byKey map[any]*export
	next  uint64
	err   error
}

const firstExport = 2

func (x *exports) init(b *Broker) {
	x.b = b
	x.byID = make(map[uint64]*export)
	x.byKey = make(map[any]*export)
	x.next = firstExport
}

// Export counts one more reference to obj as sent and gives its id, for an
// Encoder's reference. key is the object's identity: what has the same key is
// the same object to the peer.
func (b *Broker) Export(key any, obj Object) (uint64, error) {
	x := &b.exports
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return 0, x.err
	}
	e := x.byKey[key]
	if e == nil {
		if len(x.byKey) >= b.limits.Exports {
			return 0, ErrTooManyExports
		}
		e = b.newExport(x.next, key, obj)
		x.next++
		x.byID[e.id], x.byKey[key] = e, e
	}
	if !e.fixed {
		e.sent++
	}
	return e.id, nil
}

func (b *Broker) newExport(id uint64, key any, obj Object) *export {
	e := &export{id: id, key: key, obj: obj}
	if obj.Discipline() == Queued {
		e.queue = &queue{b: b}
	}
	return e
}

// SetFixed makes obj the boot object (0) or the root (1), in place of what
// was there. key as for Export: the same object sent later has this id.
func (b *Broker) SetFixed(id uint64, key any, obj Object) {
	x := &b.exports
	x.mu.Lock()
	defer x.mu.Unlock()
	if old := x.byID[id]; old != nil {
		delete(x.byKey, old.key)
	}
	e := b.newExport(id, key, obj)
	e.fixed = true
	x.byID[id] = e
	if x.byKey[key] == nil {
		x.byKey[key] = e
	}
}

// Exported finds the key of what the peer calls id: an object of ours that
// comes home.
func (b *Broker) Exported(id uint64) (key any, ok bool) {
	e := b.exports.find(id)
	if e == nil {
		return nil, false
	}
	return e.key, true
}

func (x *exports) find(id uint64) *export {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byID[id]
}

// release takes back n of the references that the peer held.
func (x *exports) release(id, n uint64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	if e == nil {
		return violation("RELEASE of object %d, which is not exported", id)
	}
	if e.fixed {
		return nil
	}
	if n > e.sent {
		return violation("RELEASE of object %d %d times, sent %d times", id, n, e.sent)
	}
	e.sent -= n
	if e.sent == 0 {
		delete(x.byID, id)
		delete(x.byKey, e.key)
	}
	return nil
}

// undo uncounts the references in a message that will not be sent.
func (x *exports) undo(e *jelly.Encoder) {
	for _, r := range e.Sent() {
		if r.Kind == jelly.RefExport && r.ID >= firstExport {
			_ = x.release(r.ID, 1) // counted by Export a moment ago
		}
	}
}

func (x *exports) count() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := len(x.byID)
	for id := range uint64(firstExport) {
		if x.byID[id] != nil {
			n--
		}
	}
	return n
}

// clear forgets everything at the end of the connection.
func (x *exports) clear(err error) {
	x.mu.Lock()
	x.err = err
	x.byID, x.byKey = nil, nil
	x.mu.Unlock()
}

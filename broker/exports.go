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
		e.queue = newQueue(b)
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

// SetKey gives the boot object (0) or the root (1) its identity when that is
// known, as SetFixed would have done. It does nothing if an object with this
// key was sent before.
func (b *Broker) SetKey(id uint64, key any) {
	x := &b.exports
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	if e == nil || !e.fixed || x.byKey[key] != nil {
		return
	}
	delete(x.byKey, e.key)
	e.key = key
	x.byKey[key] = e
}

// Exported finds the key of what the peer calls id: an object of ours that
// comes home.
func (b *Broker) Exported(id uint64) (key any, ok bool) {
	x := &b.exports
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	if e == nil {
		return nil, false
	}
	return e.key, true
}

// keyOf is e's identity.
func (x *exports) keyOf(e *export) any {
	x.mu.Lock()
	defer x.mu.Unlock()
	return e.key
}

func (x *exports) find(id uint64) *export {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byID[id]
}

// release takes back n of the references that the peer held.
func (x *exports) release(id, n uint64) error {
	gone, err := x.countDown(id, n)
	if r, ok := gone.(Releaser); ok {
		r.Released(id)
	}
	return err
}

// countDown gives the object if that was the last reference.
func (x *exports) countDown(id, n uint64) (gone Object, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	if e == nil {
		return nil, violation("RELEASE of object %d, which is not exported", id)
	}
	if e.fixed {
		return nil, nil
	}
	if n > e.sent {
		return nil, violation("RELEASE of object %d %d times, sent %d times", id, n, e.sent)
	}
	e.sent -= n
	if e.sent > 0 {
		return nil, nil
	}
	delete(x.byID, id)
	delete(x.byKey, e.key)
	return e.obj, nil
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

package broker

import (
	"fmt"
	"sync"
	"sync/atomic"

	"perspective/broker/message"
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
	since uint32 // as Incoming.arrived
	fixed bool
}

// exports is the table of them. Ids count up and are never used twice, so a
// late RELEASE can not hit another object.
type exports struct {
	b       *Broker
	mu      sync.Mutex
	byID    map[uint64]*export
	byKey   map[any]*export
	orphans map[any]*queue // of objects not exported now whose calls are not over
	pinned  map[uint64]*pin
	next    uint64
	lent    int // objects in the peer's hands, boot and root not counted
	err     error

	changes atomic.Uint64 // how often an id has come to mean something else
	last    *export       // that the reader found, as of lastAt changes; the reader's own
	lastAt  uint64
}

// A pin keeps an object that has come home in a message, until the message is decoded: a RELEASE
// behind the message may be acted on before. Only Exported finds it then.
type pin struct {
	e     *export
	times int
}

const firstExport = 2

func (x *exports) init(b *Broker) {
	x.b = b
	x.byID = make(map[uint64]*export)
	x.byKey = make(map[any]*export)
	x.orphans = make(map[any]*queue)
	x.pinned = make(map[uint64]*pin)
	x.next = firstExport
}

// Export counts one more reference to obj as sent and gives its id, for an
// Encoder's reference. key is the object's identity: what has the same key is
// the same object to the peer.
func (b *Broker) Export(key any, obj Object) (uint64, error) {
	x := &b.exports
	if id, ok, err := x.again(key); ok || err != nil {
		return id, err
	}
	d := obj.Discipline()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return 0, x.err
	}
	e := x.byKey[key]
	if e == nil {
		if x.lent >= b.limits.Exports {
			return 0, ErrTooManyExports
		}
		e = x.add(x.next, key, obj, d)
		x.next++
		x.lent++
		x.byKey[key] = e
	}
	e.sent++
	return e.id, nil
}

// again counts one more reference to what is exported already.
func (x *exports) again(key any) (uint64, bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byKey[key]
	if x.err != nil || e == nil {
		return 0, false, x.err
	}
	e.sent++
	return e.id, true, nil
}

// add makes an export. An object has one queue, whatever ids it goes by and
// as long as calls are in it. Needs mu.
func (x *exports) add(id uint64, key any, obj Object, d Discipline) *export {
	e := &export{id: id, key: key, obj: obj, since: x.b.clock.Load()}
	x.changes.Add(1)
	x.byID[id] = e
	if d == Queued {
		e.queue = x.queue(key)
	}
	return e
}

// SetFixed makes obj the boot object (0) or the root (1), in place of what
// was there. key as for Export: the same object sent later has this id.
func (b *Broker) SetFixed(id uint64, key any, obj Object) {
	d := obj.Discipline()
	x := &b.exports
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return
	}
	old := x.byID[id]
	e := x.add(id, key, obj, d)
	e.fixed = true
	if old != nil && x.byKey[old.key] == old {
		delete(x.byKey, old.key)
		if old.queue != e.queue {
			x.orphan(old.key, old.queue)
		}
	}
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
	if x.byKey[e.key] == e {
		delete(x.byKey, e.key)
	}
	e.key = key
	x.byKey[key] = e
}

// Exported finds the key of what the peer calls id: an object of ours that
// comes home.
func (b *Broker) Exported(id uint64) (key any, ok bool) {
	if id == 0 {
		return nil, false // the boot object is nobody's but the connection's
	}
	x := &b.exports
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.byID[id]; e != nil {
		return e.key, true
	}
	if p := x.pinned[id]; p != nil {
		return p.e.key, true
	}
	return nil, false
}

// pin keeps the objects of ours that raw, which is scanned, mentions. It is false if there are
// none. unpin follows, with the same bytes.
func (x *exports) pin(raw []byte) (some bool) {
	_ = jelly.EachRef(raw, func(r jelly.Ref) error { // f gives none, and raw is scanned
		if r.Kind == jelly.RefYours && r.ID >= firstExport {
			some = x.pinOne(r.ID) || some
		}
		return nil
	})
	return some
}

func (x *exports) pinOne(id uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.pinned[id]
	if p == nil {
		e := x.byID[id]
		if e == nil || e.fixed {
			return false
		}
		p = &pin{e: e}
		x.pinned[id] = p
	}
	p.times++
	return true
}

// unpin ends what pin began.
func (x *exports) unpin(raw []byte) {
	_ = jelly.EachRef(raw, func(r jelly.Ref) error { // as in pin
		if r.Kind == jelly.RefYours {
			x.unpinOne(r.ID)
		}
		return nil
	})
}

func (x *exports) unpinOne(id uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if p := x.pinned[id]; p != nil {
		if p.times--; p.times == 0 {
			delete(x.pinned, id)
		}
	}
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

// findAgain is find for the reader, without a lock if the object is the one of
// the call before.
func (x *exports) findAgain(id uint64) *export {
	now := x.changes.Load()
	if x.last == nil || x.last.id != id || x.lastAt != now {
		x.last, x.lastAt = x.find(id), now
	}
	return x.last
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
	if n == 0 {
		return nil, message.WrongValue(message.Release, 3, "count", "1 or more", n)
	}
	if e == nil {
		return nil, message.WrongValue(message.Release, 2, "export", "an object that was sent",
			fmt.Sprintf("%d, which is not exported", id))
	}
	if e.fixed {
		return nil, nil
	}
	if n > e.sent {
		return nil, message.WrongValue(message.Release, 3, "count",
			fmt.Sprintf("1 to %d, which is how often it was sent", e.sent), n)
	}
	e.sent -= n
	if e.sent > 0 {
		return nil, nil
	}
	x.changes.Add(1)
	delete(x.byID, id)
	x.lent--
	if x.byKey[e.key] == e {
		delete(x.byKey, e.key)
		x.orphan(e.key, e.queue)
	}
	return e.obj, nil
}

// sendAgain counts an object that is lent as sent once more.
func (x *exports) sendAgain(id uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	if e != nil {
		e.sent++
	}
	return e != nil
}

func (x *exports) count() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.lent
}

// clear forgets everything at the end of the connection.
func (x *exports) clear(err error) {
	x.mu.Lock()
	x.err = err
	x.changes.Add(1)
	x.byID, x.byKey, x.orphans, x.pinned, x.lent = nil, nil, nil, nil, 0
	x.mu.Unlock()
}

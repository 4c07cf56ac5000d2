package distrib

import (
	"container/list"
	"sync"
	"time"
)

// touchEvery is how often the time at which an entry of an idleTable was last used is noted.
const touchEvery = time.Minute

// An idleTable keeps values until nobody has asked for them for a while. Set idle, and what else is
// needed, before its first use; its methods may be called from several goroutines. While it has
// entries it has a timer, and no goroutine but while entries expire. It ends with close, or by
// itself once all is expired.
type idleTable[K comparable, V any] struct {
	idle time.Duration
	most int // entries; what was used longest ago makes room
	size int // of all entries together; 0: any
	// gone gets what expired or made room, without the lock; nil: nobody hears of it.
	gone func(K, V)

	mu      sync.Mutex
	entries map[K]*list.Element
	order   list.List // of *idleEntry, that which was used longest ago in front
	sum     int       // of their sizes
	timer   *time.Timer
	closed  bool
	running sync.WaitGroup // a timer that expires entries
}

type idleEntry[K comparable, V any] struct {
	key  K
	v    V
	size int
	used time.Time // to touchEvery
}

// find returns the value of k, which counts as use of it.
func (t *idleTable[K, V]) find(k K) (v V, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entry(k, time.Now())
	if e == nil {
		return v, false
	}
	return e.v, true
}

// entry returns what is there of k, and notes that it is used. Needs mu.
func (t *idleTable[K, V]) entry(k K, now time.Time) *idleEntry[K, V] {
	at := t.entries[k]
	if at == nil {
		return nil
	}
	e := at.Value.(*idleEntry[K, V])
	unused := now.Sub(e.used)
	if unused >= t.idle {
		return nil // the timer is late
	}
	if unused >= min(touchEvery, t.idle/4) {
		e.used = now
		t.order.MoveToBack(at)
	}
	return e
}

// change puts what f makes of the value of k in its place, and its size; f runs under the lock. Its
// third result is false where there is to be none. What made room is given to gone.
func (t *idleTable[K, V]) change(k K, f func(old V, ok bool) (v V, size int, keep bool)) {
	now := time.Now()
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	var old V
	e := t.entry(k, now)
	if e != nil {
		old = e.v
	}
	v, size, keep := f(old, e != nil)
	var dropped []*idleEntry[K, V]
	if e == nil {
		if at := t.entries[k]; at != nil {
			dropped = append(dropped, t.remove(at))
		}
	}
	switch {
	case e != nil && keep:
		t.sum += size - e.size
		e.v, e.size = v, size
	case e != nil:
		t.remove(t.entries[k])
	case keep:
		t.insert(&idleEntry[K, V]{key: k, v: v, size: size, used: now})
	}
	for t.over() {
		dropped = append(dropped, t.remove(t.order.Front()))
	}
	t.arm(now)
	t.mu.Unlock()
	t.tell(dropped)
}

// insert needs mu.
func (t *idleTable[K, V]) insert(e *idleEntry[K, V]) {
	if t.entries == nil {
		t.entries = make(map[K]*list.Element)
	}
	t.entries[e.key] = t.order.PushBack(e)
	t.sum += e.size
}

// over says whether something must make room for the rest; what is alone stays. Needs mu.
func (t *idleTable[K, V]) over() bool {
	n := len(t.entries)
	return n > 1 && (t.most > 0 && n > t.most || t.size > 0 && t.sum > t.size)
}

// take removes k and returns what was there.
func (t *idleTable[K, V]) take(k K) (v V, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.entries[k]
	if at == nil {
		return v, false
	}
	return t.remove(at).v, true
}

// takeAll removes those that f picks and returns them; f runs under the lock.
func (t *idleTable[K, V]) takeAll(f func(V) bool) []V {
	t.mu.Lock()
	defer t.mu.Unlock()
	var taken []V
	for at := t.order.Front(); at != nil; {
		next := at.Next()
		if v := at.Value.(*idleEntry[K, V]).v; f(v) {
			taken = append(taken, t.remove(at).v)
		}
		at = next
	}
	return taken
}

// each calls f, under the lock, with all that is there.
func (t *idleTable[K, V]) each(f func(V)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for at := t.order.Front(); at != nil; at = at.Next() {
		f(at.Value.(*idleEntry[K, V]).v)
	}
}

// remove needs mu.
func (t *idleTable[K, V]) remove(at *list.Element) *idleEntry[K, V] {
	e := t.order.Remove(at).(*idleEntry[K, V])
	delete(t.entries, e.key)
	t.sum -= e.size
	return e
}

// arm sets the timer for the entry that was used longest ago, if none runs. Needs mu.
func (t *idleTable[K, V]) arm(now time.Time) {
	front := t.order.Front()
	if front == nil || t.timer != nil || t.closed {
		return
	}
	at := front.Value.(*idleEntry[K, V]).used.Add(t.idle)
	t.timer = time.AfterFunc(max(0, at.Sub(now)), t.expire) // ends when all that expired is told
}

// expire removes what nobody has used for long.
func (t *idleTable[K, V]) expire() {
	now := time.Now()
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	t.running.Add(1)
	defer t.running.Done()
	t.timer = nil
	var dropped []*idleEntry[K, V]
	for at := t.order.Front(); at != nil; at = t.order.Front() {
		if now.Sub(at.Value.(*idleEntry[K, V]).used) < t.idle {
			break
		}
		dropped = append(dropped, t.remove(at))
	}
	t.arm(now)
	t.mu.Unlock()
	t.tell(dropped)
}

func (t *idleTable[K, V]) tell(dropped []*idleEntry[K, V]) {
	if t.gone == nil {
		return
	}
	for _, e := range dropped {
		t.gone(e.key, e.v)
	}
}

// close removes and returns all entries, and waits until gone runs no more. Nothing is kept from
// then on.
func (t *idleTable[K, V]) close() []V {
	t.mu.Lock()
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
	t.mu.Unlock()
	t.running.Wait()
	return t.takeAll(func(V) bool { return true })
}

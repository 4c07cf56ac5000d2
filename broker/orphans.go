package broker

// queue finds or makes the queue of an object. Needs mu.
func (x *exports) queue(key any) *queue {
	if other := x.byKey[key]; other != nil && other.queue != nil {
		return other.queue
	}
	q := x.orphans[key]
	if q == nil {
		return newQueue(x.b)
	}
	delete(x.orphans, key)
	q.mu.Lock()
	q.orphan, q.key = false, nil
	if !q.busy {
		q.rest()
	}
	q.mu.Unlock()
	return q
}

// orphan keeps the queue of an object that is not exported any more until the
// last call in it has had its turn, for the object may be exported again. Needs mu.
func (x *exports) orphan(key any, q *queue) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.slow()
	if !q.busy {
		q.rest()
		return
	}
	q.orphan, q.key = true, key
	x.orphans[key] = q
}

// pushTurn puts in at the end of the queue that its object has by now: since the call
// that it comes from, the object may have been released, and exported again.
func (x *exports) pushTurn(in *Incoming) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := in.export
	in.queue = e.queue
	if now := x.byKey[e.key]; now != nil && now.queue != nil {
		in.queue = now.queue
	} else if q := x.orphans[e.key]; q != nil {
		in.queue = q
	} else if x.err == nil {
		q := e.queue
		q.mu.Lock()
		q.slow()
		q.orphan, q.key = true, e.key
		q.mu.Unlock()
		x.orphans[e.key] = q
	}
	in.queue.push(in)
}

// bury forgets an orphan that is empty.
func (x *exports) bury(q *queue) {
	x.mu.Lock()
	defer x.mu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.orphan && !q.busy && x.orphans[q.key] == q {
		delete(x.orphans, q.key)
	}
}

// forwardKey is the identity of an object of the peer's that it calls through us.
type forwardKey struct{ id uint64 }

// forwarder is an object of the peer's that the peer calls through us: its
// calls go back in their order, so it has a queue too.
func (b *Broker) forwarder(id uint64) *export {
	if b.config.Forward == nil {
		return nil
	}
	obj := b.config.Forward(id)
	if obj == nil {
		return nil
	}
	e := &export{key: obj, obj: obj}
	if obj.Discipline() != Queued {
		return e
	}
	x := &b.exports
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return nil
	}
	key := forwardKey{id}
	if e.queue = x.orphans[key]; e.queue == nil {
		e.queue = newQueue(b)
		e.queue.orphan, e.queue.key = true, key
		e.queue.fast.Store(slowly)
		x.orphans[key] = e.queue
	}
	return e
}

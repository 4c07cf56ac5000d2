package cluster

import (
	"container/list"
	"context"

	"perspective/internal/prefix"
	"perspective/pb"
)

// queue has the calls on one service that wait for a provider, in their order.
// One goroutine makes them. A queue that is empty is given up, and the next call
// that has to wait begins another one.
type queue struct { // all guarded by service.mu
	calls  list.List // of *queued
	making bool      // one that was taken out is being made
	stop   context.CancelFunc
}

// queued is a call in a queue.
type queued struct {
	found func(*pb.RemoteReference, error)
	place *list.Element // nil when it has been taken out; guarded by service.mu
}

// Resolved is the provider's object, if there is one and no call waits.
func (s *service) Resolved() *pb.RemoteReference {
	if s.queue.Load() != nil {
		return nil
	}
	if p := s.current(); p != nil {
		return p.ref
	}
	return nil
}

// Resolve puts a call into the queue.
func (s *service) Resolve(
	found func(*pb.RemoteReference, error),
) (giveUp func(error) error, err error) {
	most := int64(s.c.Waiting)
	if most <= 0 {
		most = DefaultWaiting
	}
	if s.c.queued.Add(1) > most {
		s.c.queued.Add(-1)
		return nil, prefix.Errorf("cluster: service %q: %w: %d calls wait for providers, as many "+
			"as Cluster.Waiting allows",
			s.name, pb.ErrOverloaded, most)
	}
	w := &queued{found: found}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queue.Load()
	if q == nil {
		q = &queue{}
		// ends with the queue, or with the cluster
		if err := s.c.spawn(func() { s.makeCalls(q) }); err != nil {
			s.c.queued.Add(-1)
			return nil, err
		}
		s.queue.Store(q)
	}
	w.place = q.calls.PushBack(w)
	return func(cause error) error { return s.giveUp(q, w, cause) }, nil
}

// giveUp takes a call out of a queue, and says what it failed with.
func (s *service) giveUp(q *queue, w *queued, cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.place == nil {
		return cause
	}
	s.takeLocked(q, w)
	var last error
	if s.search != nil {
		last = s.search.last
	}
	if s.endedLocked(q) && q.stop != nil { // else makeCalls sees that there is nothing to do
		q.stop()
	}
	return s.missed(cause, last)
}

// takeLocked takes a call out of its queue.
func (s *service) takeLocked(q *queue, w *queued) {
	q.calls.Remove(w.place)
	w.place = nil
	s.c.queued.Add(-1)
}

// endedLocked gives a queue up if nothing is left of it, and says whether that is so.
func (s *service) endedLocked(q *queue) bool {
	if q.making || q.calls.Len() > 0 {
		return false
	}
	if s.queue.Load() == q {
		s.queue.Store(nil)
	}
	return true
}

// makeCalls has the calls of a queue made, one after another, until none is left.
func (s *service) makeCalls(q *queue) {
	ctx, stop := context.WithCancel(context.Background()) // the search itself ends with the cluster
	defer stop()
	s.mu.Lock()
	q.stop = stop
	ended := s.endedLocked(q)
	s.mu.Unlock()
	for !ended {
		ref, err := s.Reference(ctx)
		s.mu.Lock()
		var w *queued
		if front := q.calls.Front(); front != nil {
			w = front.Value.(*queued)
			s.takeLocked(q, w)
			q.making = true
		}
		s.mu.Unlock()
		if w != nil {
			w.found(ref, err)
		}
		s.mu.Lock()
		q.making = false
		ended = s.endedLocked(q)
		s.mu.Unlock()
	}
}

var _ pb.Resolver = (*service)(nil)

package pb

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
)

// GoLimit is how many functions given to [Go] run at once in a process. More of
// them wait, in the order they came.
const GoLimit = 256

// Go runs f on a goroutine of its own and returns a Deferred for its result:
// Twisted's deferToThread. It is for work that blocks, and never blocks itself.
//
// The context given to f has the values and the end of ctx but no turn, so waiting with it holds up
// no other call. It ends with ctx, with Cancel of the Deferred, and when f returns. If ctx ends
// before f begins, f is not called. A cancelled Deferred fails at once, while f may still be
// running; f counts until it returns. The Deferred does not keep f alive once f has returned. If f
// panics, the Deferred fails with a [*PanicError].
//
// At most [GoLimit] functions run at once. A function that waits for another Go
// keeps its place meanwhile: GoLimit of them, each waiting for one more, would
// wait for ever.
func Go[T any](ctx context.Context, f func(ctx context.Context) (T, error)) *Deferred[T] {
	ctx, cancel := context.WithCancelCause(withoutTurn(ctx))
	d := &Deferred[T]{}
	job := &goJob{}
	if conn := ConnFrom(ctx); conn != nil {
		job.log = &conn.node.unseen
	}
	job.cancel.Store(&cancel)
	job.run = func() {
		defer cancel(nil)
		d.fire(callGo(ctx, d, f))
	}
	d.setHolder(job)
	goJobs.add(job)
	return d
}

// callGo calls f. If f ends its goroutine it fires d, for it cannot return.
func callGo[T any](
	ctx context.Context, d *Deferred[T], f func(context.Context) (T, error),
) (value T, err error) {
	if ctx.Err() != nil {
		return value, endOf(ctx, "Go")
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		if r := recover(); r != nil {
			err = newPanicError(r)
			return
		}
		var zero T
		d.fire(zero, newPanicError(nil))
	}()
	value, err = f(ctx)
	returned = true
	return value, err
}

// A goJob is the source of a Deferred made by Go.
type goJob struct {
	run    func()                                  // nil once it is called, or never will be
	cancel atomic.Pointer[context.CancelCauseFunc] // nil when the Deferred has fired
	// place is in goJobs.waiting, or nil; guarded by goJobs.mu.
	place *list.Element
	log   *unseenLog // of the node whose method called Go, or nil
}

func (j *goJob) cancelCall(cause error) {
	if cancel := j.cancel.Load(); cancel != nil {
		(*cancel)(cause)
	}
	goJobs.forget(j)
}

func (j *goJob) origin() *unseenLog { return j.log }

// letGo lets go of the context. The function is let go of when it begins.
func (j *goJob) letGo(error) { j.cancel.Store(nil) }

// goJobs counts the functions that run and keeps those that wait. A function
// runs on a goroutine started by its own caller unless it had to wait.
var goJobs goQueue

type goQueue struct {
	mu      sync.Mutex
	running int
	waiting list.List // of *goJob
}

func (q *goQueue) add(j *goJob) {
	q.mu.Lock()
	if q.running >= GoLimit {
		j.place = q.waiting.PushBack(j)
		q.mu.Unlock()
		return
	}
	q.running++
	q.mu.Unlock()
	// Ends when the function returns.
	go q.work(j)
}

// work runs j, which has been counted, and then starts one that waits. That one
// gets a fresh goroutine, for j may have ended this one.
func (q *goQueue) work(j *goJob) {
	defer func() {
		if next := q.next(); next != nil {
			// Ends when the function returns.
			go q.work(next)
		}
	}()
	run := j.run
	j.run = nil
	run()
}

// next returns the one that has waited longest, or gives back the count.
func (q *goQueue) next() *goJob {
	q.mu.Lock()
	defer q.mu.Unlock()
	front := q.waiting.Front()
	if front == nil {
		q.running--
		return nil
	}
	j := q.waiting.Remove(front).(*goJob)
	j.place = nil
	return j
}

// forget takes j out of those that wait.
func (q *goQueue) forget(j *goJob) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if j.place != nil {
		q.waiting.Remove(j.place)
		j.place, j.run = nil, nil
	}
}

package distrib

import (
	"context"
	"io"
	"sync"

	"perspective/pb"
)

// idleWorkers is how many goroutines wait for the next request.
const idleWorkers = 256

// workers run the handlers of one link, each on a goroutine that is used again: its stack has grown to what handlers
// need. The zero value is ready; it ends with Wait.
type workers struct {
	mu    sync.Mutex
	idle  []*worker // the last one was used last, and is warmest
	busy  int
	ended bool
	quiet chan struct{} // closed when busy becomes 0; nil: nobody waits for that
	alive sync.WaitGroup
}

// A worker is a goroutine that runs one handler at a time.
type worker struct {
	jobs    chan job
	answers chan answer // one for each job, given while the handler runs or at its end
}

// A job is one request, with the context of the call that brought it.
type job struct {
	ctx     context.Context //nolint:containedctx // handed from one goroutine to another
	request []byte
	stream  io.ReadCloser // of its body; nil: that is in the request
}

type answer struct {
	b   *[]byte
	err error
}

// do has a worker serve j and returns its answer; the worker may go on after it.
func (ws *workers) do(serve func(job, chan<- answer), j job) (*sealed, error) {
	w := ws.take(serve)
	if w == nil {
		return nil, pb.ErrOverloaded
	}
	w.jobs <- j
	a := <-w.answers
	if a.err != nil {
		return nil, a.err
	}
	return &sealed{a.b}, nil
}

// take finds a worker for a job; nil after Wait.
func (ws *workers) take(serve func(job, chan<- answer)) *worker {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.ended {
		return nil
	}
	ws.busy++
	if n := len(ws.idle); n > 0 {
		w := ws.idle[n-1]
		ws.idle = ws.idle[:n-1]
		return w
	}
	w := &worker{jobs: make(chan job, 1), answers: make(chan answer, 1)}
	ws.alive.Go(func() { w.work(ws, serve) }) // ends when too many are idle, or by Wait
	return w
}

func (w *worker) work(ws *workers, serve func(job, chan<- answer)) {
	for j := range w.jobs {
		if !w.run(ws, serve, j) {
			return
		}
	}
}

// run runs one job, which may end the goroutine by runtime.Goexit.
func (w *worker) run(ws *workers, serve func(job, chan<- answer), j job) (again bool) {
	returned := false
	defer func() { again = ws.done(w, returned) }()
	serve(j, w.answers)
	returned = true
	return false
}

// done takes w back, if its goroutine goes on; false if it is not needed any more.
func (ws *workers) done(w *worker, alive bool) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.busy--; ws.busy == 0 && ws.quiet != nil {
		close(ws.quiet)
		ws.quiet = nil
	}
	if !alive || ws.ended || len(ws.idle) >= idleWorkers {
		return false
	}
	ws.idle = append(ws.idle, w)
	return true
}

// waitIdle waits until no handler runs, or ctx ends.
func (ws *workers) waitIdle(ctx context.Context) {
	ws.mu.Lock()
	if ws.busy == 0 {
		ws.mu.Unlock()
		return
	}
	if ws.quiet == nil {
		ws.quiet = make(chan struct{})
	}
	quiet := ws.quiet
	ws.mu.Unlock()
	select {
	case <-quiet:
	case <-ctx.Done():
	}
}

// Wait lets nothing more begin and waits for what runs.
func (ws *workers) Wait() {
	ws.mu.Lock()
	ws.ended = true
	idle := ws.idle
	ws.idle = nil
	ws.mu.Unlock()
	for _, w := range idle {
		close(w.jobs)
	}
	ws.alive.Wait()
}

package distrib

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"

	"perspective/pb"
)

var errNoStart = errors.New("distrib: the front does not want this request any more")

// A mountObject is what the front calls: one for each link.
type mountObject struct {
	pb.Referenceable
	pb.Concurrent

	handler http.Handler
	log     *slog.Logger
	running handlers

	mu       sync.Mutex
	streamed map[uint64]*responseWriter // by the front's number; those that take a stream
}

func newMountObject(m *Mount) *mountObject {
	return &mountObject{handler: m.handler(), log: m.logger(), streamed: make(map[uint64]*responseWriter)}
}

// RemoteServe serves one request. The answer leaves when the handler ends, or when the response becomes long or is
// flushed; then the handler goes on and the rest takes a stream.
func (o *mountObject) RemoteServe(ctx context.Context, q *request) (*response, error) {
	if q.bits&bitAsk != 0 {
		// The front must know before the handler begins, else it might send the request again.
		if err := o.announce(ctx, q.id); err != nil {
			q.drop()
			return nil, err
		}
	}
	w, r, err := o.open(ctx, q)
	if err != nil {
		q.drop()
		return nil, err
	}
	if !o.running.run(func() { o.serve(w, r) }) { // ends with the handler
		q.drop()
		return nil, pb.ErrOverloaded
	}
	return <-w.answer, nil
}

// announce tells the front that the handler starts.
func (o *mountObject) announce(ctx context.Context, id uint64) error {
	conn := pb.ConnFrom(ctx)
	if conn == nil {
		return errNoStart
	}
	_, err := pb.Do[struct{}](ctx, conn.Root(), "Start", id)
	return err
}

// RemoteCancel says that nobody reads the streamed response any more.
func (o *mountObject) RemoteCancel(_ context.Context, id uint64) error {
	o.mu.Lock()
	w := o.streamed[id]
	o.mu.Unlock()
	if w != nil {
		w.abandon()
	}
	return nil
}

// serve runs the handler and ends the response, however the handler ends.
func (o *mountObject) serve(w *responseWriter, r *http.Request) {
	defer o.end(w, r)
	o.handler.ServeHTTP(w, r)
	w.complete = true
}

func (o *mountObject) end(w *responseWriter, r *http.Request) {
	p := recover()
	if !w.complete && p == nil {
		p = "the handler ended its goroutine" // runtime.Goexit
	}
	switch {
	case p == nil:
		w.finish()
	case p == http.ErrAbortHandler:
		w.abort(true)
	default:
		o.log.Error("handler panicked", "method", r.Method, "target", r.RequestURI, "panic", p, "stack", string(debug.Stack()))
		w.abort(false)
	}
	_ = r.Body.Close() // nobody reads the rest
	w.ctx.end(context.Canceled)
	o.forget(w)
}

// streams keeps a response, to be cancelled by its number.
func (o *mountObject) streams(w *responseWriter) {
	o.mu.Lock()
	o.streamed[w.id] = w
	o.mu.Unlock()
}

// abandon ends the streamed responses of a link that has ended.
func (o *mountObject) abandon() {
	o.mu.Lock()
	all := slices.Collect(maps.Values(o.streamed))
	o.mu.Unlock()
	for _, w := range all {
		w.abandon()
	}
}

func (o *mountObject) forget(w *responseWriter) {
	if w.stream == nil {
		return
	}
	o.mu.Lock()
	delete(o.streamed, w.id)
	o.mu.Unlock()
}

// handlers counts goroutines that run handlers.
type handlers struct {
	mu    sync.Mutex
	n     int
	ended bool
	idle  chan struct{} // closed when n becomes 0; nil: nobody waits
}

// run runs f on a goroutine, which ends with f; not after Wait.
func (h *handlers) run(f func()) bool {
	h.mu.Lock()
	if h.ended {
		h.mu.Unlock()
		return false
	}
	h.n++
	h.mu.Unlock()
	go func() {
		defer h.done()
		f()
	}()
	return true
}

func (h *handlers) done() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n--; h.n == 0 && h.idle != nil {
		close(h.idle)
		h.idle = nil
	}
}

// waitIdle waits until nothing runs, or ctx ends.
func (h *handlers) waitIdle(ctx context.Context) {
	h.mu.Lock()
	if h.n == 0 {
		h.mu.Unlock()
		return
	}
	if h.idle == nil {
		h.idle = make(chan struct{})
	}
	idle := h.idle
	h.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// Wait lets nothing more begin and waits for what runs.
func (h *handlers) Wait() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	h.waitIdle(context.Background())
}

package distrib

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"

	"perspective/pb"
)

var (
	errNoStart = errors.New("distrib: the front does not want this request any more")
	errNoBody  = errors.New("distrib: no such response, or its body was taken")
)

// A mountObject is what the front calls: one for each link.
type mountObject struct {
	pb.Referenceable
	pb.Concurrent

	handler http.Handler
	log     *slog.Logger
	workers workers

	mu       sync.Mutex
	streamed map[uint64]*responseWriter // by the front's number; those that take a stream
}

func newMountObject(m *Mount) *mountObject {
	return &mountObject{handler: m.handler(), log: m.logger(), streamed: make(map[uint64]*responseWriter)}
}

// RemoteServe serves one request whose body, if any, is in it. The answer leaves when the handler ends, or when the
// response becomes long or is flushed; then the handler goes on and the front asks for the rest by RemoteBody.
func (o *mountObject) RemoteServe(ctx context.Context, b []byte) (*sealed, error) {
	return o.workers.do(o.serve, job{ctx, b, nil})
}

// RemoteUpload serves one request whose body is a stream of records.
func (o *mountObject) RemoteUpload(ctx context.Context, b []byte, stream io.ReadCloser) (*sealed, error) {
	return o.workers.do(o.serve, job{ctx, b, stream})
}

// RemoteBody hands over the body of a streamed response, once.
func (o *mountObject) RemoteBody(_ context.Context, id uint64) (io.Reader, error) {
	o.mu.Lock()
	w := o.streamed[id]
	o.mu.Unlock()
	if w == nil || !w.stream.claim() {
		return nil, errNoBody
	}
	return pb.Reader(w.stream), nil
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

// serve runs the handler for one request. The answer is given once, while the handler runs or at its end.
func (o *mountObject) serve(j job, answers chan<- answer) {
	w, r, err := o.begin(j)
	if err != nil {
		if j.stream != nil {
			_ = j.stream.Close() // no handler will read it
		}
		answers <- answer{err: err}
		return
	}
	w.answers = answers
	defer o.end(w, r)
	o.handler.ServeHTTP(w, r)
	w.complete = true
}

// begin makes what the handler gets, and sees to it that the front knows where it must.
func (o *mountObject) begin(j job) (*responseWriter, *http.Request, error) {
	q, body, err := readRequest(j.request)
	if err != nil {
		return nil, nil, err
	}
	w, r, err := o.open(j.ctx, &q, body, j.stream)
	if err == nil && q.bits&bitAsk != 0 {
		// Before the handler begins, else the front might send the request again.
		err = o.announce(j.ctx, q.id)
	}
	return w, r, err
}

// end ends the response, however the handler ended.
func (o *mountObject) end(w *responseWriter, r *http.Request) {
	p := recover()
	if !w.complete && p == nil {
		p = "the handler ended its goroutine" // runtime.Goexit
	}
	switch {
	case p == nil:
		w.finish()
	case isAbort(p):
		w.abort(true)
	default:
		o.log.Error("handler panicked", "method", r.Method, "target", r.RequestURI, "panic", p, "stack", string(debug.Stack()))
		w.abort(false)
	}
	_ = r.Body.Close() // nobody reads the rest
	w.ctx.end(context.Canceled)
	o.forget(w)
}

// isAbort says whether a handler panicked to break the connection off, as net/http lets it.
func isAbort(p any) bool {
	err, ok := p.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
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

package distrib

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"perspective/internal/guard"
	"perspective/internal/lines"
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

	handler  http.Handler
	sessions *Sessions
	log      *slog.Logger
	handlers handlers
	files    *fileSender // nil: files go over the link
	replaced atomic.Bool // another link serves in place of this one

	mu       sync.Mutex
	streamed map[uint64]*responseWriter // by the front's number; those that take a stream
}

func newMountObject(m *Mount) *mountObject {
	return &mountObject{
		handler:  m.handler(),
		sessions: cmp.Or(m.Sessions, &m.sessions),
		log:      m.logger(),
		streamed: make(map[uint64]*responseWriter),
	}
}

// RemoteServe serves one request whose body, if any, is in it. The answer leaves when the handler
// ends, or when the response becomes long or is flushed; then the handler goes on and the front
// asks for the rest by RemoteBody.
func (o *mountObject) RemoteServe(ctx context.Context, b []byte) (*sealed, error) {
	return o.serve(ctx, b, nil)
}

// RemoteOnce is RemoteServe for what must not be done twice: the front hears first that the handler
// starts. It is a method of its own because it waits for that, and a method that never waits is
// cheaper to call.
func (o *mountObject) RemoteOnce(ctx context.Context, b []byte) (*sealed, error) {
	return o.serve(ctx, b, nil)
}

// RemoteUpload serves one request whose body is a stream of records.
func (o *mountObject) RemoteUpload(
	ctx context.Context, b []byte, stream io.ReadCloser,
) (*sealed, error) {
	return o.serve(ctx, b, stream)
}

// RemoteBody hands over the body of a streamed response, once.
func (o *mountObject) RemoteBody(_ context.Context, id uint64) (io.Reader, error) {
	o.mu.Lock()
	w := o.streamed[id]
	o.mu.Unlock()
	if w == nil || w.stream == nil || !w.stream.claim() {
		return nil, errNoBody
	}
	return pb.Reader(w.stream), nil
}

// RemoteTunnel hands over the byte stream behind a 101, once.
func (o *mountObject) RemoteTunnel(_ context.Context, id uint64) (io.ReadWriteCloser, error) {
	o.mu.Lock()
	w := o.streamed[id]
	o.mu.Unlock()
	if w == nil || w.hijacked == nil || !w.hijacked.claim() {
		return nil, errNoBody
	}
	return pb.Duplex(w.hijacked.carry), nil
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

// RemoteReplaced says that another link serves in place of this one, which gets no more requests
// and is closed when those under way have ended.
func (o *mountObject) RemoteReplaced(context.Context) error {
	o.replaced.Store(true)
	return nil
}

// serve runs the handler for one request on the goroutine of the call. What it returns is the
// answer, unless that was given before.
func (o *mountObject) serve(ctx context.Context, b []byte, stream io.ReadCloser) (*sealed, error) {
	if !o.handlers.enter() {
		closeStream(stream)
		return nil, pb.ErrOverloaded
	}
	defer o.handlers.leave()
	w, err := o.begin(ctx, b, stream)
	if err != nil {
		closeStream(stream) // no handler will read it
		return nil, err
	}
	o.run(w)
	return w.answer(), nil
}

func closeStream(stream io.ReadCloser) {
	if stream != nil {
		_ = stream.Close() // nothing is lost
	}
}

func (o *mountObject) run(w *responseWriter) {
	defer o.end(w)
	o.handler.ServeHTTP(w, &w.request)
	w.complete = true
}

// begin makes what the handler gets, and sees to it that the front knows where it must.
func (o *mountObject) begin(
	ctx context.Context, b []byte, stream io.ReadCloser,
) (*responseWriter, error) {
	q, body, err := readRequest(b)
	if err != nil {
		return nil, err
	}
	w, err := o.open(ctx, &q, body, stream)
	// Before the handler begins, else the front might send the request again.
	switch {
	case err != nil:
	case q.bits&bitTell != 0:
		err = pb.NoteWritten(ctx, noteStarted)
	case q.bits&bitAsk != 0:
		err = o.announce(ctx, q.id)
	}
	return w, err
}

// end ends the response, however the handler ended.
func (o *mountObject) end(w *responseWriter) {
	p := recover()
	exits := !w.complete && p == nil // runtime.Goexit
	switch {
	case w.hijacked != nil:
		o.endHijacked(w, p)
	case w.complete:
		w.finish()
	case isAbort(p):
		w.abort(true)
	default:
		o.fault(w, p)
		w.abort(false)
	}
	if exits || w.upload != nil {
		// Nothing is returned, or else the front would see the body's end before the answer.
		_ = w.reply()
	}
	if form := w.request.MultipartForm; form != nil {
		_ = form.RemoveAll() // as net/http does; a handler that kept a file has it open
	}
	_ = w.request.Body.Close() // nobody reads the rest
	w.ctx.end(context.Canceled)
	o.forget(w)
}

// fault logs a panic or a Goexit of a handler.
func (o *mountObject) fault(w *responseWriter, p any) {
	r := &w.request
	lines.Fault(context.Background(), o.log, "handler", guard.Recovered(p), "method", r.Method,
		"target", r.RequestURI, "request_id", w.requestID)
}

// endHijacked waits for the end of a connection that the handler took over.
func (o *mountObject) endHijacked(w *responseWriter, p any) {
	c := w.hijacked
	switch {
	case w.complete:
		c.handlerReturned()
	case isAbort(p):
		c.abort()
	default:
		o.fault(w, p)
		c.abort()
	}
	c.await()
	if !w.committed { // it was closed before there was a head
		w.commit(&response{status: statusAbort, length: -1})
	}
}

// isAbort says whether a handler panicked to break the connection off, as net/http lets it.
func isAbort(p any) bool {
	err, ok := p.(error)
	//nolint:errorlint // others may have methods of the program's
	if !ok || err == http.ErrAbortHandler {
		return ok
	}
	abort := false
	_ = guard.Run(func() error { // what its methods do is no worse than what the handler did
		abort = errors.Is(err, http.ErrAbortHandler)
		return nil
	})
	return abort
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
	if w.stream == nil && w.hijacked == nil {
		return
	}
	o.mu.Lock()
	delete(o.streamed, w.id)
	o.mu.Unlock()
}

package distrib

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"perspective/internal/guard"
	"perspective/internal/lines"
)

// An observed is a request that somebody wants to be told of, and the writer of its answer. The
// methods of a nil *observed but for the writer's do nothing.
type observed struct {
	http.ResponseWriter

	record Record
	body   *clientBody
	ready  time.Time // for its handler
	sent   time.Time
	headed time.Time // the answer's head had come
	gone   bool      // the client takes no more

	hijacked bool
}

// mounted notes where the request goes.
func (o *observed) mounted(name string) {
	if o != nil {
		o.record.Mount = name
	}
}

// belongsTo notes who is logged in.
func (o *observed) belongsTo(name string) {
	if o != nil {
		o.record.User = name
	}
}

// comesFrom notes the client's address.
func (o *observed) comesFrom(addr string) {
	if o != nil {
		o.record.Client = addr
	}
}

// reads notes where the request's body comes from.
func (o *observed) reads(b *clientBody) {
	if o != nil && b != nil {
		o.body = b
	}
}

// queues notes that the request is ready for its handler.
func (o *observed) queues() {
	if o != nil && o.ready.IsZero() {
		o.ready = time.Now()
	}
}

// sends notes that the request goes to its handler, in which instance. It may go there again.
func (o *observed) sends(instance string) {
	if o != nil {
		o.record.Instance = instance
		o.sent, o.headed = time.Now(), time.Time{}
		o.record.Sent++
	}
}

// handles notes that a handler of the front's own begins.
func (o *observed) handles() {
	if o != nil {
		o.ready = time.Now()
		o.sent = o.ready
	}
}

// answers notes that the answer's head has come.
func (o *observed) answers() {
	if o != nil && !o.sent.IsZero() && o.headed.IsZero() {
		o.headed = time.Now()
	}
}

// ends notes how the request ended. The first word counts.
func (o *observed) ends(how Outcome, why error) {
	if o == nil || o.record.Outcome != "" {
		return
	}
	o.record.Outcome, o.record.Err = how, why
	if how == Complete && !o.hijacked {
		o.begins(http.StatusOK) // the server's for a handler that said nothing
	}
}

// WriteHeader notes the status.
func (o *observed) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		o.begins(status)
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *observed) begins(status int) {
	if o.record.Status == 0 {
		o.record.Status = status
		o.answers()
	}
}

// Write counts.
func (o *observed) Write(b []byte) (int, error) {
	o.begins(http.StatusOK)
	n, err := o.ResponseWriter.Write(b)
	o.wrote(int64(n), err)
	return n, err
}

// ReadFrom lets the server send a file without copying it.
func (o *observed) ReadFrom(r io.Reader) (int64, error) {
	o.begins(http.StatusOK)
	n, err := io.Copy(o.ResponseWriter, r)
	o.wrote(n, nil) // the error may be the reader's
	return n, err
}

func (o *observed) wrote(n int64, err error) {
	o.record.ResponseBytes += n
	if err != nil && !errors.Is(err, http.ErrBodyNotAllowed) &&
		!errors.Is(err, http.ErrContentLength) && !errors.Is(err, http.ErrHijacked) {
		o.gone = true
	}
}

// loses notes that the client takes no more.
func (o *observed) loses() {
	if o != nil {
		o.gone = true
	}
}

// Flush is for handlers of the front's own, which look for it.
func (o *observed) Flush() {
	o.begins(http.StatusOK)
	_ = http.NewResponseController(o.ResponseWriter).Flush() // a lost client shows at a write
}

// Hijack hands the connection over.
func (o *observed) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(o.ResponseWriter).Hijack()
	o.hijacked = o.hijacked || err == nil
	return nc, rw, err
}

// carried notes what a tunnel has carried, and how it ended.
func (o *observed) carried(up, down int64, how Outcome) {
	if o != nil {
		o.record.RequestBytes += up
		o.record.ResponseBytes += down
		o.ends(how, nil)
	}
}

// Unwrap gives http.ResponseController the writer beneath.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// observe begins to look at a request.
func (s *Site) observe(v *visit) *observed {
	o := &observed{ResponseWriter: v.w}
	o.record.Request, o.record.ID, o.record.Trace = v.r, v.mark.id, v.mark.parent
	o.record.Began = time.Now()
	return o
}

// tell tells of a request that is over. It is deferred: a panic that breaks the connection off
// passes through.
func (o *observed) tell(s *Site) {
	now := time.Now()
	rec := &o.record
	rec.Front, rec.Queue, rec.Handler, rec.Write = o.split(now)
	if rec.Client == "" {
		rec.Client = clientOf(rec.Request, s.TrustedProxies).addr
	}
	if o.body != nil {
		rec.RequestBytes = o.body.taken.Load()
	}
	if o.gone || rec.Outcome == "" && rec.Request.Context().Err() != nil {
		rec.Outcome = ClientGone
	}
	o.ends(CutOff, nil)
	// The observer is the program's, and the answer may not have left yet.
	err := guard.Run(func() error {
		s.Observe(rec)
		return nil
	})
	if err != nil {
		lines.Fault(context.WithoutCancel(rec.Request.Context()), s.logger(), "Site.Observe", err)
	}
}

// split says how long the request was where; it is over now.
func (o *observed) split(now time.Time) (front, queue, handler, write time.Duration) {
	last := func(from, to time.Time) time.Duration {
		if to.IsZero() {
			to = now
		}
		return to.Sub(from)
	}
	front = last(o.record.Began, o.ready)
	if o.ready.IsZero() {
		return front, 0, 0, 0
	}
	queue = last(o.ready, o.sent)
	if o.sent.IsZero() {
		return front, queue, 0, 0
	}
	handler = last(o.sent, o.headed)
	if o.headed.IsZero() {
		return front, queue, handler, 0
	}
	return front, queue, handler, now.Sub(o.headed)
}

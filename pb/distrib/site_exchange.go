package distrib

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/adapt"
)

var (
	errHeaderTimeout = errors.New("distrib: the handler took too long")
	errHandlerAbort  = errors.New("distrib: the handler broke the request off")
)

// maxAttempts bounds how often one request is sent while back ends come and go. Only what certainly
// did not start, or may be repeated, is sent more than once.
const maxAttempts = 8

// An exchange is one request of a client's to a back end, and the answer. One goroutine runs it;
// what comes from the link's reader meanwhile goes to started and notes.
type exchange struct {
	visit

	route *route
	back  *backEnd
	ctx   exchangeContext

	req      request
	resp     response
	key      clientKey   // what the client is counted by
	streams  int         // how many it holds for this exchange
	client   *clientBody // the request's body; nil: there is none
	body     []byte      // of it, if it is small
	pooled   *[]byte     // where body lies; nil: there is none
	upload   *upload     // the body, if it takes a stream
	notes    notes
	header   timeout           // to the beginning of the answer
	short    timeout           // to noticing the client's end
	started  atomic.Bool       // the handler has begun, or may have
	repeated bool              // it was sent twice though it may have been executed
	session  newSession        // that the response begins
	began    time.Time         // when it first had to wait
	timer    *time.Timer       // the end of its time; nil: there is none
	upgrade  []string          // the protocols that the client may be switched to
	connect  *websocketConnect // nil: the client does not ask for WebSocket over HTTP/2
}

// serveExchange serves one request by the back end of rt.
func serveExchange(v visit, rt *route, target string) {
	ex := &exchange{visit: v, route: rt, back: rt.back}
	r := v.r
	ex.ctx.request = r.Context() //nolint:fatcontext // ex is new: nothing nests
	defer ex.ctx.release()
	if t := ex.back.limits.ResponseTimeout; t > 0 {
		ex.timer = time.AfterFunc(t, func() { ex.ctx.end(context.DeadlineExceeded) })
		defer ex.timer.Stop()
	}
	defer ex.finish()
	if status := ex.prepare(target); status != 0 {
		ex.seen.ends(outcomeOf(status), nil)
		ex.refuse(status)
		return
	}
	ex.seen.queues()
	if err := ex.back.enter(&ex.ctx, ex.key); err != nil {
		ex.fail(err)
		return
	}
	defer ex.back.leave(ex.key)
	again, err := ex.attempt() //nolint:contextcheck // ex.ctx is made of the request's
	for again {
		again, err = ex.attempt() //nolint:contextcheck // as above
	}
	if err != nil {
		ex.fail(err)
		return
	}
	ex.seen.ends(Complete, nil)
}

// attempt asks and passes the answer on. again says that the client has got nothing and the request
// may be sent again.
func (ex *exchange) attempt() (again bool, err error) {
	l, err := ex.ask()
	if err != nil {
		return false, err
	}
	defer l.leave()
	err = ex.respond(l, &ex.resp)
	return ex.mayAskAgain(err, l), err
}

// prepare makes the request. It returns the status of a refusal, or 0.
func (ex *exchange) prepare(target string) int {
	r, q := ex.r, &ex.req
	rt := ex.site.Login.keeps(ex.route, r)
	c := clientOf(r, ex.site.TrustedProxies)
	ex.key = keyOf(c.addr)
	q.method, q.target, q.host, q.client = r.Method, target, r.Host, c.addr
	ex.seen.comesFrom(c.addr)
	q.bits = protocolBits(r.ProtoMajor, r.ProtoMinor)
	if c.secure {
		q.bits |= bitSecure
	}
	q.session, q.user = ex.site.sessionKeys(&ex.from, rt.Back), ex.from.user()
	var ok bool
	if q.tls = r.TLS; !fitsTLS(q.tls) {
		return http.StatusRequestHeaderFieldsTooLarge
	}
	// Room for the mark too.
	fields := ex.mark.appendTo(make([]string, 0, 2*len(r.Header)+6))
	if q.header, ok = rt.forwardHeader(fields, r); !ok {
		return http.StatusRequestHeaderFieldsTooLarge
	}
	if asksWebSocket(r) {
		ex.translate()
		return 0
	}
	if status := ex.prepareBody(); status != 0 {
		return status
	}
	return ex.offer(asksUpgrade(ex.w, r))
}

// ask sends the request until there is an answer, or an error that repeating does not mend. It
// returns the link that the answer came over, which the caller leaves.
func (ex *exchange) ask() (*link, error) {
	ctx := pb.WithNotes(&ex.ctx, ex.notes.receive)
	for attempt := 1; ; attempt++ {
		l := ex.pick()
		if l == nil {
			var err error
			if l, err = ex.back.link(&ex.ctx, ex.key, ex.hold()); err != nil {
				return nil, err
			}
		}
		if !l.enter() {
			continue // replaced just now
		}
		err := ex.send(ctx, l)
		if err == nil {
			return l, nil // which the caller leaves
		}
		l.leave()
		if cause := ex.ctx.why(); cause != nil {
			return nil, cause
		}
		if errors.Is(err, pb.ErrOverloaded) {
			return nil, errBusy
		}
		if attempt >= maxAttempts || !ex.mayRepeat(err, l) || !ex.rewind() {
			return nil, err
		}
		ex.back.lost(l)
	}
}

// mayRepeat says whether a request that failed because its link ended may be sent again.
func (ex *exchange) mayRepeat(err error, l *link) bool {
	if ex.notes.informed() || errors.Is(err, errHostile) || errors.Is(err, errTooLarge) {
		return false
	}
	switch pb.OutcomeOf(err) { //nolint:exhaustive // what was executed is not repeated
	case pb.NotExecuted:
		// What could not be written fails a little before the link is known to have ended.
		return l.ended() || errors.Is(err, pb.ErrGoingAway) || errors.Is(err, pb.ErrPeerClosed) ||
			errors.Is(err, pb.ErrClosed)
	case pb.MaybeExecuted:
		if !l.ended() {
			return false
		}
		if ex.asksFirst() {
			// What the back end told is certain to have come only if the front has heard it out.
			return !ex.started.Load() && (!l.tells || l.heardOut())
		}
		again := !ex.repeated
		ex.repeated = true
		return again
	}
	return false
}

// mayAskAgain says whether a request that was answered may be sent again: the link ended before a
// byte of a response that streams had come, and the client has got nothing.
func (ex *exchange) mayAskAgain(err error, l *link) bool {
	if err == nil || ex.repeated || ex.asksFirst() || !l.ended() || errors.Is(err, errCutOff) ||
		errors.Is(err, errHostile) ||
		errors.Is(err, errBusy) || ex.ctx.why() != nil || ex.notes.informed() || !ex.rewind() {
		return false
	}
	ex.repeated = true
	ex.back.lost(l)
	return true
}

// send asks once.
func (ex *exchange) send(ctx context.Context, l *link) error {
	id := l.lastID.Add(1)
	ex.req.id = id
	switch {
	case !ex.asksFirst():
	case l.tells:
		ex.req.bits = ex.req.bits&^bitAsk | bitTell
	default:
		ex.req.bits = ex.req.bits&^bitTell | bitAsk
		l.ask(id, ex)
		defer l.unask(id)
	}
	ex.notes.by(l, id)
	ex.seen.sends(l.instance)
	ex.back.headers.start(&ex.header, ex)
	ex.back.clients.start(&ex.short, ex)
	answer, err := ex.call(ctx, l)
	ex.back.headers.clear(&ex.header)
	ex.back.clients.clear(&ex.short)
	if err != nil {
		if ex.ctx.why() != nil {
			l.cancel(id) //nolint:contextcheck // ctx has ended, and the answer may be on its way
		}
		return err
	}
	if err := ex.resp.read(answer); err != nil {
		if errors.Is(err, errTooLarge) {
			l.cancel(id) //nolint:contextcheck // it may have a stream, which nobody asks for
			return err
		}
		err = fmt.Errorf("%w: %w", errHostile, err)
		l.reset(err)
		return err
	}
	ex.seen.answers()
	return nil
}

func (ex *exchange) call(ctx context.Context, l *link) ([]byte, error) {
	e := jelly.GetEncoder()
	defer jelly.PutEncoder(e)
	e.Reset(nil, nil)
	e.EncodeRaw(ex.body)
	ex.req.append(e)
	if ex.upload != nil {
		return pb.Do[[]byte](ctx, l.serve.Load(), "Upload", e.Buffer(), pb.Reader(ex.upload))
	}
	if ex.asksFirst() {
		return adapt.Do1[[]byte](ctx, l.serve.Load(), "Once", e.Buffer())
	}
	return adapt.Do1[[]byte](ctx, l.serve.Load(), "Serve", e.Buffer())
}

// asksFirst says whether the back end must tell the front before the handler starts: every method
// that may not be repeated. A word sent with the answer, or beside it, could be lost with the link
// while the handler ran.
func (ex *exchange) asksFirst() bool {
	switch ex.req.method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	return true
}

// hold returns how long this request may still wait for a back end.
func (ex *exchange) hold() time.Duration {
	if ex.began.IsZero() {
		ex.began = time.Now()
	}
	return ex.back.limits.Hold - time.Since(ex.began)
}

// finish ends what may still touch the request or the writer, which are net/http's from then on.
func (ex *exchange) finish() {
	ex.upload.end()
	ex.notes.end()
	ex.client.linger()
	if ex.pooled != nil {
		putBuffer(ex.pooled)
		ex.pooled, ex.body = nil, nil
	}
	for ; ex.streams > 0; ex.streams-- {
		ex.back.streams.give(ex.key)
	}
}

// stream takes one of the client's streams, until finish.
func (ex *exchange) stream() bool {
	if !ex.back.streams.take(ex.key) {
		return false
	}
	ex.streams++
	return true
}

// settle has the client's connection close after the answer, unless it is certain where the next
// request begins: the body was read to its end, and did not say in two ways where that is. It is
// called before the header is written.
func (ex *exchange) settle() {
	ex.named()
	if ex.client.unread() || unseen(ex.r) {
		ex.w.Header()["Connection"] = []string{"close"}
	}
}

// refuse answers for the front.
func (ex *exchange) refuse(status int) {
	ex.settle()
	ex.answer(status, strings.ToLower(http.StatusText(status)))
}

// fail answers for a back end that did not, or makes the end of the response visible where it has
// begun.
func (ex *exchange) fail(err error) {
	// Ending a read ends the request's context too.
	gone := ex.r.Context().Err() != nil
	ex.upload.end()
	ex.notes.end()
	outcome := ex.outcome(err, gone)
	ex.seen.ends(outcome, err)
	switch outcome {
	case CutOff, ClientGone:
		// The client must not take what it got for the whole. One that has gone need not be told,
		// and an empty answer would be a lie.
		panic(http.ErrAbortHandler)
	case TooSlow:
		ex.refuse(http.StatusRequestTimeout)
	case Away, Busy:
		ex.w.Header()["Retry-After"] = []string{strconv.Itoa(ex.retryAfter())}
		ex.settle()
		why := "service unavailable"
		if !ex.back.serves() {
			why += ": no link to the back end"
		}
		ex.answer(http.StatusServiceUnavailable, why)
	case TimedOut:
		ex.refuse(http.StatusGatewayTimeout)
	default:
		ex.refuse(http.StatusBadGateway)
	}
	ex.back.log.Warn("request failed", "request_id", ex.mark.id, "method", ex.req.method,
		"target", ex.req.target, "err", err)
}

// outcome says what the error about a request makes of it.
func (ex *exchange) outcome(err error, gone bool) Outcome {
	switch {
	case errors.Is(err, errCutOff):
		if gone {
			return ClientGone
		}
		return CutOff
	case ex.client.tooSlow():
		return TooSlow
	case gone:
		return ClientGone
	case errors.Is(err, errAway), errors.Is(err, ErrSiteClosed):
		return Away
	case errors.Is(err, errBusy):
		return Busy
	case errors.Is(err, errHeaderTimeout), errors.Is(err, context.DeadlineExceeded):
		return TimedOut
	}
	return Failed
}

// outcomeOf says what a request is that the front refuses with status.
func outcomeOf(status int) Outcome {
	switch status {
	case http.StatusRequestTimeout:
		return TooSlow
	case http.StatusServiceUnavailable:
		return Busy
	}
	return Refused
}

// retryAfter is in seconds.
func (ex *exchange) retryAfter() int { return max(1, int(ex.back.limits.Hold/time.Second)/2) }

// ended says whether the link's connection is over, or about to be: the calls fail before Done is
// closed.
func (l *link) ended() bool { return l.conn.Err() != nil }

package distrib

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"perspective/pb"
)

// A responseWriter is what a handler writes to. As with net/http's own, one goroutine uses it,
// until the handler returns.
type responseWriter struct {
	object  *mountObject
	request http.Request // lies here with its context, so that they cost nothing each
	ctx     requestContext
	header  http.Header
	id      uint64 // the front's number for the request
	// requestID is its name in logs.
	requestID string
	head      bool   // the method is HEAD
	sealed    sealed // the answer, once it is committed

	sessionKeys []byte    // of the client's session; empty: it came without
	secure      bool      // the client came over TLS
	user        *Identity // who is logged in at the front; nil: nobody

	status    int
	fields    []string  // the header as it was when it was written
	few       [8]string // where fields begins
	typed     bool      // it says what the body is, or that it must not be guessed
	announced []string  // trailers
	length    int64     // announced, or -1
	informed  int       // interim responses
	written   int64
	body      *[]byte // what was written of one that is not streamed yet; nil: nothing
	stream    *responseStream
	deadline  time.Time   // for writing
	block     headerBlock // what the headers make together
	// refused: the front would not take the answer, so the client gets status 500 in its place.
	refused bool
	upload  *requestBody      // the request's body, if it takes a stream
	small   *smallRequestBody // or else if it came with the request
	// guard is held while the answer becomes fixed; nil: no reader of the request's body can do
	// that.
	guard     *sync.Mutex
	offered   []string      // the protocols that the client may be switched to
	hijacked  *hijackedConn // nil: nobody took the connection over
	committed bool          // the answer is fixed
	replied   bool          // and has left before the handler's end
	passed    bool          // its body is a file that the front has
	complete  bool          // the handler returned
	over      bool
}

// Header returns the header that WriteHeader will send; after the body, the trailers in it.
func (w *responseWriter) Header() http.Header { return w.header }

// WriteHeader fixes status and header. An interim status (1xx) is sent at once.
func (w *responseWriter) WriteHeader(status int) {
	w.lock()
	defer w.unlock()
	if w.hijacked == nil {
		w.writeHeader(status)
	}
}

// writeHeader is WriteHeader. Needs guard.
func (w *responseWriter) writeHeader(status int) {
	if status < 100 || status > 999 {
		panic("distrib: invalid status " + strconv.Itoa(status)) // as net/http does
	}
	if w.status != 0 || w.over {
		return
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.inform(status)
		return
	}
	w.status = status
	if to := w.header["Upgrade"]; status == http.StatusSwitchingProtocols &&
		(len(to) != 1 || !listed(w.offered, to[0])) {
		w.block.spoil(errors.New("status 101, and the client asks for no such protocol"))
	}
	w.fields = w.few[:0]
	for name, values := range w.header {
		switch {
		case name == "Content-Length" && len(values) > 0:
			if n, err := strconv.ParseInt(values[0], 10, 64); err == nil && n >= 0 {
				w.length = n
			}
		case name == "Trailer":
			for _, v := range values {
				w.announced = w.block.announce(w.announced, v)
			}
		case strings.HasPrefix(name, http.TrailerPrefix):
		case name == "Date" && len(values) == 0:
			w.fields = append(w.fields, name, "") // there is to be none
		default:
			w.typed = w.typed || name == "Content-Type" || name == "Content-Encoding" ||
				name == "Transfer-Encoding"
			w.fields = w.block.fields(w.fields, name, values)
		}
	}
}

// inform sends an interim response.
func (w *responseWriter) inform(status int) {
	if status < http.StatusProcessing || w.committed || w.informed >= maxInformed {
		return // 100 goes when the body is read
	}
	w.informed++
	var block headerBlock
	var fields []string
	for name, values := range w.header {
		fields = block.fields(fields, name, values)
	}
	w.warnOf(&block)
	if block.wrong != nil {
		return // the client can do without
	}
	note := make([]any, 0, 1+len(fields))
	note = append(note, status)
	for _, s := range fields {
		if utf8.ValidString(s) {
			note = append(note, s)
		} else {
			note = append(note, []byte(s))
		}
	}
	_ = pb.Note(w.ctx.base, note) // nobody may be there to hear it
}

// Write adds to the body.
func (w *responseWriter) Write(p []byte) (int, error) {
	n, first, err := w.add(p)
	if err == nil && first != nil {
		err = w.start(first)
	}
	if err != nil {
		return 0, err
	}
	if n == len(p) {
		return n, nil
	}
	m, err := w.stream.write(p[n:])
	return n + m, err
}

// add keeps what a small body takes of p. Where it becomes a long one, first is what start sends
// before the rest.
func (w *responseWriter) add(p []byte) (n int, first *[]byte, err error) {
	w.lock()
	defer w.unlock()
	if err := w.room(len(p)); err != nil || w.stream != nil {
		return 0, nil, err
	}
	w.keep()
	if w.head { // as much as tells what it is
		*w.body = append(*w.body, p[:min(len(p), max(0, 512-len(*w.body)))]...)
		return len(p), nil, nil
	}
	if len(*w.body)+len(p) <= smallBody {
		*w.body = append(*w.body, p...)
		return len(p), nil, nil
	}
	n = min(len(p), max(0, 512-len(*w.body))) // as much as tells what it is
	*w.body = append(*w.body, p[:n]...)
	first, err = w.open()
	return n, first, err
}

// lock and unlock keep a goroutine that reads the request's body, and so may begin the answer, from
// the one that writes. Nothing that waits for the client is done between them.
func (w *responseWriter) lock() {
	if w.guard != nil {
		w.guard.Lock()
	}
}

func (w *responseWriter) unlock() {
	if w.guard != nil {
		w.guard.Unlock()
	}
}

// WriteString is Write for a string.
func (w *responseWriter) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// room says whether n bytes more of a body may come. Needs guard.
func (w *responseWriter) room(n int) error {
	if err := w.closed(); err != nil {
		return err
	}
	if w.status == 0 {
		w.writeHeader(http.StatusOK)
	}
	if w.status == http.StatusNoContent || w.status == http.StatusNotModified ||
		w.status == http.StatusSwitchingProtocols {
		return http.ErrBodyNotAllowed
	}
	// What is refused counts too, as in net/http: what comes later is not the rest of the body.
	w.written += int64(n)
	if w.length >= 0 && w.written > w.length {
		return http.ErrContentLength
	}
	return nil
}

// closed is why the handler may write no more; nil: it may. Needs guard.
func (w *responseWriter) closed() error {
	switch {
	case w.hijacked != nil:
		return http.ErrHijacked
	case w.over:
		return http.ErrHandlerTimeout
	case w.refused:
		return errRefused
	case w.passed:
		return http.ErrContentLength // the body is whole
	}
	return nil
}

// keep sees to it that there is a buffer.
func (w *responseWriter) keep() {
	if w.body == nil {
		w.body = getBuffer()
	}
}

// ReadFrom copies all of r into the body. A long file that is the whole body goes by its
// descriptor.
func (w *responseWriter) ReadFrom(r io.Reader) (n int64, err error) {
	if w.object.files != nil {
		if n, passed, err := w.passFile(r); passed {
			return n, err
		}
	}
	buf := make([]byte, 32<<10)
	return io.CopyBuffer(struct{ io.Writer }{w}, r, buf)
}

// Flush sends what was written so far.
func (w *responseWriter) Flush() { _ = w.FlushError() }

// FlushError sends what was written so far. The rest of the body takes a stream.
func (w *responseWriter) FlushError() error {
	first, err := w.openToFlush()
	if err == nil && first != nil {
		err = w.start(first)
	}
	if err != nil || w.stream == nil {
		return err
	}
	return w.stream.flush()
}

func (w *responseWriter) openToFlush() (first *[]byte, err error) {
	w.lock()
	defer w.unlock()
	if w.passed {
		return nil, nil
	}
	if err := w.closed(); err != nil {
		return nil, err
	}
	if w.status == 0 {
		w.writeHeader(http.StatusOK)
	}
	if w.stream != nil || w.head || !bodyAllowed("", w.status) {
		return nil, nil // there is nothing that could come later, or it can already
	}
	return w.open()
}

// goOn has the front read the request's body, whose client waits for a word. As in net/http an
// answer that was begun stands in place of that word: it leaves now, for the front's own server
// would still send the word before it.
func (w *responseWriter) goOn() error {
	w.lock()
	begun := w.status != 0 && !w.head && bodyAllowed("", w.status)
	committed, over := w.committed, w.over
	w.unlock()
	switch {
	case over:
		return http.ErrBodyReadAfterClose
	case committed:
		return nil
	case begun:
		return w.FlushError()
	}
	return pb.Note(w.ctx.base, nil)
}

// open fixes the answer, with a stream for the rest of the body, and returns what the stream begins
// with. Needs guard.
func (w *responseWriter) open() (first *[]byte, err error) {
	w.keep()
	first = w.body
	w.body = nil
	w.sniff(*first)
	if w.block.wrong != nil {
		putBuffer(first)
		w.refuse()
		_ = w.reply()               // at once: the handler may go on for long
		w.ctx.end(context.Canceled) // nobody reads what it writes
		return nil, errRefused
	}
	w.stream = newResponseStream(w)
	if !w.deadline.IsZero() {
		w.stream.deadline(w.deadline)
	}
	// In this order: from the first on a cancellation finds the response, and the second tells of
	// one that came before.
	w.object.streams(w)
	if err := w.ctx.detach(); err != nil {
		w.stream.abandon()
		putBuffer(first)
		w.commit(&response{status: statusAbort, length: -1})
		return nil, err
	}
	p := w.response()
	p.streamed = true
	w.commit(p)
	w.stream.writing.Lock() // until start has written what comes first
	return first, nil
}

// start gives the answer that open has fixed.
func (w *responseWriter) start(first *[]byte) error {
	defer putBuffer(first)
	defer w.stream.writing.Unlock()
	pb.Yield(w.ctx.base) // the front's next call is for the stream
	if err := w.reply(); err != nil {
		w.stream.abandon()
		return err
	}
	_, err := w.stream.put(*first)
	return err
}

// finish ends the response of a handler that returned.
func (w *responseWriter) finish() {
	w.lock()
	if w.status == 0 {
		w.writeHeader(http.StatusOK)
	}
	if w.status == http.StatusSwitchingProtocols {
		w.block.spoil(errors.New("status 101 without Hijack"))
	}
	w.over = true // no reader of the request's body begins the answer any more
	w.unlock()
	if w.refused || w.passed {
		return
	}
	if w.stream != nil {
		trailer := w.trailer()
		if w.block.wrong != nil {
			w.warnOf(&w.block)
			w.stream.fail(errRefused)
			return
		}
		w.stream.finish(trailer)
		return
	}
	if !w.deadline.IsZero() && !time.Now().Before(w.deadline) {
		w.abort(true) // as under net/http, where the write that fails is the server's
		return
	}
	w.keep()
	w.sniff(*w.body)
	p := w.response()
	if w.head {
		*w.body = (*w.body)[:0]
	}
	if p.length < 0 && bodyAllowed("", w.status) && (!w.head || w.written > 0) {
		p.length = w.written
	}
	if p.fields = w.trailer(); w.block.wrong != nil {
		w.refuse()
		return
	}
	w.warnOf(&w.block)
	w.commit(p)
}

// errRefused is what a handler gets that writes on after its answer was refused.
var errRefused = errors.New("distrib: the response was refused, its header cannot go to the front")

// refuse gives status 500 in place of an answer that the front would not take, and tells why.
func (w *responseWriter) refuse() {
	w.warnOf(&w.block)
	w.refused = true
	w.internalError()
}

func (w *responseWriter) internalError() {
	w.keep()
	*w.body = append((*w.body)[:0], "internal server error\n"...)
	w.commit(&response{
		status: http.StatusInternalServerError,
		length: -1,
		header: []string{"Content-Type", "text/plain; charset=utf-8",
			"X-Content-Type-Options", "nosniff"},
	})
}

// warnOf tells what of a header does not go to the front.
func (w *responseWriter) warnOf(b *headerBlock) {
	if b.left == 0 && b.wrong == nil {
		return
	}
	args := []any{"method", w.request.Method, "target", cutText(w.request.RequestURI),
		"request_id", w.requestID}
	if b.left > 0 {
		w.object.log.Warn("fields of a response left out, their names are none",
			append(args, "name", cutText(b.bad), "count", b.left)...)
	}
	if b.wrong != nil {
		w.object.log.Warn("response refused", append(args, "status", w.status, "err", b.wrong)...)
	}
}

// abort ends the response of a handler that panicked. Where nothing was answered yet the client
// gets status 500, or the end of its connection if the handler wants that.
func (w *responseWriter) abort(breakOff bool) {
	w.lock()
	w.over = true
	w.unlock()
	switch {
	case w.refused, w.passed:
	case w.stream != nil:
		w.stream.fail(errHandlerAbort)
	case breakOff:
		w.keep()
		*w.body = (*w.body)[:0]
		w.commit(&response{status: statusAbort, length: -1})
	default:
		w.internalError()
	}
}

// abandon ends a streamed response that nobody reads.
func (w *responseWriter) abandon() {
	if w.hijacked != nil {
		w.hijacked.abort()
	}
	if w.stream != nil {
		w.stream.abandon()
	}
}

func (w *responseWriter) response() *response {
	return &response{status: w.status, length: w.length, header: w.fields, trailers: w.announced}
}

func (w *responseWriter) commit(p *response) {
	w.committed = true
	w.keep()
	b := w.body
	w.body = nil
	*b = p.append(*b)
	w.sealed.b = b
}

// reply gives the answer before the call returns. The call's context ends with it.
func (w *responseWriter) reply() error {
	if w.replied {
		return nil
	}
	w.replied = true
	if !w.sealed.long() {
		if err := pb.Reply(w.ctx.base, &w.sealed); err != nil {
			w.sealed.drop()
			return err
		}
		return nil
	}
	// Written from where it lies, which nobody reads any more when Reply returns.
	err := pb.Reply(w.ctx.base, *w.sealed.b)
	w.sealed.drop()
	return err
}

// answer returns what the call is to give; nil if it was answered before, as a long one is.
func (w *responseWriter) answer() *sealed {
	if w.sealed.long() {
		_ = w.reply() // nobody may be there any more
	}
	if w.replied {
		return nil
	}
	return &w.sealed
}

// sniff says what the body is if the handler did not.
func (w *responseWriter) sniff(body []byte) {
	if !w.typed && len(body) > 0 && bodyAllowed("", w.status) {
		w.typed = true
		w.fields = w.block.fields(w.fields, "Content-Type", []string{http.DetectContentType(body)})
	}
}

// trailer returns the trailers, names and values in turn.
func (w *responseWriter) trailer() []string {
	var fields []string
	for _, name := range w.announced {
		fields = w.block.fields(fields, name, w.header[name])
	}
	for name, values := range w.header {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			fields = w.block.fields(fields, http.CanonicalHeaderKey(name), values)
		}
	}
	return fields
}

// EnableFullDuplex does nothing: request and response are independent anyway.
func (w *responseWriter) EnableFullDuplex() error { return nil }

// SetWriteDeadline makes writing fail after t. A small response never waits, and is broken off if
// the handler returns later.
func (w *responseWriter) SetWriteDeadline(t time.Time) error {
	w.lock()
	defer w.unlock()
	if w.hijacked != nil {
		return w.hijacked.SetWriteDeadline(t)
	}
	w.deadline = t
	if w.stream != nil {
		w.stream.deadline(t)
	}
	return nil
}

// SetReadDeadline makes reading the body fail after t, for good if it takes a stream.
func (w *responseWriter) SetReadDeadline(t time.Time) error {
	if w.hijacked != nil {
		return w.hijacked.SetReadDeadline(t)
	}
	if w.small != nil {
		w.small.deadline = t
	}
	if w.upload != nil {
		w.upload.deadline(t)
	}
	return nil
}

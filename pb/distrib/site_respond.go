package distrib

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// chunks are what bodies are copied through. Only what was just read into one is ever written out
// of it.
var chunks = sync.Pool{New: func() any { return new([streamChunk]byte) }}

// giveChunk takes one back; nil: there is none.
func giveChunk(c *[streamChunk]byte) {
	if c != nil {
		chunks.Put(c)
	}
}

// errCutOff is in the errors about a response that the client has got a part of.
var errCutOff = errors.New("distrib: the response was cut off")

// respond writes what the back end answered. After an error without errCutOff nothing was written.
func (ex *exchange) respond(l *link, p *response) (err error) {
	ex.notes.end() // from here on the header is the response's
	if p.streamed {
		defer func() {
			if err != nil {
				l.cancel(ex.req.id) // its body was not asked for, or not read to the end
			}
		}()
	}
	if p.status == http.StatusSwitchingProtocols {
		return ex.switchProtocols(l, p)
	}
	if p.status == statusAbort {
		return fmt.Errorf("%w: %w", errCutOff, errHandlerAbort)
	}
	announced, err := trailerNames(p.trailers)
	if err == nil {
		err = ex.route.copyHeader(ex.w.Header(), p.header)
	}
	if err != nil {
		clear(ex.w.Header())
		l.reset(err)
		return err
	}
	ex.stick(l)
	ex.setSession(ex.w.Header())
	ex.wishes(p.header)
	ex.settle()
	allowed := bodyAllowed(ex.r.Method, p.status)
	if p.file.number != 0 {
		return ex.respondFile(l, p, announced)
	}
	if p.streamed && allowed {
		return ex.respondStream(l, p, announced)
	}
	length := p.frame(ex.w.Header(), ex.r.Method, announced)
	if allowed && int64(len(p.body)) < length {
		return fmt.Errorf("%w: %d of %d bytes", errCutOff, len(p.body), length)
	}
	body := p.body
	if length >= 0 && int64(len(body)) > length {
		body = body[:length]
		if allowed {
			defer l.reset(fmt.Errorf("%w: a body longer than its Content-Length", errHostile))
		}
	}
	if allowed && len(ex.route.Encode) > 0 {
		body = ex.encodeSmall(p, body)
	}
	ex.w.WriteHeader(p.status)
	if !allowed {
		if p.streamed {
			l.cancel(ex.req.id)
		}
		return nil
	}
	if len(body) > 0 {
		if _, err := ex.w.Write(body); err != nil {
			return fmt.Errorf("%w: %w", errCutOff, err)
		}
	}
	return ex.trailer(l, announced, p.fields)
}

// respondStream asks for the body and passes it on.
func (ex *exchange) respondStream(l *link, p *response, announced []string) error {
	if !ex.stream() || !ex.fits(l) {
		clear(ex.w.Header())
		return errBusy
	}
	body, err := askStream[io.ReadCloser](ex, l, "Body")
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // read to its end, or not wanted
	length := p.frame(ex.w.Header(), ex.r.Method, announced)
	to := bodyWriter{w: ex.w}
	if to.encoding = ex.encode(p, length); to.encoding != nil {
		defer to.encoding.done()
		encoded(ex.w.Header(), to.encoding.name)
	}
	return ex.copyStream(l, body, to, p.status, length, announced)
}

// A bodyWriter takes the body of a long response, and compresses it where it has an encoding.
type bodyWriter struct {
	w        http.ResponseWriter
	encoding *encoding
}

func (b bodyWriter) Write(p []byte) (int, error) {
	if b.encoding != nil {
		return b.encoding.Write(p)
	}
	return b.w.Write(p)
}

// flush has the client get what was written. A lost client shows at the next write.
func (b bodyWriter) flush(to *http.ResponseController) {
	if b.encoding != nil {
		_ = b.encoding.Flush()
	}
	_ = to.Flush()
}

// finish ends a body that is whole.
func (b bodyWriter) finish() error {
	if b.encoding != nil {
		return b.encoding.Close()
	}
	return nil
}

// fits reports whether there is room for what one more long response may hold in the link.
func (ex *exchange) fits(l *link) bool {
	return l.conn.Stats().StreamBytes+streamWindow <= ex.back.limits.BodyBytes
}

// wishes does what a handler says by its header about the connection, and about the date.
func (ex *exchange) wishes(fields []string) {
	for i := 0; i+1 < len(fields); i += 2 {
		switch {
		case fields[i] == "Date" && fields[i+1] == "":
			ex.w.Header()["Date"] = nil
		case fields[i] == "Connection" && ex.r.ProtoMajor == 1 &&
			hasToken(fields[i+1:i+2], "close"):
			ex.w.Header()["Connection"] = []string{"close"}
		}
	}
}

func (ex *exchange) trailer(l *link, announced, fields []string) error {
	if len(fields) == 0 {
		return nil
	}
	if err := copyTrailer(ex.w.Header(), announced, fields); err != nil {
		l.reset(err)
		return fmt.Errorf("%w: %w", errCutOff, err)
	}
	return nil
}

// copyStream writes the body of a response that takes a stream. A slow client slows the back end
// down: nothing is read while a write waits.
func (ex *exchange) copyStream(
	l *link, body io.ReadCloser, to bodyWriter, status int, length int64, announced []string,
) error {
	// The client's going, or the end of its time, ends a read that waits.
	ex.ctx.onEnd(func() { _ = body.Close() })
	ex.ctx.follow()
	flusher := http.NewResponseController(ex.w)
	stall := ex.stall(flusher)
	defer stall.clear()
	begun := false
	// Not before something came: until then the request can be sent to another back end.
	begin := func() {
		if !begun {
			begun = true
			ex.w.WriteHeader(status)
			ex.notes.read()
		}
	}
	r := &recordReader{src: body, flush: func() {
		begin()
		stall.begin()
		to.flush(flusher)
		stall.end()
	}}
	// One that waits for the back end, perhaps for long, holds no memory for what comes.
	var buf *[streamChunk]byte
	defer func() { giveChunk(buf) }()
	var written int64
	for {
		var chunk []byte
		n, err := 0, r.await()
		if err == nil {
			if buf == nil {
				buf = chunks.Get().(*[streamChunk]byte)
			}
			chunk = buf[:]
			n, err = r.Read(chunk)
		}
		if !begun && n == 0 && err != nil && !errors.Is(err, io.EOF) && l.ended() {
			clear(ex.w.Header())
			return err
		}
		begin()
		if over := written + int64(n) - length; length >= 0 && over > 0 {
			_, _ = to.Write(chunk[:int64(n)-over])
			_ = to.finish()
			l.reset(fmt.Errorf("%w: a body longer than its Content-Length", errHostile))
			return nil
		}
		if n > 0 {
			written += int64(n)
			stall.begin()
			if _, err := to.Write(chunk[:n]); err != nil {
				return fmt.Errorf("%w: %w", errCutOff, err)
			}
			stall.end()
		}
		if err == nil {
			if r.left == 0 {
				giveChunk(buf)
				buf = nil
			}
			continue
		}
		if !errors.Is(err, io.EOF) {
			if errors.Is(err, errHostile) {
				l.reset(err)
			}
			return fmt.Errorf("%w: %w", errCutOff, err)
		}
		if length >= 0 && written < length {
			return fmt.Errorf("%w: %d of %d bytes", errCutOff, written, length)
		}
		stall.begin()
		if err := to.finish(); err != nil {
			return fmt.Errorf("%w: %w", errCutOff, err)
		}
		return ex.trailer(l, announced, r.trailer)
	}
}

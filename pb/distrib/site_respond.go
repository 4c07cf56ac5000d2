package distrib

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// errCutOff is in the errors about a response that the client has got a part of.
var errCutOff = errors.New("distrib: the response was cut off")

// respond writes what the back end answered. After an error without errCutOff nothing was written.
func (ex *exchange) respond(ctx context.Context, l *link, p *response) error {
	ex.notes.end() // from here on the header is the response's
	defer p.drop()
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
	allowed := bodyAllowed(ex.r.Method, p.status)
	length := p.frame(ex.w.Header(), ex.r.Method, announced)
	if allowed && p.stream == nil && int64(len(p.body)) < length {
		return fmt.Errorf("%w: %d of %d bytes", errCutOff, len(p.body), length)
	}
	ex.w.WriteHeader(p.status)
	if !allowed {
		return nil
	}
	if p.stream != nil {
		return ex.copyStream(ctx, l, p, length, announced)
	}
	body := p.body
	if length >= 0 && int64(len(body)) > length {
		body = body[:length]
		defer l.reset(fmt.Errorf("%w: a body longer than its Content-Length", errHostile))
	}
	if len(body) > 0 {
		if _, err := ex.w.Write(body); err != nil {
			return fmt.Errorf("%w: %w", errCutOff, err)
		}
	}
	return ex.trailer(l, announced, p.fields)
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

// copyStream writes the body of a response that takes a stream. A slow client slows the back end down: nothing is read
// while a write waits.
func (ex *exchange) copyStream(ctx context.Context, l *link, p *response, length int64, announced []string) (err error) {
	defer func() {
		if err != nil {
			l.cancel(ex.req.id) // a stream's end is seen by a handler only when it writes
		}
	}()
	// The client's going, or the end of its time, ends a read that waits.
	stop := context.AfterFunc(ctx, func() { _ = p.stream.Close() })
	defer stop()
	flusher := http.NewResponseController(ex.w)
	r := &recordReader{src: p.stream, flush: func() { _ = flusher.Flush() }} // a lost client shows at the next write
	buf := getBuffer()
	defer putBuffer(buf)
	if cap(*buf) < 32<<10 {
		*buf = make([]byte, 0, 32<<10)
	}
	chunk := (*buf)[:32<<10]
	var written int64
	for {
		n, err := r.Read(chunk)
		if over := written + int64(n) - length; length >= 0 && over > 0 {
			_, _ = ex.w.Write(chunk[:int64(n)-over])
			l.reset(fmt.Errorf("%w: a body longer than its Content-Length", errHostile))
			return nil
		}
		if n > 0 {
			written += int64(n)
			if _, err := ex.w.Write(chunk[:n]); err != nil {
				return fmt.Errorf("%w: %w", errCutOff, err)
			}
		}
		if err == nil {
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
		return ex.trailer(l, announced, r.trailer)
	}
}

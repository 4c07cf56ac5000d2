package distrib

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

// respondFile sends a file that the back end has passed.
func (ex *exchange) respondFile(l *link, p *response, announced []string) (err error) {
	written := false
	defer func() {
		if err != nil && !written {
			clear(ex.w.Header())
		}
	}()
	if l.files == nil {
		err := fmt.Errorf("%w: a file over a link without a socket for it", errHostile)
		l.reset(err)
		return err
	}
	f, err := l.files.claim(p.file.number)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	if !bodyAllowed(ex.r.Method, p.status) {
		p.frame(ex.w.Header(), ex.r.Method, announced)
		written = true
		ex.w.WriteHeader(p.status)
		return nil
	}
	if !ex.stream() {
		return errBusy
	}
	size, err := sizeOfPassed(f)
	if err != nil {
		err = fmt.Errorf("%w: %w", errHostile, err)
		l.reset(err)
		return err
	}
	written = true
	if size < p.file.offset+p.length {
		return fmt.Errorf("%w: the file has %d bytes, and %d from %d on were promised", errCutOff,
			size, p.length, p.file.offset)
	}
	return ex.sendFile(f, p, announced)
}

// sendFile sends the part of the file that is the body. A client that takes nothing of it loses it,
// as with copyStream.
func (ex *exchange) sendFile(f *os.File, p *response, announced []string) error {
	length := p.frame(ex.w.Header(), ex.r.Method, announced)
	to := bodyWriter{w: ex.w}
	if to.encoding = ex.encode(p, length); to.encoding != nil {
		defer to.encoding.done()
		encoded(ex.w.Header(), to.encoding.name)
	}
	ex.ctx.follow()
	stall := ex.stall(http.NewResponseController(ex.w))
	defer stall.clear()
	ex.w.WriteHeader(p.status)
	body := &fileBody{file: f, offset: p.file.offset, left: length, goOn: func() error {
		stall.begin()
		return ex.ctx.why()
	}}
	var err error
	if to.encoding == nil && ex.r.ProtoMajor == 1 {
		_, err = io.Copy(ex.w, body) // which asks the writer's ReadFrom
	} else {
		buf := chunks.Get().(*[streamChunk]byte)
		defer chunks.Put(buf)
		_, err = io.CopyBuffer(struct{ io.Writer }{to}, body, buf[:])
	}
	if err == nil && body.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		stall.begin()
		err = to.finish()
	}
	if err != nil {
		if body.err == nil {
			ex.seen.loses()
		}
		return fmt.Errorf("%w: %w", errCutOff, err)
	}
	return nil
}

// A fileBody reads a part of a file at its place: the file's own position is shared with the back
// end. A file that is too short by now is an error. clientConn sends what is left by itself.
type fileBody struct {
	file         *os.File
	offset, left int64
	goOn         func() error // asked before each part
	err          error        // of the file, or of goOn
}

// Read reads.
func (b *fileBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.EOF
	}
	if b.err = b.goOn(); b.err != nil {
		return 0, b.err
	}
	n, err := b.file.ReadAt(p[:min(int64(len(p)), b.left)], b.offset)
	b.offset, b.left = b.offset+int64(n), b.left-int64(n)
	if n > 0 {
		return n, nil
	}
	if b.err = err; errors.Is(err, io.EOF) {
		b.err = io.ErrUnexpectedEOF
	}
	return 0, b.err
}

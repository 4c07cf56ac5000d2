package distrib

import (
	"context"
	"io"
	"os"
)

// passFile answers with the descriptor of the file that r reads, where that is the whole body and
// long enough. The handler's file stays its own; passed is false where nothing was done.
func (w *responseWriter) passFile(r io.Reader) (n int64, passed bool, err error) {
	limited, _ := r.(*io.LimitedReader)
	if limited != nil {
		r = limited.R
	}
	f, ok := r.(*os.File)
	if !ok || limited != nil && limited.N < leastPassed {
		return 0, false, nil
	}
	w.lock()
	n, offset, ok := w.bodyIn(f, limited)
	if ok {
		w.keep()
		w.sniffFile(f, offset)
	}
	ok = ok && w.block.wrong == nil && w.object.files.send(w.id, f)
	if !ok {
		w.unlock()
		return 0, false, nil
	}
	w.passed, w.written = true, n
	if err = w.ctx.detach(); err == nil {
		p := w.response()
		p.file = filePart{number: w.id, offset: offset}
		w.warnOf(&w.block)
		*w.body = (*w.body)[:0]
		w.commit(p)
	} else {
		w.commit(&response{status: statusAbort, length: -1})
	}
	w.unlock()
	if err == nil {
		// Now, for the handler may go on for long.
		if err = w.reply(); err != nil {
			w.ctx.end(context.Canceled)
		}
	}
	if err != nil {
		return 0, true, err
	}
	if limited != nil {
		limited.N -= n
	}
	_, err = f.Seek(offset+n, io.SeekStart) // as if it had been read
	return n, true, err
}

// bodyIn says which part of the file is the body. Needs guard.
func (w *responseWriter) bodyIn(
	f *os.File, limited *io.LimitedReader,
) (n, offset int64, ok bool) {
	if w.closed() != nil || w.head || w.written > 0 || w.stream != nil || w.committed ||
		w.length < leastPassed && w.status != 0 || !w.deadline.IsZero() {
		return 0, 0, false
	}
	if w.status == 0 {
		w.writeHeader(200)
	}
	if w.length < leastPassed || !bodyAllowed("", w.status) || len(w.announced) > 0 ||
		w.block.wrong != nil {
		return 0, 0, false
	}
	offset, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, 0, false
	}
	info, err := f.Stat()
	if err != nil || info.Size()-offset < w.length {
		return 0, 0, false // a file that has shrunk: what is there is sent, and then the cut
	}
	if limited != nil {
		return w.length, offset, limited.N == w.length
	}
	return w.length, offset, info.Size()-offset == w.length
}

// sniffFile says what the body is if the handler did not. Needs guard.
func (w *responseWriter) sniffFile(f *os.File, offset int64) {
	if w.typed {
		return
	}
	*w.body = append(*w.body, make([]byte, 512)...)
	n, _ := f.ReadAt(*w.body, offset)
	w.sniff((*w.body)[:n])
	*w.body = (*w.body)[:0]
}

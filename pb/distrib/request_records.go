package distrib

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"perspective/jelly"
)

// The body of a request or a response that takes a stream is a row of records: a byte of kind, a
// big-endian length in 4 bytes, and as many bytes. The stream's own end without an end record is a
// body broken off.
const (
	recordData = 1 // a part of the body, never empty
	// recordFlush: nothing more may come for a while, so the front passes on what is there. Two of
	// them have data between.
	recordFlush = 2
	// recordTrailer: an encoded array of names and values, at most one, not empty, after the last
	// data.
	recordTrailer = 3
	recordEnd     = 4 // nothing follows

	recordHead = 5
	maxRecord  = 1 << 20
)

var errBrokenOff = fmt.Errorf("distrib: the body was broken off: %w", io.ErrUnexpectedEOF)

func appendRecordHead(b []byte, kind byte, n int) []byte {
	//nolint:gosec // at most maxRecord
	return binary.BigEndian.AppendUint32(append(b, kind), uint32(n))
}

// appendEnd appends the trailers, if there are any, and the end record.
func appendEnd(b []byte, fields []string) []byte {
	if len(fields) > 0 {
		e := jelly.GetEncoder()
		e.Reset(nil, nil)
		appendTexts(e, fields)
		b = append(appendRecordHead(b, recordTrailer, e.Len()), e.Buffer()...)
		jelly.PutEncoder(e)
	}
	return appendRecordHead(b, recordEnd, 0)
}

// A recordReader reads the body out of its records. One goroutine uses it; Close is the stream's
// own.
type recordReader struct {
	src     io.Reader
	left    int    // of the data record under way
	flush   func() // at each flush record; nil: nothing
	flushed bool   // no data since the last flush record
	trailer []string
	ended   bool
	err     error
	head    [recordHead]byte
}

// Read reads data. io.EOF comes after the end record alone; the trailers are there then.
func (r *recordReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.await(); err != nil {
		return 0, err
	}
	n, err := r.src.Read(p[:min(len(p), r.left)])
	r.left -= n
	if err != nil {
		if r.left > 0 || !errors.Is(err, io.EOF) {
			r.err = brokenOff(err)
		}
		if n == 0 {
			return 0, r.err
		}
	}
	return n, nil
}

// await waits until Read has data. It needs no memory for that.
func (r *recordReader) await() error {
	for r.err == nil && r.left == 0 {
		r.err = r.next()
	}
	return r.err
}

// next reads the head of a record and, but for data, the record.
func (r *recordReader) next() error {
	if _, err := io.ReadFull(r.src, r.head[:]); err != nil {
		return brokenOff(err)
	}
	n := int(binary.BigEndian.Uint32(r.head[1:]))
	// Each record costs its sender data, or comes once: a row of empty ones would cost this side
	// more than the sender.
	switch kind := r.head[0]; {
	case kind == recordData && n > 0 && n <= maxRecord && r.trailer == nil:
		r.left, r.flushed = n, false
		return nil
	case kind == recordFlush && n == 0 && !r.flushed && r.trailer == nil:
		r.flushed = true
		if r.flush != nil {
			r.flush()
		}
		return nil
	case kind == recordTrailer && n <= maxHeaderBytes+8*maxFields && r.trailer == nil:
		return r.readTrailer(n)
	case kind == recordEnd && n == 0:
		r.ended = true
		return io.EOF
	default:
		return fmt.Errorf("%w: record of kind %d and %d bytes", errHostile, kind, n)
	}
}

func (r *recordReader) readTrailer(n int) error {
	b := make([]byte, n)
	if _, err := io.ReadFull(r.src, b); err != nil {
		return brokenOff(err)
	}
	p := newParser(b)
	defer p.free()
	fields := p.fields()
	if err := p.end(); err != nil {
		return fmt.Errorf("%w: %w", errHostile, err)
	}
	if len(fields) == 0 {
		return fmt.Errorf("%w: a record of no trailers", errHostile)
	}
	r.trailer = fields
	return nil
}

// brokenOff keeps the reason of the stream's end; a plain end is one too early.
func brokenOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errBrokenOff
	}
	return fmt.Errorf("%w: %w", errBrokenOff, err)
}

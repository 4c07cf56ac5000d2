package distrib

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"perspective/jelly"
)

// A response is a back end's answer: a MessagePack array
//
//	[status, length, header, trailers, body, fields]
//
// where length is what Content-Length would say, -1 if nothing; trailers are the names announced; body is nil, bytes, or
// a stream of records; fields are the trailers themselves, names and values in turn, of a body that is no stream.
// Status 0 alone says that the handler wants the client's connection broken off.
type response struct {
	status   int
	length   int64
	header   []string // names and values in turn
	trailers []string
	body     []byte
	stream   io.ReadCloser // instead of body
	fields   []string

	pooled   *[]byte // what body lies in; given back when it was written
	unwanted runtime.Cleanup
}

const (
	statusAbort   = 0
	responseItems = 6
)

// AppendJelly writes the response and gives its body's memory back: a response is sent once.
func (p *response) AppendJelly(e *jelly.Encoder) error {
	e.EncodeArrayLen(responseItems)
	e.EncodeInt(int64(p.status))
	e.EncodeInt(p.length)
	appendTexts(e, p.header)
	appendTexts(e, p.trailers)
	if err := appendBody(e, p.body, p.stream); err != nil {
		return err
	}
	appendTexts(e, p.fields)
	p.free()
	return nil
}

// free gives the body's memory back. The body is gone then.
func (p *response) free() {
	if p.pooled != nil {
		putBuffer(p.pooled)
		p.pooled, p.body = nil, nil
	}
}

// ReadJelly reads the response, which is hostile until check has seen it.
func (p *response) ReadJelly(d *jelly.Decoder) (err error) {
	n, err := d.DecodeArrayLen()
	if err != nil {
		return err
	}
	if n != responseItems {
		return fmt.Errorf("distrib: a response of %d items, not %d", n, responseItems)
	}
	status, err := d.DecodeInt()
	if err != nil {
		return err
	}
	if status != statusAbort && (status < 200 || status > 599) {
		return fmt.Errorf("distrib: %d is no status of a response", status)
	}
	p.status = int(status)
	if p.length, err = d.DecodeInt(); err != nil {
		return err
	}
	if p.length < -1 {
		return errors.New("distrib: a negative length")
	}
	if p.header, err = readFields(d); err != nil {
		return err
	}
	if p.trailers, err = readNames(d); err != nil {
		return err
	}
	into := getBuffer()
	if p.body, p.stream, err = readBody(d, (*into)[:0]); p.body != nil {
		*into, p.pooled = p.body, into
	} else {
		putBuffer(into)
	}
	if err != nil {
		return err
	}
	if p.fields, err = readFields(d); err != nil {
		p.drop()
		return err
	}
	if p.stream != nil {
		// An answer that comes after its request was given up is decoded, and handed to nobody.
		p.unwanted = runtime.AddCleanup(p, func(stream io.ReadCloser) { _ = stream.Close() }, p.stream)
	}
	return nil
}

// drop lets go of a response that nobody will write.
func (p *response) drop() {
	p.free()
	if p.stream != nil {
		p.unwanted.Stop()
		_ = p.stream.Close() // nobody reads it
	}
}

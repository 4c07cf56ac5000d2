package distrib

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"

	"perspective/jelly"
)

// A response is a back end's answer, or its beginning; its head is
//
//	[status, length, streamed, header, trailers, fields, number, offset]
//
// where length is what Content-Length would say, -1 if nothing; streamed says that the body is to
// be asked for by Body and there is none here; trailers are the names announced, and fields the
// trailers themselves, names and values in turn, of a body that is not streamed. Status 0 alone
// says that the handler wants the client's connection broken off. Status 101 has neither length nor
// trailers, and what follows it is to be asked for by Tunnel. Number and offset are there where the
// body lies in a file whose descriptor was passed (files.go): length bytes from offset on.
type response struct {
	status   int
	length   int64
	streamed bool
	header   []string // names and values in turn
	trailers []string
	fields   []string
	body     []byte
	file     filePart
}

const (
	statusAbort   = 0
	responseItems = 6
	fileItems     = 2 // more
)

// append puts the response's head behind its body, which is all that b has.
func (p *response) append(b []byte) []byte {
	e := jelly.GetEncoder()
	defer jelly.PutEncoder(e)
	e.Reset(nil, nil)
	if p.file.number == 0 {
		e.EncodeArrayLen(responseItems)
	} else {
		e.EncodeArrayLen(responseItems + fileItems)
	}
	e.EncodeInt(int64(p.status))
	e.EncodeInt(p.length)
	e.EncodeBool(p.streamed)
	appendTexts(e, p.header)
	appendTexts(e, p.trailers)
	appendTexts(e, p.fields)
	if p.file.number != 0 {
		e.EncodeUint(p.file.number)
		e.EncodeInt(p.file.offset)
	}
	seal(e, 0)
	return append(b, e.Buffer()...)
}

// A sealed response is bytes on their way to the front. It is sent once: its memory is used again
// then.
type sealed struct{ b *[]byte }

// AppendJelly writes the bytes.
func (s *sealed) AppendJelly(e *jelly.Encoder) error {
	if s.b == nil {
		return errors.New("distrib: a response is sent once")
	}
	e.EncodeBytes(*s.b)
	s.drop()
	return nil
}

// longAnswer is from how many bytes on an answer is not copied to be sent.
const longAnswer = 8 << 10

func (s *sealed) long() bool { return s.b != nil && len(*s.b) >= longAnswer }

// drop lets go of the memory.
func (s *sealed) drop() {
	putBuffer(s.b)
	s.b = nil
}

// ReadJelly is never called: the front takes the bytes as they are.
func (s *sealed) ReadJelly(d *jelly.Decoder) error {
	b, err := d.DecodeBytes()
	s.b = &b
	return err
}

// buffers is memory for responses, and for bodies of requests. A buffer may have held another one:
// only what was put at its beginning is sent.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func getBuffer() *[]byte { return buffers.Get().(*[]byte) }

// putBuffer takes b back, unless it grew beyond what a small response needs.
func putBuffer(b *[]byte) {
	if cap(*b) <= 2*smallBody {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// read reads a response, which is hostile until its header was checked. Its body lies in b.
func (p *response) read(b []byte) error {
	body, head, err := unseal(b)
	if err != nil {
		return err
	}
	d := newParser(head)
	defer d.free()
	items := d.array()
	if items != responseItems && items != responseItems+fileItems {
		d.fail(fmt.Errorf("distrib: a head of %d items, not %d", items, responseItems))
	}
	*p = response{body: body, status: int(d.int()), length: d.int(), streamed: d.bool()}
	p.header, p.trailers, p.fields = d.fields(), d.names(), d.fields()
	if items > responseItems {
		p.file = filePart{d.uint(), d.int()}
	}
	if err := d.end(); err != nil {
		return err
	}
	if p.status == http.StatusSwitchingProtocols {
		if !p.streamed || p.length >= 0 || len(p.trailers)+len(p.fields) > 0 {
			return errors.New("distrib: status 101 with a body of its own")
		}
	} else if p.status != statusAbort && (p.status < 200 || p.status > 999) {
		return fmt.Errorf("distrib: %d is no status of a response", p.status)
	}
	if p.length < -1 {
		return errors.New("distrib: a negative length")
	}
	if p.streamed && len(body) > 0 {
		return errors.New("distrib: a body beside a stream")
	}
	if items > responseItems {
		return p.checkFile()
	}
	return nil
}

// checkFile says what is wrong with a response whose body is to be in a file.
func (p *response) checkFile() error {
	switch f := p.file; {
	case f.number == 0 || f.offset < 0 || p.length < 0 || f.offset > math.MaxInt64-p.length:
		return errors.New("distrib: a part of a file that cannot be")
	case p.streamed || len(p.body) > 0 || len(p.trailers)+len(p.fields) > 0 ||
		!bodyAllowed("", p.status) || p.status == statusAbort:
		return errors.New("distrib: a file beside another body, or where none may be")
	}
	return nil
}

func (p *parser) bool() bool {
	if p.err != nil {
		return false
	}
	v, err := p.d.DecodeBool()
	p.err = err
	return v
}

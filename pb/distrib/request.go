package distrib

import (
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"perspective/jelly"
	"perspective/pb"
)

// smallBody is the most that a body may be to travel inside its message. A longer one takes a byte stream.
const smallBody = 64 << 10

// A request is what the front asks of a back end: a MessagePack array
//
//	[method, target, host, client, bits, length, id, header, trailers, body]
//
// where id is the front's number for the request on this link, header is names and values in turn, trailers are the names
// announced, and body is nil, bytes, or a stream of records.
type request struct {
	method, target, host string

	client   string // host:port of who asks
	bits     uint64
	length   int64 // of the body, -1 if unknown
	id       uint64
	header   []string // names and values in turn
	trailers []string
	body     []byte
	stream   io.ReadCloser // instead of body

	pooled *[]byte // what body lies in, on the front's side
}

// The bits of a request. The protocol's version stands above them: the major number in bits 16 to 23, the minor below.
const (
	bitSecure    uint64 = 1 << iota // came over TLS
	bitContinue                     // the body is sent when the back end asks for it
	bitAsk                          // the back end must name the id to the front before the handler starts
	protoShift   = 8
	requestItems = 10
)

// AppendJelly writes the request.
func (q *request) AppendJelly(e *jelly.Encoder) error {
	e.EncodeArrayLen(requestItems)
	e.EncodeString(q.method)
	appendText(e, q.target)
	appendText(e, q.host)
	e.EncodeString(q.client)
	e.EncodeUint(q.bits)
	e.EncodeInt(q.length)
	e.EncodeUint(q.id)
	appendTexts(e, q.header)
	appendTexts(e, q.trailers)
	return appendBody(e, q.body, q.stream)
}

// ReadJelly reads the request.
func (q *request) ReadJelly(d *jelly.Decoder) (err error) {
	n, err := d.DecodeArrayLen()
	if err != nil {
		return err
	}
	if n != requestItems {
		return fmt.Errorf("distrib: a request of %d items, not %d", n, requestItems)
	}
	for _, s := range []*string{&q.method, &q.target, &q.host, &q.client} {
		b, err := d.DecodeName()
		if err != nil {
			return err
		}
		*s = string(b)
	}
	if q.bits, err = d.DecodeUint(); err != nil {
		return err
	}
	if q.length, err = d.DecodeInt(); err != nil {
		return err
	}
	if q.id, err = d.DecodeUint(); err != nil {
		return err
	}
	if q.header, err = readFields(d); err != nil {
		return err
	}
	if q.trailers, err = readNames(d); err != nil {
		return err
	}
	q.body, q.stream, err = readBody(d, nil)
	return err
}

// protocol returns the client's version of HTTP.
func (q *request) protocol() (major, minor int) {
	v := q.bits >> protoShift
	return int(v >> 8 & 0xff), int(v & 0xff)
}

func protocolBits(major, minor int) uint64 {
	return uint64(major&0xff)<<(protoShift+8) | uint64(minor&0xff)<<protoShift
}

// appendText writes s, as bytes if it is not UTF-8: HTTP lets any byte above 127 stand in a target or a value.
func appendText(e *jelly.Encoder, s string) {
	if utf8.ValidString(s) {
		e.EncodeString(s)
		return
	}
	e.EncodeBytes([]byte(s))
}

func appendTexts(e *jelly.Encoder, list []string) {
	e.EncodeArrayLen(len(list))
	for _, s := range list {
		appendText(e, s)
	}
}

func appendBody(e *jelly.Encoder, body []byte, stream io.ReadCloser) error {
	if stream != nil {
		return e.Encode(pb.Reader(stream))
	}
	e.EncodeBytes(body)
	return nil
}

// readBody reads bytes, appending them to into, or a stream.
func readBody(d *jelly.Decoder, into []byte) (body []byte, stream io.ReadCloser, err error) {
	switch d.Peek() {
	case jelly.KindNil:
		return nil, nil, d.DecodeNil()
	case jelly.KindRef:
		err = d.Decode(&stream)
		return nil, stream, err
	}
	b, err := d.DecodeName()
	if err != nil {
		return nil, nil, err
	}
	if len(b) > smallBody {
		return nil, nil, errors.New("distrib: a body over 64 KiB that is not a stream")
	}
	return append(into, b...), nil, nil
}

// readFields reads names and values in turn, checking the bounds of a header block before it takes memory. What they
// say is checked elsewhere. Common names cost nothing.
func readFields(d *jelly.Decoder) ([]string, error) {
	n, err := d.DecodeArrayLen()
	if err != nil || n == 0 {
		return nil, err
	}
	if n > 2*maxFields || n%2 != 0 {
		return nil, fmt.Errorf("distrib: a header of %d items, at most %d and even", n, 2*maxFields)
	}
	fields := make([]string, n)
	size := 0
	for i := range fields {
		b, err := d.DecodeName()
		if err != nil {
			return nil, err
		}
		if size += len(b); size > maxHeaderBytes {
			return nil, fmt.Errorf("distrib: a header of over %d bytes", maxHeaderBytes)
		}
		if i%2 == 0 {
			if known, ok := headerNames[string(b)]; ok {
				fields[i] = known.name
				continue
			}
		}
		fields[i] = string(b)
	}
	return fields, nil
}

// readNames reads the names of trailers.
func readNames(d *jelly.Decoder) ([]string, error) {
	n, err := d.DecodeArrayLen()
	if err != nil || n == 0 {
		return nil, err
	}
	if n > maxFields {
		return nil, fmt.Errorf("distrib: %d trailers are announced, at most %d", n, maxFields)
	}
	names := make([]string, n)
	for i := range names {
		b, err := d.DecodeName()
		if err != nil {
			return nil, err
		}
		if len(b) > 256 {
			return nil, errors.New("distrib: the name of a trailer is over 256 bytes")
		}
		names[i] = string(b)
	}
	return names, nil
}

package distrib

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"perspective/jelly"
)

// The front calls a back end's object by seven methods:
//
//	Serve(request) → response            a body of at most 64 KiB, or none
//	Once(request) → response             the same, where the front must hear of the start first
//	Upload(request, stream) → response   a body that takes a stream of records
//	Body(id) → stream                    the rest of a response that takes one, asked for once
//	Tunnel(id) → stream                  both directions behind a 101, asked for once
//	Cancel(id)                           nobody reads the response any more; no answer
//	Replaced()                           another link serves from now on, this one ends when its
//	                                     requests have; no answer
//
// A back end calls three methods of the front's: Ready(name, object, instance), Start(id) and
// Leave(), see gate.
//
// A request and a response are bytes: a body, a head, and the head's length in 4 bytes, big-endian.
// The head is a MessagePack array. So no side copies a body to frame it, and only a side that knows
// the form of the head reads it.
const lengthBytes = 4

// smallBody is the most that a body may be to travel inside its message. A longer one takes a byte
// stream.
const smallBody = 64 << 10

// A request is the head of what the front asks of a back end:
//
//	[method, target, host, client, bits, length, id, header, trailers, TLS, session, user]
//
// where id is the front's number for the request on this link, header is names and values in turn,
// trailers are the names announced, and session is what Site.sessionKeys gives for the mount.
type request struct {
	method, target, host string

	client   string // host:port of the client
	bits     uint64
	length   int64 // of the body, -1 if unknown
	id       uint64
	header   []string // names and values in turn
	trailers []string
	tls      *tls.ConnectionState // nil: there is none
	session  []byte
	user     *Identity // nil: nobody is logged in
}

// The bits of a request. The protocol's version stands above them: the major number in bits 16 to
// 23, the minor below.
const (
	bitSecure   uint64 = 1 << iota // came over TLS
	bitContinue                    // the body is sent when the back end asks for it
	// bitAsk: the back end must name the id to the front before the handler starts.
	bitAsk
	// bitUpgrade: Upgrade in the header says what protocols the client may be switched to.
	bitUpgrade
	// bitTell: the back end must send noteStarted, and see the connection take it, before the
	// handler starts.
	bitTell
	protoShift   = 8
	requestItems = 12
)

// append writes the request behind its body, which is all that e has.
func (q *request) append(e *jelly.Encoder) {
	body := e.Len()
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
	appendTLS(e, q.tls)
	appendBytes(e, q.session)
	appendUser(e, q.user)
	seal(e, body)
}

// readRequest reads a request and returns its body, which lies in b.
func readRequest(b []byte) (q request, body []byte, err error) {
	body, head, err := unseal(b)
	if err != nil {
		return q, nil, err
	}
	p := newParser(head)
	defer p.free()
	p.items(requestItems)
	q.method, q.target, q.host, q.client = p.text(), p.text(), p.text(), p.text()
	q.bits = p.uint()
	q.length = p.int()
	q.id = p.uint()
	q.header = p.fields()
	q.trailers = p.names()
	q.tls = p.tls()
	q.session = p.sessionKeys()
	q.user = p.user()
	return q, body, p.end()
}

// protocol returns the client's version of HTTP.
func (q *request) protocol() (major, minor int) {
	v := q.bits >> protoShift
	return int(v >> 8 & 0xff), int(v & 0xff)
}

func protocolBits(major, minor int) uint64 {
	return uint64(major&0xff)<<(protoShift+8) | uint64(minor&0xff)<<protoShift
}

// seal ends a message whose head begins at body.
func seal(e *jelly.Encoder, body int) {
	n := e.Len() - body
	at := e.Reserve(lengthBytes)
	//nolint:gosec // far below 4 GiB: the bounds of a header block
	binary.BigEndian.PutUint32(e.Buffer()[at:], uint32(n))
}

// unseal cuts a message into its body and its head.
func unseal(b []byte) (body, head []byte, err error) {
	rest := len(b) - lengthBytes
	if rest < 0 {
		return nil, nil, errors.New("distrib: a message without a head")
	}
	n := binary.BigEndian.Uint32(b[rest:])
	if uint64(n) > uint64(rest) {
		return nil, nil, errors.New("distrib: a head longer than its message")
	}
	body = b[: rest-int(n) : rest-int(n)]
	if len(body) > smallBody {
		return nil, nil, errors.New("distrib: a body over 64 KiB that is not a stream")
	}
	return body, b[rest-int(n) : rest], nil
}

// appendText writes s, as bytes if it is not UTF-8: HTTP lets any byte above 127 stand in a target
// or a value.
func appendText(e *jelly.Encoder, s string) {
	if utf8.ValidString(s) {
		e.EncodeString(s)
		return
	}
	e.EncodeBytes([]byte(s))
}

// appendBytes writes b, and an empty text where there are none.
func appendBytes(e *jelly.Encoder, b []byte) {
	if len(b) == 0 {
		e.EncodeString("")
		return
	}
	e.EncodeBytes(b)
}

func appendTexts(e *jelly.Encoder, list []string) {
	e.EncodeArrayLen(len(list))
	for _, s := range list {
		appendText(e, s)
	}
}

// A parser reads a head. What goes wrong is told at the end; until then everything reads as zero.
type parser struct {
	d   *jelly.Decoder
	all string // the head: texts are parts of it, so that they cost nothing each
	err error
}

func newParser(head []byte) parser {
	d := jelly.GetDecoder()
	d.Reset(nil, nil, head, nil)
	return parser{d: d, all: string(head)}
}

func (p *parser) free() { jelly.PutDecoder(p.d) }

func (p *parser) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *parser) items(want int) {
	if n := p.array(); n != want {
		p.fail(fmt.Errorf("distrib: a head of %d items, not %d", n, want))
	}
}

func (p *parser) array() int {
	if p.err != nil {
		return 0
	}
	n, err := p.d.DecodeArrayLen()
	p.err = err
	return n
}

// bytes returns a text as it lies in the message.
func (p *parser) bytes() []byte {
	if p.err != nil {
		return nil
	}
	b, err := p.d.DecodeName()
	p.err = err
	return b
}

// same returns what bytes just returned, as a string.
func (p *parser) same(b []byte) string {
	end := len(p.all) - len(p.d.Remaining())
	return p.all[end-len(b) : end]
}

func (p *parser) text() string { return p.same(p.bytes()) }

func (p *parser) uint() uint64 {
	if p.err != nil {
		return 0
	}
	n, err := p.d.DecodeUint()
	p.err = err
	return n
}

func (p *parser) int() int64 {
	if p.err != nil {
		return 0
	}
	n, err := p.d.DecodeInt()
	p.err = err
	return n
}

// fields reads names and values in turn, checking the bounds of a header block before it takes
// memory. What they say is checked elsewhere.
func (p *parser) fields() []string {
	n := p.array()
	if n == 0 {
		return nil
	}
	if n > 2*maxFields || n%2 != 0 {
		if n%2 == 0 {
			p.fail(fmt.Errorf("%w: a header of %d fields, at most %d", errTooLarge, n/2, maxFields))
		}
		p.fail(fmt.Errorf("distrib: a header of %d items, names and values in turn are even", n))
		return nil
	}
	fields := make([]string, n)
	size := 0
	for i := range fields {
		b := p.bytes()
		if size += len(b); size > maxHeaderBytes {
			p.fail(fmt.Errorf("%w: a header of over %d bytes", errTooLarge, maxHeaderBytes))
			return nil
		}
		fields[i] = p.same(b)
	}
	return fields
}

// names reads the names of trailers.
func (p *parser) names() []string {
	n := p.array()
	if n == 0 {
		return nil
	}
	if n > maxFields {
		p.fail(fmt.Errorf("%w: %d trailers are announced, at most %d", errTooLarge, n, maxFields))
		return nil
	}
	names := make([]string, n)
	for i := range names {
		b := p.bytes()
		if len(b) > maxTrailerName {
			p.fail(fmt.Errorf("%w: the name of a trailer is over %d bytes", errTooLarge,
				maxTrailerName))
			return nil
		}
		names[i] = p.same(b)
	}
	return names
}

const maxTrailerName = 256

// end says what went wrong, if anything did.
func (p *parser) end() error {
	if p.err == nil && p.d.More() {
		p.err = errors.New("distrib: something stands behind the head")
	}
	return p.err
}

package distrib

import (
	"bytes"
	"math"
	"strings"
)

// A framing follows where the requests on one HTTP/1 connection begin and end, on the bytes that
// the server is about to read. net/http takes a request with both Content-Length and
// Transfer-Encoding, or with Transfer-Encoding in HTTP/1.0, and tells nobody of it; before a proxy
// that reads it another way (RFC 9112, 6.1) the rest would be a request that the proxy never saw.
// Of such a request the end of the head is spoilt, so that the server answers 400 and closes. Where
// the two parsers could take different ways the bytes end here: nothing behind the doubt is served.
//
// What a request asks for in Upgrade changes nothing. Its client waits for the 101 (RFC 9110, 7.8),
// which only a handler that hijacks can send; what comes before is HTTP.
//
// The zero value is at the beginning of a connection. One goroutine uses it at a time.
type framing struct {
	state framingState
	begun bool   // a first byte was seen
	line  []byte // the beginning of a line whose rest has not come
	left  uint64 // bytes of the body, or of the chunk
	size  chunkSize

	oldest  bool // HTTP/1.0
	lengths int  // Content-Length fields
	length  uint64
	coded   bool // Transfer-Encoding is there
	chunked bool
	refuse  bool // the head must not be served
	final   bool // the server refuses the head itself
}

type framingState uint8

const (
	inStart   framingState = iota // before a request line
	inHead                        // in its header
	inBody                        // in a body of known length
	inSize                        // in the line before a chunk
	inChunk                       // in a chunk
	inChunkCR                     // behind it
	inChunkLF                     // behind that
	inTrailer                     // behind the last chunk
	// framingOff: not HTTP/1, but TLS, HTTP/2, or a connection that a handler has hijacked.
	framingOff
	framingOver // nothing more is served
)

// A chunkSize reads the line before a chunk.
type chunkSize struct {
	n      uint64
	digits int
	// state is 0 in the digits, ' ' in blanks behind them, ';' in an extension, '\r' behind the
	// carriage return.
	state byte
}

const (
	// maxFramingLine is more than net/http takes by default, so that it is the one to refuse what
	// is longer.
	maxFramingLine = 1<<20 + 8<<10
	tlsHandshake   = 0x16
)

// spoil ends a head so that it is none: a line without a colon.
const spoil = "?\r\n\r\n"

// feed follows p, which comes next. It returns how much of p the server may see, and what it is to
// see behind that before the connection ends; over says that it ends there.
func (f *framing) feed(p []byte) (n int, behind string, over bool) {
	if !f.begun && len(p) > 0 {
		f.begun = true
		if p[0] == tlsHandshake {
			f.state = framingOff
		}
	}
	for n < len(p) {
		switch f.state {
		case framingOff:
			return len(p), "", false
		case framingOver:
			return n, "", true
		case inStart, inHead:
			k, ended := f.headLine(p[n:])
			n += k
			if !ended {
				continue
			}
			if f.refuse {
				f.state = framingOver
				return n - 1, spoil, true // in place of the head's last byte
			}
		case inBody, inChunk:
			k := min(uint64(len(p)-n), f.left)
			n += int(k) //nolint:gosec // at most len(p)
			if f.left -= k; f.left == 0 {
				f.state = map[framingState]framingState{inBody: inStart,
					inChunk: inChunkCR}[f.state]
			}
		default:
			f.chunkByte(p[n])
			n++
		}
	}
	return n, "", f.state == framingOver
}

// headLine reads on in the line of a head. ended says that the head is over.
func (f *framing) headLine(p []byte) (n int, ended bool) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		if len(f.line)+len(p) > maxFramingLine {
			f.state = framingOver
			return len(p), false
		}
		f.line = append(f.line, p...)
		return len(p), false
	}
	line := p[:i]
	if len(f.line) > 0 {
		f.line = append(f.line, line...)
		line, f.line = f.line, f.line[:0]
	}
	line = bytes.TrimSuffix(line, []byte("\r"))
	switch {
	case len(line) > 0 && f.state == inStart:
		f.requestLine(line)
	case len(line) > 0:
		f.field(line)
	case f.state == inHead:
		f.endHead()
		return i + 1, true
	}
	return i + 1, false
}

func (f *framing) requestLine(line []byte) {
	line = bytes.TrimLeft(line, "\r")
	*f = framing{begun: true, state: inHead, line: f.line}
	version := line[bytes.LastIndexByte(line, ' ')+1:]
	switch {
	case len(version) != len("HTTP/1.1") || !bytes.HasPrefix(version, []byte("HTTP/1.")):
		f.final = true
		if bytes.Equal(line, []byte("PRI * HTTP/2.0")) {
			f.state = framingOff // the server serves it as HTTP/2, or not at all
		}
	case version[7] == '0':
		f.oldest = true
	case version[7] < '0' || version[7] > '9':
		f.final = true
	}
}

func (f *framing) field(line []byte) {
	if line[0] == ' ' || line[0] == '\t' {
		// A folded line (obs-fold), which RFC 9112, 5.2 forbids: not all readers take it for the
		// same.
		f.refuse = true
		return
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		f.final = true
		return
	}
	switch {
	case len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")):
		f.contentLength(bytes.Trim(value, " \t"))
	case len(name) == len("Transfer-Encoding") &&
		bytes.EqualFold(name, []byte("Transfer-Encoding")):
		f.final = f.final || f.coded
		f.coded = true
		f.chunked = strings.EqualFold(string(bytes.Trim(value, " \t")), "chunked")
	}
}

func (f *framing) contentLength(value []byte) {
	var n uint64
	for _, c := range value {
		if c < '0' || c > '9' || n > (math.MaxInt64-9)/10 {
			f.final = true
			return
		}
		n = 10*n + uint64(c-'0')
	}
	if len(value) == 0 || f.lengths > 0 && n != f.length {
		f.final = true
		return
	}
	f.lengths++
	f.length = n
}

// endHead decides what follows the head.
func (f *framing) endHead() {
	switch {
	case f.coded && (f.oldest || f.lengths > 0):
		f.refuse = true
	case f.refuse:
	case f.final, f.coded && !f.chunked:
		f.state = framingOver // the server says why
	case f.chunked:
		f.state, f.size = inSize, chunkSize{}
	case f.length > 0:
		f.state, f.left = inBody, f.length
	default:
		f.state = inStart
	}
}

// chunkByte reads what stands around chunks.
func (f *framing) chunkByte(c byte) {
	switch f.state { //nolint:exhaustive // what stands elsewhere is not its own
	case inSize:
		f.sizeByte(c)
	case inChunkCR:
		f.expect(c, '\r', inChunkLF)
	case inChunkLF:
		f.expect(c, '\n', inSize)
		f.size = chunkSize{}
	case inTrailer:
		f.trailerByte(c)
	}
}

func (f *framing) expect(c, want byte, next framingState) {
	if f.state = next; c != want {
		f.state = framingOver
	}
}

func (f *framing) sizeByte(c byte) {
	s := &f.size
	switch {
	case s.state == '\r':
		if c != '\n' || s.digits == 0 {
			f.state = framingOver
			return
		}
		f.left, f.state = s.n, inChunk
		if s.n == 0 {
			f.state = inTrailer
		}
	case c == '\r':
		s.state = '\r'
	case c == '\n':
		f.state = framingOver
	case s.state == ';':
	case c == ';' && s.state == 0:
		s.state = ';'
	case c == ' ' || c == '\t':
		s.state = ' '
	default:
		digit := strings.IndexByte("0123456789abcdef", c|0x20)
		if c < '0' || digit < 0 || s.state != 0 || s.digits == 16 {
			f.state = framingOver
			return
		}
		s.n = s.n<<4 | uint64(digit)
		s.digits++
	}
}

// trailerByte looks for the empty line. Each line must end with both bytes.
func (f *framing) trailerByte(c byte) {
	switch last := len(f.line) - 1; {
	case c == '\n' && (last < 0 || f.line[last] != '\r'):
		f.state = framingOver
	case c == '\n' && last == 0:
		f.state, f.line = inStart, f.line[:0]
	case c == '\n':
		f.line = f.line[:0]
	case len(f.line) == maxHeaderBytes:
		f.state = framingOver
	default:
		f.line = append(f.line, c)
	}
}

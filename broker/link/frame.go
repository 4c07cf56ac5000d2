package link

import (
	"encoding/binary"

	"perspective/broker/message"
)

// The frames of yamux's spec.md: version, type, flags (2 bytes), stream id
// (4), length (4), all big-endian. Length is the payload's of a data frame,
// the grant's of a window frame, an opaque value of a ping, a code of a go away.
const (
	headerSize = 12

	frameData   = 0
	frameWindow = 1
	framePing   = 2
	frameGoAway = 3

	flagSYN = 1
	flagACK = 2
	flagFIN = 4
	flagRST = 8

	// callStream is the id of the stream that carries the messages.
	callStream = 1
)

type header struct {
	kind   byte
	flags  uint16
	stream uint32
	length uint32
}

func appendHeader(b []byte, h header) []byte {
	b = append(b, 0, h.kind)
	b = binary.BigEndian.AppendUint16(b, h.flags)
	b = binary.BigEndian.AppendUint32(b, h.stream)
	return binary.BigEndian.AppendUint32(b, h.length)
}

// putHeader writes h over the first headerSize bytes of b.
func putHeader(b []byte, h header) {
	b[0], b[1] = 0, h.kind
	binary.BigEndian.PutUint16(b[2:], h.flags)
	binary.BigEndian.PutUint32(b[4:], h.stream)
	binary.BigEndian.PutUint32(b[8:], h.length)
}

// parseHeader reads a header; only the version and the type are checked.
func parseHeader(b []byte) (header, error) {
	h := header{
		kind:   b[1],
		flags:  binary.BigEndian.Uint16(b[2:]),
		stream: binary.BigEndian.Uint32(b[4:]),
		length: binary.BigEndian.Uint32(b[8:]),
	}
	if b[0] != 0 {
		return h, message.Violation("frame of yamux version %d", b[0])
	}
	if h.kind > frameGoAway || h.flags&^(flagSYN|flagACK|flagFIN|flagRST) != 0 {
		return h, message.Violation("frame of type %d with flags %#x", h.kind, h.flags)
	}
	return h, nil
}

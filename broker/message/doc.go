// Package message writes and reads the messages of the native wire, each kind in one place
// (docs/wire-native.md, section 5). It knows what a message looks like and nothing of what it
// does: no table, no connection, no goroutine. Everything here may be called by several
// goroutines at once, each with its own Encoder or Decoder.
//
// A message is the array [type, q, …] with four bytes of length in front. The functions that
// write leave the length to the sender of the message, which knows it only then (PutLength).
// Those that read are given a Decoder over bytes that jelly.Scan has found well formed, and end
// with a *ProtocolError that names the message, the element, what was wanted and what stood
// there.
package message

import (
	"encoding/binary"
	"strconv"

	"perspective/jelly"
)

// A Kind is a message's first element. The numbers are the wire's, and none is ever used again
// for something else.
type Kind byte

// The kinds, with the elements that each has.
const (
	Call Kind = 1 // [1, q, flags, target, method, (deadline, depth, trace, token,)? arguments]
	// Return is [2, q, value] or [2, q, nil, error] or [2, q, nil, error, 1 if not executed].
	Return  Kind = 2
	Finish  Kind = 3  // [3, q]
	Note    Kind = 4  // [4, q, value]
	Part    Kind = 5  // [5, 0, n, last, bytes]
	Release Kind = 6  // [6, 0, export, count]
	Resolve Kind = 7  // [7, 0, export, ref] or [7, 0, export, nil, error]
	Credit  Kind = 8  // [8, 0, calls, bytes]
	Stop    Kind = 9  // [9, 0, stream]
	Ping    Kind = 10 // [10, 0, number]
	Pong    Kind = 11 // [11, 0, number]
	GoAway  Kind = 12 // [12, 0]
	Abort   Kind = 13 // [13, 0, reason]
)

var names = [...]string{
	Call:    "CALL",
	Return:  "RETURN",
	Finish:  "FINISH",
	Note:    "NOTE",
	Part:    "PART",
	Release: "RELEASE",
	Resolve: "RESOLVE",
	Credit:  "CREDIT",
	Stop:    "STOP",
	Ping:    "PING",
	Pong:    "PONG",
	GoAway:  "GOAWAY",
	Abort:   "ABORT",
}

// String gives the name that the specification uses.
func (k Kind) String() string {
	if int(k) < len(names) && k > 0 {
		return names[k]
	}
	return "message"
}

// LengthSize is how many bytes of length stand before each message.
const LengthSize = 4

// PutLength writes the length of a message of size bytes, these four included, in front of it.
// msg is its beginning.
func PutLength(msg []byte, size int) {
	//nolint:gosec // Limits.Message is under 4 GiB
	binary.BigEndian.PutUint32(msg, uint32(size-LengthSize))
}

// begin starts a message of n elements. q always takes 5 bytes, so that SetQ can fill it in when
// the message is about to leave.
func begin(e *jelly.Encoder, n int, kind Kind, q uint32) {
	e.EncodeRaw([]byte{
		0, 0, 0, 0,
		0x90 | byte(n), //nolint:gosec // at most 10
		byte(kind),
		0xce, byte(q >> 24), byte(q >> 16), byte(q >> 8), byte(q), //nolint:gosec // its bytes
	})
}

// SetQ fills in the number of a CALL that EncodeCall began.
func SetQ(msg []byte, q uint32) { binary.BigEndian.PutUint32(msg[LengthSize+3:], q) }

// A Head is what every message begins with.
type Head struct {
	Elements int // of the array
	Kind     Kind
	Q        uint32
}

// DecodeHead reads type and q.
func DecodeHead(d *jelly.Decoder) (h Head, err error) {
	if h.Elements, err = d.DecodeArrayLen(); err != nil {
		return h, Violation("message: want array [type, q, …], got %s", Standing(d))
	}
	if h.Elements < 2 {
		return h, Violation("message: want array [type, q, …], got array of %d", h.Elements)
	}
	k, err := d.DecodeUint()
	if err != nil || k == 0 || k > uint64(Abort) {
		got := Standing(d)
		if err == nil {
			got = strconv.FormatUint(k, 10)
		}
		return h, Violation("message: element 0, message type: want 1 to %d, got %s",
			byte(Abort), got)
	}
	h.Kind = Kind(k)
	h.Q, err = DecodeID(d, h.Kind, 1, "q")
	return h, err
}

// PeekHead is DecodeHead for a message that may be cut off or malformed behind its head.
func PeekHead(raw []byte) (Head, error) {
	d := new(jelly.Decoder)
	d.Reset(nil, nil, raw, nil)
	return DecodeHead(d)
}

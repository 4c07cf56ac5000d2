package broker

import (
	"encoding/binary"
	"time"

	"perspective/jelly"
)

// The messages. Each is an array [type, q, …], 4 bytes of length in front.
// The numbers are the wire's and are never used again for something else.
const (
	msgCall    = 1  // [1, q, flags, target, method, (deadline, depth, trace, token,)? arguments]
	msgReturn  = 2  // [2, q, value] or [2, q, nil, error] or [2, q, nil, error, 1 if not executed]
	msgFinish  = 3  // [3, q]
	msgNote    = 4  // [4, q, value]
	msgPart    = 5  // [5, 0, n, last, bytes]
	msgRelease = 6  // [6, 0, export, count]
	msgResolve = 7  // [7, 0, export, ref] or [7, 0, export, nil, error]
	msgCredit  = 8  // [8, 0, calls, bytes]
	msgStop    = 9  // [9, 0, stream]
	msgPing    = 10 // [10, 0, number]
	msgPong    = 11 // [11, 0, number]
	msgGoAway  = 12 // [12, 0]
	msgAbort   = 13 // [13, 0, reason]
)

// Flags of a CALL.
const (
	// FlagOneway: no RETURN is wanted, and none comes.
	FlagOneway uint64 = 1 << iota
	// FlagUnordered: the call need not wait for its turn.
	FlagUnordered
	// FlagFinal: nothing will be pipelined on the answer; its RETURN ends q.
	FlagFinal

	flagsKnown = FlagOneway | FlagUnordered | FlagFinal
)

// lengthSize is what stands before each message.
const lengthSize = 4

// qOffset is where the 4 bytes of q stand in a message that beginQ made.
const qOffset = lengthSize + 3

// begin starts a message of n elements with q, always in 5 bytes so that it
// can be filled in when the message is about to leave.
func begin(e *jelly.Encoder, n int, kind byte, q uint32) {
	e.EncodeRaw([]byte{
		0, 0, 0, 0,
		0x90 | byte(n), //nolint:gosec // at most 10
		kind,
		0xce, byte(q >> 24), byte(q >> 16), byte(q >> 8), byte(q), //nolint:gosec // its bytes
	})
}

// smallMessage makes a whole message of numbers.
func smallMessage(kind byte, q uint32, rest ...uint64) []byte {
	b := append(make([]byte, 0, 16), 0, 0, 0, 0, 0x92+byte(len(rest)), kind) //nolint:gosec // at most 2 more
	b = appendUint(b, uint64(q))
	for _, v := range rest {
		b = appendUint(b, v)
	}
	return b
}

func appendUint(b []byte, v uint64) []byte {
	switch {
	case v < 0x80:
		return append(b, byte(v))
	case v < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcf), v)
}

// callHead is what stands before a CALL's arguments.
type callHead struct {
	flags    uint64
	export   uint64
	answer   uint32 // the target is this answer's, if not 0
	path     []string
	method   []byte // shares the message
	deadline time.Duration
	depth    int
	trace    []byte
	token    []byte
}

// encodeCallHead writes the head of a CALL; q is filled in later.
func encodeCallHead(e *jelly.Encoder, h *callHead, method string) {
	extra := h.deadline != 0 || h.depth != 0 || h.trace != nil || h.token != nil
	n := 6
	if extra {
		n = 10
	}
	begin(e, n, msgCall, 0)
	e.EncodeUint(h.flags)
	if h.answer != 0 {
		e.EncodeArrayLen(2)
		e.EncodeUint(uint64(h.answer))
		e.EncodeArrayLen(len(h.path))
		for _, p := range h.path {
			e.EncodeString(p)
		}
	} else {
		e.EncodeUint(h.export)
	}
	e.EncodeString(method)
	if !extra {
		return
	}
	e.EncodeUint(uint64(h.deadline.Microseconds())) //nolint:gosec // not negative
	e.EncodeUint(uint64(h.depth))                   //nolint:gosec // not negative
	encodeOptional(e, h.trace)
	encodeOptional(e, h.token)
}

func encodeOptional(e *jelly.Encoder, b []byte) {
	if b == nil {
		e.EncodeNil()
		return
	}
	e.EncodeBytes(b)
}

// decodeCallHead reads a CALL whose array length, type and q are read already;
// d then stands before the arguments.
func decodeCallHead(d *jelly.Decoder, n int, h *callHead) (err error) {
	if n < 6 || n > 10 {
		return violation("CALL of %d elements", n)
	}
	if h.flags, err = d.DecodeUint(); err != nil {
		return err
	}
	if err = decodeTarget(d, h); err != nil {
		return err
	}
	if h.method, err = d.DecodeName(); err != nil {
		return err
	}
	if len(h.method) > maxName {
		return violation("method name of %d bytes", len(h.method))
	}
	if n > 6 {
		us, err := d.DecodeUint()
		if err != nil {
			return err
		}
		h.deadline = time.Duration(min(us, uint64(1<<62)/1000)) * time.Microsecond
	}
	if n > 7 {
		v, err := d.DecodeUint()
		if err != nil {
			return err
		}
		h.depth = int(min(v, 1<<20))
	}
	if n > 8 {
		if h.trace, err = decodeOptional(d); err != nil {
			return err
		}
	}
	if n > 9 {
		if h.token, err = decodeOptional(d); err != nil {
			return err
		}
	}
	if d.Peek() != jelly.KindArray {
		return violation("CALL whose arguments are no array")
	}
	return nil
}

func decodeTarget(d *jelly.Decoder, h *callHead) (err error) {
	if d.Peek() != jelly.KindArray {
		h.export, err = d.DecodeUint()
		return err
	}
	n, err := d.DecodeArrayLen()
	if err != nil {
		return err
	}
	if n != 2 {
		return violation("target of %d elements", n)
	}
	if h.answer, err = decodeID(d); err != nil {
		return err
	}
	if h.answer == 0 {
		return violation("target is answer 0")
	}
	if n, err = d.DecodeArrayLen(); err != nil {
		return err
	}
	if n > maxPath {
		return violation("path of %d steps", n)
	}
	for range n {
		s, err := d.DecodeString()
		if err != nil {
			return err
		}
		h.path = append(h.path, s)
	}
	return nil
}

// maxPath is how many steps into an answer a call may name.
const maxPath = 16

const (
	maxName  = 255 // bytes of a method's name
	maxTrace = 256 // bytes of a trace or a token
)

func decodeOptional(d *jelly.Decoder) ([]byte, error) {
	if d.Peek() == jelly.KindNil {
		return nil, d.DecodeNil()
	}
	b, err := d.DecodeBytes()
	if err == nil && len(b) > maxTrace {
		err = violation("trace or token of %d bytes", len(b))
	}
	return b, err
}

func decodeID(d *jelly.Decoder) (uint32, error) {
	v, err := d.DecodeUint()
	if err == nil && v >= 1<<32 {
		err = violation("id %d is over 32 bits", v)
	}
	return uint32(v), err //nolint:gosec // checked
}

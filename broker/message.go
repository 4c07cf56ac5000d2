package broker

import (
	"encoding/binary"
	"fmt"
	"math"
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
		return wrongCount(msgCall, "6 to 10", n)
	}
	if h.flags, err = decodeUint(d, msgCall, 2, "flags"); err != nil {
		return err
	}
	if err = decodeTarget(d, h); err != nil {
		return err
	}
	if d.Peek() != jelly.KindString {
		return wrongElement(msgCall, 4, "method", "str", d)
	}
	if h.method, err = d.DecodeName(); err != nil || len(h.method) > maxName {
		return wrongValue(msgCall, 4, "method", "str of at most 255 bytes", len(h.method))
	}
	if n > 6 {
		us, err := decodeUint(d, msgCall, 5, "deadline")
		if err != nil {
			return err
		}
		h.deadline = time.Duration(min(us, uint64(1<<62)/1000)) * time.Microsecond
	}
	if n > 7 {
		v, err := decodeUint(d, msgCall, 6, "depth")
		if err != nil {
			return err
		}
		h.depth = int(min(v, math.MaxUint16))
	}
	if n > 8 {
		if h.trace, err = decodeOptional(d, 7, "trace"); err != nil {
			return err
		}
	}
	if n > 9 {
		if h.token, err = decodeOptional(d, 8, "token"); err != nil {
			return err
		}
	}
	if d.Peek() != jelly.KindArray {
		return wrongElement(msgCall, n-1, "arguments", "array", d)
	}
	return nil
}

func decodeTarget(d *jelly.Decoder, h *callHead) (err error) {
	const i, name = 3, "target"
	if d.Peek() != jelly.KindArray {
		if h.export, err = d.DecodeUint(); err != nil {
			return wrongElement(msgCall, i, name, "uint or [q, path]", d)
		}
		return nil
	}
	n, err := d.DecodeArrayLen()
	if err != nil || n != 2 {
		return wrongValue(msgCall, i, name, "uint or [q, path]", fmt.Sprintf("array of %d", n))
	}
	if h.answer, err = decodeID(d, msgCall, i, "target, q"); err != nil {
		return err
	}
	if h.answer == 0 {
		return wrongValue(msgCall, i, "target, q", "a question, not 0", 0)
	}
	if n, err = d.DecodeArrayLen(); err != nil {
		return wrongElement(msgCall, i, "target, path", "array of at most 16 str", d)
	}
	if n > maxPath {
		return wrongValue(msgCall, i, "target, path", "array of at most 16 str", fmt.Sprintf("array of %d", n))
	}
	for range n {
		s, err := d.DecodeString()
		if err != nil {
			return wrongElement(msgCall, i, "target, path", "array of at most 16 str", d)
		}
		if len(s) > maxName {
			return wrongValue(msgCall, i, "target, path", "str of at most 255 bytes", len(s))
		}
		h.path = append(h.path, s)
	}
	return nil
}

// maxPath is how many steps into an answer a call may name.
const maxPath = 16

const (
	maxName  = 255 // bytes of a method's name, and of a step of a path
	maxTrace = 256 // bytes of a trace or a token
)

func decodeOptional(d *jelly.Decoder, i int, name string) ([]byte, error) {
	const want = "bin of at most 256 bytes, or nil"
	if d.Peek() == jelly.KindNil {
		return nil, d.DecodeNil()
	}
	b, err := d.DecodeBytes()
	if err != nil {
		return nil, wrongElement(msgCall, i, name, want, d)
	}
	if len(b) > maxTrace {
		return nil, wrongValue(msgCall, i, name, want, len(b))
	}
	return b, nil
}

package message

import (
	"fmt"
	"math"
	"time"

	"perspective/jelly"
)

// Flags of a CALL.
const (
	// FlagOneway: no RETURN is wanted, and none comes.
	FlagOneway uint64 = 1 << iota
	// FlagUnordered: the call need not wait for its turn.
	FlagUnordered
	// FlagFinal: nothing will be pipelined on the answer; its RETURN ends q.
	FlagFinal

	// FlagsKnown are all of them.
	FlagsKnown = FlagOneway | FlagUnordered | FlagFinal
)

// Sizes of a CALL's elements.
const (
	MaxName  = 255 // bytes of a method's name, and of a step of a path
	MaxPath  = 16  // steps into an answer
	MaxTrace = 256 // bytes of a trace or a token
)

// A CallHead is what stands before a CALL's arguments.
type CallHead struct {
	Flags    uint64
	Export   uint64
	Answer   uint32 // the target is this answer's, if not 0
	Path     []string
	Method   []byte // as read: it shares the message
	Deadline time.Duration
	Depth    int
	Trace    []byte
	Token    []byte
}

// EncodeCall writes a CALL up to its arguments. SetQ fills q in later.
func EncodeCall(e *jelly.Encoder, h *CallHead, method string) {
	extra := h.Deadline != 0 || h.Depth != 0 || h.Trace != nil || h.Token != nil
	n := 6
	if extra {
		n = 10
	}
	begin(e, n, Call, 0)
	e.EncodeUint(h.Flags)
	if h.Answer != 0 {
		e.EncodeArrayLen(2)
		e.EncodeUint(uint64(h.Answer))
		e.EncodeArrayLen(len(h.Path))
		for _, p := range h.Path {
			e.EncodeString(p)
		}
	} else {
		e.EncodeUint(h.Export)
	}
	e.EncodeString(method)
	if !extra {
		return
	}
	e.EncodeUint(uint64(h.Deadline.Microseconds())) //nolint:gosec // not negative
	e.EncodeUint(uint64(h.Depth))                   //nolint:gosec // not negative
	encodeOptional(e, h.Trace)
	encodeOptional(e, h.Token)
}

func encodeOptional(e *jelly.Encoder, b []byte) {
	if b == nil {
		e.EncodeNil()
		return
	}
	e.EncodeBytes(b)
}

// DecodeCall reads a CALL whose Head is read already. d then stands before the arguments.
func DecodeCall(d *jelly.Decoder, n int, h *CallHead) (err error) {
	if n < 6 || n > 10 {
		return wrongCount(Call, "6 to 10", n)
	}
	if h.Flags, err = decodeUint(d, Call, 2, "flags"); err != nil {
		return err
	}
	if err = decodeTarget(d, h); err != nil {
		return err
	}
	if d.Peek() != jelly.KindString {
		return WrongElement(Call, 4, "method", "str", d)
	}
	if h.Method, err = d.DecodeName(); err != nil || len(h.Method) > MaxName {
		return WrongValue(Call, 4, "method", "str of at most 255 bytes", len(h.Method))
	}
	if n > 6 {
		us, err := decodeUint(d, Call, 5, "deadline")
		if err != nil {
			return err
		}
		h.Deadline = time.Duration(min(us, uint64(1<<62)/1000)) * time.Microsecond
	}
	if n > 7 {
		v, err := decodeUint(d, Call, 6, "depth")
		if err != nil {
			return err
		}
		h.Depth = int(min(v, math.MaxUint16))
	}
	if n > 8 {
		if h.Trace, err = decodeOptional(d, 7, "trace"); err != nil {
			return err
		}
	}
	if n > 9 {
		if h.Token, err = decodeOptional(d, 8, "token"); err != nil {
			return err
		}
	}
	if d.Peek() != jelly.KindArray {
		return WrongElement(Call, n-1, "arguments", "array", d)
	}
	return nil
}

// CheckFlags refuses flags that are not known, and a q that does not fit them.
func (h *CallHead) CheckFlags(q uint32) error {
	if h.Flags&^FlagsKnown != 0 {
		return WrongValue(Call, 2, "flags", "0 to 7", h.Flags)
	}
	if oneway := h.Flags&FlagOneway != 0; oneway != (q == 0) {
		return WrongValue(Call, 1, "q", "0 if the flags have oneway, and only then",
			fmt.Sprintf("%d with flags %d", q, h.Flags))
	}
	return nil
}

func decodeTarget(d *jelly.Decoder, h *CallHead) (err error) {
	const i, name = 3, "target"
	if d.Peek() != jelly.KindArray {
		if h.Export, err = d.DecodeUint(); err != nil {
			return WrongElement(Call, i, name, "uint or [q, path]", d)
		}
		return nil
	}
	n, err := d.DecodeArrayLen()
	if err != nil || n != 2 {
		return WrongValue(Call, i, name, "uint or [q, path]", fmt.Sprintf("array of %d", n))
	}
	if h.Answer, err = DecodeID(d, Call, i, "target, q"); err != nil {
		return err
	}
	if h.Answer == 0 {
		return WrongValue(Call, i, "target, q", "a question, not 0", 0)
	}
	if n, err = d.DecodeArrayLen(); err != nil {
		return WrongElement(Call, i, "target, path", "array of at most 16 str", d)
	}
	if n > MaxPath {
		return WrongValue(Call, i, "target, path", "array of at most 16 str",
			fmt.Sprintf("array of %d", n))
	}
	for range n {
		s, err := d.DecodeString()
		if err != nil {
			return WrongElement(Call, i, "target, path", "array of at most 16 str", d)
		}
		if len(s) > MaxName {
			return WrongValue(Call, i, "target, path", "str of at most 255 bytes", len(s))
		}
		h.Path = append(h.Path, s)
	}
	return nil
}

func decodeOptional(d *jelly.Decoder, i int, name string) ([]byte, error) {
	const want = "bin of at most 256 bytes, or nil"
	if d.Peek() == jelly.KindNil {
		return nil, d.DecodeNil()
	}
	b, err := d.DecodeBytes()
	if err != nil {
		return nil, WrongElement(Call, i, name, want, d)
	}
	if len(b) > MaxTrace {
		return nil, WrongValue(Call, i, name, want, len(b))
	}
	return b, nil
}

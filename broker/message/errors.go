package message

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"perspective/jelly"
)

// A ProtocolError ends a connection whose peer broke the rules of the wire.
// Its text goes to the peer too.
type ProtocolError struct {
	// Reason says which rule, in this side's words.
	Reason string
}

func (e *ProtocolError) Error() string { return "broker: protocol violation: " + e.Reason }

// Violation makes a ProtocolError.
func Violation(format string, args ...any) error {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}

// What is wrong with a message is told by its name, the element's number and name, what was
// wanted, and what stood there: "CALL: element 4, method: want str, got bin".

// WrongElement is the broken rule of element i of a message, which d stands before.
func WrongElement(kind Kind, i int, name, want string, d *jelly.Decoder) error {
	return WrongValue(kind, i, name, want, Standing(d))
}

// WrongValue is WrongElement for a value that was read.
func WrongValue(kind Kind, i int, name, want string, got any) error {
	return Violation("%v: element %d, %s: want %s, got %v", kind, i, name, want, got)
}

// wrongCount is the broken rule of a message with n elements.
func wrongCount(kind Kind, want string, n int) error {
	return Violation("%v: want %s elements, got %d", kind, want, n)
}

// WrongQ is the broken rule of a message that has no question.
func WrongQ(kind Kind, q uint32) error { return WrongValue(kind, 1, "q", "0", q) }

// Malformed is the broken rule of a message that is not well formed, as jelly.Scan says in err.
// It names the message if that can be read.
func Malformed(raw []byte, err error) error {
	h, unread := PeekHead(raw)
	if unread != nil {
		h.Kind = 0
	}
	if s, ok := errors.AsType[*jelly.ScanError](err); ok {
		return Violation("%v: want MessagePack as section 4 says, got at byte %d: %s", h.Kind,
			s.Offset, s.Reason)
	}
	return Violation("%v: %v", h.Kind, err)
}

// Standing says what d stands before, in MessagePack's words; of an int, which.
func Standing(d *jelly.Decoder) string {
	switch k := d.Peek(); k {
	case jelly.KindInt:
		at := *d
		if v, err := at.DecodeInt(); err == nil {
			return strconv.FormatInt(v, 10)
		}
		v, _ := at.DecodeUint() // what is no int64 is over it
		return strconv.FormatUint(v, 10)
	case jelly.KindString:
		return "str"
	case jelly.KindBytes:
		return "bin"
	case jelly.KindStruct:
		return "map"
	case jelly.KindTime, jelly.KindDuration, jelly.KindBigInt, jelly.KindRef:
		return "ext"
	default: // the kind is called as MessagePack calls it
		return k.String()
	}
}

// decodeUint reads element i, which is an unsigned int.
func decodeUint(d *jelly.Decoder, kind Kind, i int, name string) (uint64, error) {
	v, err := d.DecodeUint()
	if err != nil {
		return 0, WrongElement(kind, i, name, "uint", d)
	}
	return v, nil
}

// DecodeID reads element i, which is a number of 32 bits.
func DecodeID(d *jelly.Decoder, kind Kind, i int, name string) (uint32, error) {
	v, err := d.DecodeUint()
	if err != nil {
		return 0, WrongElement(kind, i, name, "uint of 32 bits", d)
	}
	if v > math.MaxUint32 {
		return 0, WrongValue(kind, i, name, "uint of 32 bits", v)
	}
	return uint32(v), nil
}

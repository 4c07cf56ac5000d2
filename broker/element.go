package broker

import (
	"math"
	"strconv"

	"perspective/jelly"
)

// What is wrong with a message is told by the message's name, the element's number and name, what was expected, and what
// stood there: "CALL: element 4, method: want str, got bin".

// messageNames are the names of the specification.
var messageNames = [...]string{
	msgCall: "CALL", msgReturn: "RETURN", msgFinish: "FINISH", msgNote: "NOTE", msgPart: "PART", msgRelease: "RELEASE",
	msgResolve: "RESOLVE", msgCredit: "CREDIT", msgStop: "STOP", msgPing: "PING", msgPong: "PONG", msgGoAway: "GOAWAY",
	msgAbort: "ABORT",
}

// wrongElement is the broken rule of element i of a message, which d stands before.
func wrongElement(kind byte, i int, name, want string, d *jelly.Decoder) error {
	return wrongValue(kind, i, name, want, standing(d))
}

// wrongValue is wrongElement for a value that was read.
func wrongValue(kind byte, i int, name, want string, got any) error {
	return violation("%s: element %d, %s: want %s, got %v", messageNames[kind], i, name, want, got)
}

// wrongCount is the broken rule of a message with n elements.
func wrongCount(kind byte, want string, n int) error {
	return violation("%s: want %s elements, got %d", messageNames[kind], want, n)
}

// standing says what d stands before, in MessagePack's words; of an int, which.
func standing(d *jelly.Decoder) string {
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
func decodeUint(d *jelly.Decoder, kind byte, i int, name string) (uint64, error) {
	v, err := d.DecodeUint()
	if err != nil {
		return 0, wrongElement(kind, i, name, "uint", d)
	}
	return v, nil
}

// decodeID is decodeUint for a number of 32 bits.
func decodeID(d *jelly.Decoder, kind byte, i int, name string) (uint32, error) {
	v, err := d.DecodeUint()
	if err != nil {
		return 0, wrongElement(kind, i, name, "uint of 32 bits", d)
	}
	if v > math.MaxUint32 {
		return 0, wrongValue(kind, i, name, "uint of 32 bits", v)
	}
	return uint32(v), nil
}

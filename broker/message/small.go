package message

import (
	"encoding/binary"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"perspective/jelly"
)

// Small makes a whole message of numbers: FINISH, RELEASE, CREDIT, STOP, PING, PONG, GOAWAY.
func Small(kind Kind, q uint32, rest ...uint64) []byte {
	//nolint:gosec // at most 2 more
	b := append(make([]byte, 0, 16), 0, 0, 0, 0, 0x92+byte(len(rest)), byte(kind))
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

// numbers are the names of the elements of the messages that are made of numbers.
var numbers = [Abort + 1][]string{
	Release: {"export", "count"},
	Credit:  {"calls", "bytes"},
	Stop:    {"stream"},
	Ping:    {"number"},
	Pong:    {"number"},
}

// DecodeSmall reads a message of numbers whose Head is read already.
func DecodeSmall(d *jelly.Decoder, h Head) (v [2]uint64, err error) {
	if h.Kind == Finish {
		if h.Q == 0 {
			return v, WrongValue(h.Kind, 1, "q", "a question, not 0", h.Q)
		}
	} else if h.Q != 0 {
		return v, WrongQ(h.Kind, h.Q)
	}
	names := numbers[h.Kind]
	if h.Elements != 2+len(names) {
		return v, wrongCount(h.Kind, strconv.Itoa(2+len(names)), h.Elements)
	}
	for i, name := range names {
		if v[i], err = decodeUint(d, h.Kind, 2+i, name); err != nil {
			return v, err
		}
	}
	return v, nil
}

// A Resolution is what a RESOLVE says of a promised reference.
type Resolution struct {
	Export uint64
	Failed bool // Decoder stands before an error; else before a reference
}

// DecodeResolve reads a RESOLVE up to its reference or its error.
func DecodeResolve(d *jelly.Decoder, h Head) (r Resolution, err error) {
	if h.Q != 0 {
		return r, WrongQ(Resolve, h.Q)
	}
	if h.Elements != 4 && h.Elements != 5 {
		return r, wrongCount(Resolve, "4 or 5", h.Elements)
	}
	if r.Export, err = decodeUint(d, Resolve, 2, "export"); err != nil {
		return r, err
	}
	r.Failed = h.Elements == 5
	switch {
	case !r.Failed && d.Peek() != jelly.KindRef:
		return r, WrongElement(Resolve, 3, "ref", "a reference", d)
	case r.Failed && d.Peek() != jelly.KindNil:
		return r, WrongElement(Resolve, 3, "ref", "nil beside an error", d)
	case r.Failed:
		return r, d.DecodeNil()
	}
	return r, nil
}

// MaxReason is how many bytes the reason of an ABORT has at most.
const MaxReason = 256

// EncodeAbort writes an ABORT. The reason is cut to MaxReason and made fit to be shown.
func EncodeAbort(e *jelly.Encoder, reason string) {
	begin(e, 3, Abort, 0)
	e.EncodeString(cut(Printable(reason), MaxReason))
}

// DecodeAbort reads an ABORT. However it is made, the peer means the end: there is no error.
func DecodeAbort(d *jelly.Decoder) (reason string) {
	s, _ := d.DecodeString()
	if len(s) > MaxReason {
		s = s[:MaxReason]
	}
	return Printable(s)
}

// cut is the first n bytes of s at most, whole runes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Printable is s without what must not reach a log or a terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

package message

import (
	"strconv"

	"perspective/jelly"
)

// BeginReturn starts a RETURN. The value follows.
func BeginReturn(e *jelly.Encoder, q uint32) { begin(e, 3, Return, q) }

// EncodeFailure writes a RETURN of an error, which encode writes, and gives where in e's buffer
// that stands. executed says whether the method began.
func EncodeFailure(
	e *jelly.Encoder, q uint32, executed bool, encode func(*jelly.Encoder),
) (failure []byte) {
	n := 5
	if executed {
		n = 4
	}
	begin(e, n, Return, q)
	e.EncodeNil()
	at := e.Len()
	encode(e)
	failure = e.Buffer()[at:]
	if !executed {
		e.EncodeInt(1)
	}
	return failure
}

// CheckReturn looks at the number of a RETURN's elements, and reports whether it has an error.
func CheckReturn(n int) (failed bool, err error) {
	if n < 3 || n > 5 {
		return false, wrongCount(Return, "3 to 5", n)
	}
	return n > 3, nil
}

// DecodeFailure reads the rest of a RETURN of n elements that has an error, which decode reads.
func DecodeFailure(
	d *jelly.Decoder, n int, decode func(*jelly.Decoder) error,
) (executed bool, failure, err error) {
	if d.DecodeNil() != nil {
		return true, nil, WrongElement(Return, 2, "value", "nil beside an error", d)
	}
	failure = decode(d)
	if n < 5 {
		return true, failure, nil
	}
	if v, derr := d.DecodeUint(); derr != nil || v != 1 {
		got := Standing(d)
		if derr == nil {
			got = strconv.FormatUint(v, 10)
		}
		return true, nil, WrongValue(Return, 4, "not begun", "1", got)
	}
	return false, failure, nil
}

// BeginNote starts a NOTE to the caller of q. The value follows.
func BeginNote(e *jelly.Encoder, q uint32) { begin(e, 3, Note, q) }

// CheckNote looks at the number of a NOTE's elements.
func CheckNote(n int) error {
	if n != 3 {
		return wrongCount(Note, "3", n)
	}
	return nil
}

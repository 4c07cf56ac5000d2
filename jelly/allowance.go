package jelly

import "math"

// An Allowance gives an Encoder the memory that its message grows into, beyond a first size. It is
// called on the goroutine that encodes, and may wait there. Grow says how large the message may be
// from now on, need at least, where it may be of size bytes and needs more. Its error is what the
// encoding fails with.
type Allowance interface {
	Grow(size, need int) (room int, err error)
}

// Allowed says, after Reset, that the buffer may be of size bytes as it is, and that a asks for
// more. Bytes that are not copied (see [Encoder.ByReference]) do not count, and a type that writes
// itself may be ahead by what its AppendJelly appends in single scalars. Reset ends this.
func (e *Encoder) Allowed(size int, a Allowance) { e.room, e.first, e.allowance = size, size, a }

// Granted returns how many bytes the Allowance gave since Reset.
func (e *Encoder) Granted() int {
	if e.allowance == nil {
		return 0
	}
	return e.room - e.first
}

// Denied returns the Allowance's error, if it gave one since Reset: then the buffer holds no
// message, whatever the methods returned.
func (e *Encoder) Denied() error { return e.denied }

// grow makes room for n bytes more, or returns what the encoding fails with. It is called where
// they do not fit.
func (e *Encoder) grow(n int) error {
	if e.denied != nil {
		return e.denied
	}
	if e.allowance == nil {
		e.room = math.MaxInt
		return nil
	}
	room, err := e.allowance.Grow(e.room, len(e.b)+n)
	if err != nil {
		e.denied = err
		return err
	}
	e.room = room
	return nil
}

// checkRoom is grow for what was appended already, if it does not fit.
func (e *Encoder) checkRoom() error {
	if len(e.b) <= e.room {
		return nil
	}
	return e.grow(0)
}

// fits makes room for n bytes more. Where it can not, a nil stands in their place, and Denied says
// why.
func (e *Encoder) fits(n int) bool {
	if len(e.b)+n <= e.room || e.grow(n) == nil {
		return true
	}
	e.EncodeNil()
	return false
}

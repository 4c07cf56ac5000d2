package jelly

import (
	"encoding/binary"
	"math"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
)

// An Encoder appends values to one buffer. Its zero value is ready, knows the default registry and
// no references. One goroutine uses it at a time; it needs no ending.
//
// The methods for single values return nothing: appending cannot fail. They write what they are
// told, so the caller sees to it that an array or map gets the elements that were announced, and
// that a message stays far below 4 GiB.
type Encoder struct {
	b      []byte
	reg    *Registry
	refs   Refs
	lib    *msgpack.Encoder
	depth  int   // arrays and maps that the value in hand is inside of
	nested int   // plans that are running, pointers included
	sent   []Ref // since Reset
	sentAt []int // where in the buffer
	unsent []Ref // what was sent and cut off again

	last lastPlan

	room      int // how large b may be without asking; see allowance.go
	first     int // room, before the allowance was asked
	allowance Allowance
	denied    error // what it said

	byReference int    // from how many bytes on a slice is not copied; 0: never
	held        []held // those not copied, in order
	heldBytes   int    // their sum
}

var encoders = sync.Pool{New: func() any { return new(Encoder) }}

// GetEncoder returns an empty Encoder, as new, from a pool that all of the process shares.
func GetEncoder() *Encoder { return encoders.Get().(*Encoder) }

// PutEncoder gives e back to the pool. Neither e nor its buffer may be used any more.
func PutEncoder(e *Encoder) {
	e.Reset(nil, nil)
	encoders.Put(e)
}

// Reset empties the buffer and sets the registry (nil: the default one) and what references cross
// by (nil: none do). It keeps the buffer's memory up to 128 KiB.
func (e *Encoder) Reset(reg *Registry, refs Refs) {
	if cap(e.b) > keptBuffer || len(e.sent)+len(e.unsent)+len(e.held) > 0 {
		e.shrink()
	}
	e.b, e.reg, e.refs, e.depth, e.nested, e.byReference = e.b[:0], reg, refs, 0, 0, 0
	e.room, e.allowance, e.denied = math.MaxInt, nil, nil
}

// shrink lets go of what a reused Encoder should not hold on to.
func (e *Encoder) shrink() {
	if cap(e.b) > keptBuffer {
		e.b = nil
	}
	e.letGo(0)
	clear(e.sent) // their paths
	e.sent, e.sentAt, e.unsent = e.sent[:0], e.sentAt[:0], nil
	if cap(e.sent) > keptRefs {
		e.sent, e.sentAt = nil, nil
	}
}

// Buffer returns what was encoded so far, as it lies in e: it is good until the next method is
// called. After [Encoder.ByReference] it may not be the whole: [Encoder.Segments] is.
func (e *Encoder) Buffer() []byte { return e.b }

// Len returns the length of Buffer, which is where the next value begins in it.
func (e *Encoder) Len() int { return len(e.b) }

// Truncate drops everything after the first n bytes of Buffer, n being an earlier Len.
func (e *Encoder) Truncate(n int) {
	e.b = e.b[:n]
	e.dropHeld()
	for k := len(e.sent); k > 0 && e.sentAt[k-1] >= n; k-- {
		e.unsent = append(e.unsent, e.sent[k-1])
		e.sent, e.sentAt = e.sent[:k-1], e.sentAt[:k-1]
	}
}

// Reserve appends n bytes of zero, for a head to be filled in later, and returns where they begin:
// they are e.Buffer()[offset:offset+n] from then on, even after the buffer has moved.
func (e *Encoder) Reserve(n int) (offset int) {
	offset = len(e.b)
	for range n {
		e.b = append(e.b, 0)
	}
	return offset
}

// EncodeNil appends nil.
func (e *Encoder) EncodeNil() { e.b = append(e.b, codeNil) }

// EncodeBool appends v.
func (e *Encoder) EncodeBool(v bool) {
	e.b = appendBool(e.b, v)
}

// EncodeInt appends n in its shortest form.
func (e *Encoder) EncodeInt(n int64) { e.b = appendInt(e.b, n) }

// EncodeUint appends n in its shortest form.
func (e *Encoder) EncodeUint(n uint64) { e.b = appendUint(e.b, n) }

// EncodeFloat32 appends f in 4 bytes.
func (e *Encoder) EncodeFloat32(f float32) {
	e.b = binary.BigEndian.AppendUint32(append(e.b, codeFloat), math.Float32bits(f))
}

// EncodeFloat64 appends f in 8 bytes.
func (e *Encoder) EncodeFloat64(f float64) {
	e.b = appendFloat64(e.b, f)
}

// EncodeString appends s. Bytes of s that are not UTF-8 become U+FFFD, because the other side would
// refuse the whole message; Encode returns an error instead.
func (e *Encoder) EncodeString(s string) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if e.fits(len(s)) {
		e.b = appendString(e.b, s)
	}
}

// EncodeBytes appends b as it is, or refers to it: see [Encoder.ByReference]. Nil becomes nil.
func (e *Encoder) EncodeBytes(b []byte) {
	if b == nil || e.byReference > 0 && len(b) >= e.byReference {
		e.hold(b)
		return
	}
	if e.fits(len(b)) {
		e.b = append(appendBytesLen(e.b, len(b)), b...)
	}
}

// EncodeArrayLen begins an array of n elements, which the caller appends next. A negative n is nil.
func (e *Encoder) EncodeArrayLen(n int) {
	if n < 0 {
		e.EncodeNil()
		return
	}
	e.b = appendArrayLen(e.b, n)
}

// EncodeMapLen begins a map of n entries, which the caller appends next, each a key and a value. A
// negative n is nil.
func (e *Encoder) EncodeMapLen(n int) {
	if n < 0 {
		e.EncodeNil()
		return
	}
	e.b = appendMapLen(e.b, n)
}

// EncodeRaw appends b, which is one encoded value.
func (e *Encoder) EncodeRaw(b []byte) {
	if e.fits(len(b)) {
		e.b = append(e.b, b...)
	}
}

// encodeText appends s, or refuses it if it is not UTF-8.
func (e *Encoder) encodeText(s string) error {
	if !utf8.ValidString(s) {
		return &TypeError{Reason: "string is not UTF-8; send it as []byte"}
	}
	if len(e.b)+len(s) > e.room {
		if err := e.grow(len(s)); err != nil {
			return err
		}
	}
	e.b = appendString(e.b, s)
	return nil
}

// enter counts an array or map that begins.
func (e *Encoder) enter() error {
	if err := e.checkRoom(); err != nil {
		return err
	}
	if e.depth >= maxEncodedDepth {
		return tooDeep()
	}
	e.depth++
	return nil
}

func tooDeep() error {
	return &TypeError{
		Reason: "nested deeper than 60 levels, or a cycle; pass it by reference, or flatten it",
	}
}

// undo takes back what was appended since e was in this state.
func (e *Encoder) undo(start, depth, nested int) {
	e.Truncate(min(start, len(e.b))) // a user's method may have truncated more
	e.depth, e.nested = depth, nested
}

package jelly

// A held is a byte slice that belongs in the message before the byte at offset in the buffer. The
// head of its value ends there, so no two of them have one offset.
type held struct {
	offset int
	bytes  []byte
}

// ByReference says that from now on bytes of length shortest or more are not copied: EncodeBytes,
// and the plans of byte slices of any name, write their heads alone, and Segments has the slices
// themselves. They must not change until the message is written. 0 ends this, as Reset does. What
// an AppendJelly or a Refs writes is always copied.
func (e *Encoder) ByReference(shortest int) { e.byReference = shortest }

// Segments appends the message to dst, as the list of byte slices that make it up: parts of Buffer,
// and in their places the slices that were not copied. It is good until the next method is called.
func (e *Encoder) Segments(dst [][]byte) [][]byte {
	from := 0
	for _, h := range e.held {
		dst = append(dst, e.b[from:h.offset:h.offset], h.bytes)
		from = h.offset
	}
	if from < len(e.b) {
		dst = append(dst, e.b[from:])
	}
	return dst
}

// Size returns the length of the whole message, which is Len and the bytes that were not copied.
func (e *Encoder) Size() int { return len(e.b) + e.heldBytes }

// Flatten copies what was not copied into Buffer, which then is the whole message. Offsets in
// Buffer, those of Reserve too, move if they are behind such bytes.
func (e *Encoder) Flatten() {
	if len(e.held) == 0 {
		return
	}
	flat := make([]byte, 0, e.Size())
	for _, s := range e.Segments(nil) {
		flat = append(flat, s...)
	}
	e.b = flat
	e.letGo(0)
}

// hold appends the head of b and notes b, or appends nil.
func (e *Encoder) hold(b []byte) {
	if b == nil {
		e.EncodeNil()
		return
	}
	e.b = appendBytesLen(e.b, len(b))
	e.held = append(e.held, held{len(e.b), b})
	e.heldBytes += len(b)
}

// dropHeld lets go of what stood behind the end of the buffer. What stands right at it has its head
// before it and stays.
func (e *Encoder) dropHeld() {
	n := len(e.held)
	for n > 0 && e.held[n-1].offset > len(e.b) {
		n--
		e.heldBytes -= len(e.held[n].bytes)
	}
	e.letGo(n)
}

// letGo forgets all but the first n slices.
func (e *Encoder) letGo(n int) {
	if len(e.held) == n {
		return
	}
	clear(e.held[n:])
	e.held = e.held[:n]
	if n == 0 {
		e.heldBytes = 0
		if cap(e.held) > keptRefs {
			e.held = nil
		}
	}
}

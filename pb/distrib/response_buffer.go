package distrib

import "sync"

// buffers holds memory for small bodies. A buffer may have held another mount's body: what is used of it is always
// appended to its beginning, and nothing beyond the length is ever sent.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func getBuffer() *[]byte { return buffers.Get().(*[]byte) }

// putBuffer gives b back, unless it grew beyond what a small body needs.
func putBuffer(b *[]byte) {
	if cap(*b) > 2*smallBody {
		return
	}
	*b = (*b)[:0]
	buffers.Put(b)
}

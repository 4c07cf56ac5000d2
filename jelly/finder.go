package jelly

// finderHead is the most that stands at the beginning of a value and has to be seen at once: an ext
// 32 of two whole numbers.
const finderHead = 6 + 18

// A Finder finds the objects and byte streams (ext 1 and 5) that a message mentions. Unlike
// [EachRef] it takes messages that were not scanned: cut off, over a limit, in pieces, malformed.
// It copies nothing but heads, does not recurse and needs no memory but its own. The zero value
// stands at the beginning of a message; it is for one goroutine at a time.
type Finder struct {
	skip int64 // bytes of a value still to be passed over
	head [finderHead]byte
	n    int  // bytes of a head that is cut, in head
	lost bool // what came is no MessagePack: nothing behind it can be told
}

// Find takes the next piece of the message and calls found for each RefExport and RefStream that
// ends in it, in order.
func (f *Finder) Find(p []byte, found func(Ref)) {
	for !f.lost {
		if k := min(f.skip, int64(len(p))); k > 0 {
			p, f.skip = p[k:], f.skip-k
		}
		if len(p) == 0 {
			return
		}
		if f.n == 0 {
			used := f.next(p, found)
			if used == 0 {
				f.n = copy(f.head[:], p)
				return
			}
			p = p[used:]
			continue
		}
		before := f.n
		f.n += copy(f.head[f.n:], p)
		used := f.next(f.head[:f.n], found)
		if used == 0 {
			return // all of p is in head, which has room for every head
		}
		p, f.n = p[used-before:], 0
	}
}

// next takes the head of the value that b begins with, and says how long it was; 0 if b does not
// have all of it.
func (f *Finder) next(b []byte, found func(Ref)) (used int) {
	c := b[0]
	switch {
	case c <= fixArrayMax || c >= negFix: // what an array or a map holds follows
		return 1
	case c <= fixStrMax:
		f.skip = int64(c & 0x1f)
		return 1
	case isExtHead(c):
		return f.ext(b, found)
	}
	head := headBytes[c-codeNil]
	n := int(head &^ hasLength)
	switch {
	case head == badHead:
		f.lost = true
		return len(b)
	case n > len(b)-1:
		return 0
	case head&hasLength != 0 && c < codeArray16:
		f.skip = int64(lengthAt(b, 1, n))
	}
	return 1 + n
}

func (f *Finder) ext(b []byte, found func(Ref)) (used int) {
	var width int // of the length
	var size uint64
	switch b[0] {
	case codeExt8:
		width = 1
	case codeExt16:
		width = 2
	case codeExt32:
		width = 4
	default:
		size = 1 << (b[0] - codeFixExt1)
	}
	if len(b) < width+2 {
		return 0
	}
	if width > 0 {
		size = lengthAt(b, 1, width)
	}
	head := width + 2
	r := Ref{Kind: RefKind(b[width+1])}
	if (r.Kind != RefExport && r.Kind != RefStream) || size > 18 {
		f.skip = int64(size)
		return head
	}
	end := head + int(size)
	if len(b) < end {
		return 0
	}
	if r.parse(b[head:end], false) == "" {
		found(r)
	}
	return end
}

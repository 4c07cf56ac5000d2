package jelly

import "math"

// skipValue returns where the value at b[i] ends, or -1 if b ends before it does. It looks at
// lengths alone.
func skipValue(b []byte, i int) int {
	for pending := uint64(1); pending > 0; pending-- {
		if i >= len(b) {
			return -1
		}
		c := b[i]
		var size, kids uint64
		switch {
		case c <= posFixMax || c >= negFix:
			i++
			continue
		case c <= fixMapMax:
			i, kids = i+1, 2*uint64(c&0x0f)
		case c <= fixArrayMax:
			i, kids = i+1, uint64(c&0x0f)
		case c <= fixStrMax:
			i, size = i+1, uint64(c&0x1f)
		case isExtHead(c):
			_, _, end, ok := extHead(b, i)
			if !ok {
				return -1
			}
			i = end
			continue
		default:
			head := headBytes[c-codeNil]
			n := int(head &^ hasLength)
			i++
			if head == badHead || n > len(b)-i {
				return -1
			}
			if head&hasLength == 0 {
				i += n
				continue
			}
			size = lengthAt(b, i, n)
			i += n
			switch c {
			case codeArray16, codeArray32:
				size, kids = 0, size
			case codeMap16, codeMap32:
				size, kids = 0, 2*size
			}
		}
		if size > uint64(len(b)-i) || kids > uint64(len(b)-i) {
			return -1
		}
		i += int(size)
		pending += kids
	}
	return i
}

// Reach returns where the string or the bytes that b is cut off in would end, b being the beginning
// of a message; 0 if b is not cut off in any, or does not tell. Nothing is checked: what a hostile
// peer announces it need not send.
func Reach(b []byte) (end int) {
	for i := 0; i < len(b); {
		c := b[i]
		size := uint64(0)
		switch {
		case c <= fixArrayMax || c >= negFix: // what an array or a map holds follows
			i++
			continue
		case c <= fixStrMax:
			i, size = i+1, uint64(c&0x1f)
		case isExtHead(c):
			_, _, extEnd, ok := extHead(b, i)
			if !ok {
				return 0
			}
			i = extEnd
			continue
		default:
			head := headBytes[c-codeNil]
			n := int(head &^ hasLength)
			if i++; head == badHead || n > len(b)-i {
				return 0
			}
			if head&hasLength != 0 && c < codeArray16 {
				size = lengthAt(b, i, n)
			}
			i += n
		}
		switch {
		case size > math.MaxInt32: // on no machine is there room for more
			return 0
		case size > uint64(len(b)-i):
			return i + int(size)
		}
		i += int(size)
	}
	return 0
}

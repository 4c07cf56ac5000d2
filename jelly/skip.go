package jelly

// skipValue returns where the value at b[i] ends, or -1 if b ends before it does. It looks at lengths alone.
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
			switch n {
			case 1:
				size = uint64(b[i])
			case 2:
				size = uint64(be16(b[i:]))
			default:
				size = uint64(be32(b[i:]))
			}
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

package jelly

import (
	"encoding/binary"
	"unicode/utf8"
)

// Text is checked on each way. Most of it is short and ASCII, and shows that eight bytes at a time,
// without a call.

const highBits = 0x8080808080808080

// validText is utf8.Valid.
func validText(b []byte) bool {
	rest := b
	for len(rest) >= 8 {
		if binary.LittleEndian.Uint64(rest)&highBits != 0 {
			return utf8.Valid(b)
		}
		rest = rest[8:]
	}
	for _, c := range rest {
		if c >= utf8.RuneSelf {
			return utf8.Valid(b)
		}
	}
	return true
}

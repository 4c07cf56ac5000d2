package jelly

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math"
	"sync"
	"unicode/utf8"
)

// A keyKind keeps apart keys that are different values though their bits are the same.
type keyKind uint8

const (
	keyText keyKind = iota + 1
	keyUint
	keyNegative
	keyBool
	keyFloat32
	keyFloat64
	keyName
)

// A mapKey is one key of a message, in a form in which equal keys are equal whatever way they were
// written.
type mapKey struct {
	bits uint64 // the value; for text, the offset in the upper half and the length in the lower
	at   uint32 // where the key begins in the message
	kind keyKind
}

func (k mapKey) text(b []byte) []byte {
	offset := k.bits >> 32
	return b[offset : offset+k.bits&math.MaxUint32]
}

func (k mapKey) equal(o mapKey, b []byte) bool {
	if k.kind != o.kind {
		return false
	}
	if k.kind != keyText {
		return k.bits == o.bits
	}
	return uint32(k.bits) == uint32(o.bits) && bytes.Equal(k.text(b), o.text(b))
}

// A keyring holds the keys of all maps that a scan is inside of, those of the innermost one last.
// The zero value is ready; one scan uses it at a time.
type keyring struct {
	open  []mapKey
	table []uint32 // open addressing: index of a key of the map in hand, plus 1

	deep [maxDepth]frame // for the scan, when its own stack is full
}

var (
	keyrings = sync.Pool{New: func() any { return new(keyring) }}
	keySeed  = maphash.MakeSeed() // a peer that knew it could choose keys that collide
)

// borrow returns the scan's keyring, which comes from the pool the first time.
func borrow(ring **keyring) *keyring {
	if *ring == nil {
		*ring = keyrings.Get().(*keyring)
	}
	return *ring
}

// release gives k back to the pool, unless it has grown.
func (k *keyring) release() {
	if cap(k.open) > keptBuffer/32 || cap(k.table) > keptBuffer/8 {
		return
	}
	k.open = k.open[:0]
	keyrings.Put(k)
}

// close takes the n innermost keys off the ring. It returns where a key stands that occurs twice,
// or -1, and whether keys of text and others are mixed.
func (k *keyring) close(b []byte, n int) (dup int, mixed bool) {
	keys := k.open[len(k.open)-n:]
	k.open = k.open[:len(k.open)-n]
	text := keys[0].kind == keyText
	for _, key := range keys[1:] {
		if (key.kind == keyText) != text {
			mixed = true
			break
		}
	}
	if n > 12 {
		return k.hashed(b, keys), mixed
	}
	for i, key := range keys {
		for _, other := range keys[:i] {
			if key.equal(other, b) {
				return int(key.at), mixed
			}
		}
	}
	return -1, mixed
}

// hashed is the search for a key that occurs twice among many.
func (k *keyring) hashed(b []byte, keys []mapKey) int {
	size := 1
	for size < 2*len(keys) {
		size *= 2
	}
	if cap(k.table) < size {
		k.table = make([]uint32, size)
	}
	table := k.table[:size]
	clear(table)
	for i, key := range keys {
		slot := key.hash(b) & uint64(size-1)
		for ; table[slot] != 0; slot = (slot + 1) & uint64(size-1) {
			if key.equal(keys[table[slot]-1], b) {
				return int(key.at)
			}
		}
		table[slot] = uint32(i + 1)
	}
	return -1
}

func (k mapKey) hash(b []byte) uint64 {
	if k.kind == keyText {
		return maphash.Bytes(keySeed, k.text(b))
	}
	var buf [9]byte
	binary.LittleEndian.PutUint64(buf[:], k.bits)
	buf[8] = byte(k.kind)
	return maphash.Bytes(keySeed, buf[:])
}

// scanKey reads the map key at b[i], which is inside b, and returns where it ends, or what is wrong
// with it.
func scanKey(b []byte, i int) (k mapKey, end int, reason string) {
	const short = "message ends inside a map key"
	c := b[i]
	i++
	left := len(b) - i
	var size uint64
	switch {
	case c <= posFixMax:
		return mapKey{uint64(c), 0, keyUint}, i, ""
	case c >= negFix:
		return mapKey{uint64(int64(int8(c))), 0, keyNegative}, i, ""
	case c >= fixStr && c <= fixStrMax:
		size = uint64(c & 0x1f)
	case c < codeNil:
		return k, 0, "an array or map is no map key"
	case isExtHead(c):
		return scanNameKey(b, i-1)
	default:
		head := headBytes[c-codeNil]
		n := int(head &^ hasLength)
		if head == badHead || n > left {
			return k, 0, short
		}
		switch c {
		case codeFalse, codeTrue:
			return mapKey{uint64(c), 0, keyBool}, i, ""
		case codeFloat:
			return floatKey(float64(math.Float32frombits(be32(b[i:]))), keyFloat32, i+4)
		case codeDouble:
			return floatKey(math.Float64frombits(be64(b[i:])), keyFloat64, i+8)
		case codeStr8, codeStr16, codeStr32:
			for _, x := range b[i : i+n] {
				size = size<<8 | uint64(x)
			}
			i += n
		case codeUint8, codeUint16, codeUint32, codeUint64,
			codeInt8, codeInt16, codeInt32, codeInt64:
			u, negative := intAt(b, i-1)
			if negative {
				return mapKey{u, 0, keyNegative}, i + n, ""
			}
			return mapKey{u, 0, keyUint}, i + n, ""
		default:
			return k, 0, "nil, bytes, an array or a map is no map key"
		}
	}
	if size > uint64(len(b)-i) {
		return k, 0, "map key is longer than what is left"
	}
	if !validText(b[i : i+int(size)]) {
		return k, 0, "map key is not UTF-8"
	}
	return mapKey{uint64(i)<<32 | size, 0, keyText}, i + int(size), ""
}

func floatKey(f float64, kind keyKind, end int) (mapKey, int, string) {
	if math.IsNaN(f) {
		return mapKey{}, 0, "a NaN is no map key"
	}
	if f == 0 {
		f = 0 // minus zero is the same key
	}
	return mapKey{math.Float64bits(f), 0, kind}, end, ""
}

// skipName returns where the registered name at b[i] ends, or 0 if there is none or it is written
// in a rare form.
func skipName(b []byte, i int) int {
	if len(b)-i < 4 {
		return 0
	}
	c, n, typ, start := b[i], int(b[i+1]), b[i+2], i+3
	if c != codeExt8 {
		if c < codeFixExt1 || c > codeFixExt16 {
			return 0
		}
		n, typ, start = 1<<(c-codeFixExt1), b[i+1], i+2
	}
	if typ != extName || n == 0 || n > len(b)-start || !validText(b[start:start+n]) {
		return 0
	}
	return start + n
}

func scanNameKey(b []byte, i int) (mapKey, int, string) {
	typ, body, end, ok := extHead(b, i)
	switch {
	case !ok:
		return mapKey{}, 0, "message ends inside an ext"
	case typ != extName:
		return mapKey{}, 0, "an ext is no map key"
	case end == body || end-body > maxName || !utf8.Valid(b[body:end]):
		return mapKey{}, 0, "a registered name has 1 to 255 bytes of UTF-8"
	}
	return mapKey{kind: keyName}, end, ""
}

// intAt reads the int at b[i], which is whole. A negative one comes as the bits of an int64.
func intAt(b []byte, i int) (u uint64, negative bool) {
	c := b[i]
	i++
	var s int64
	switch c {
	case codeUint8:
		return uint64(b[i]), false
	case codeUint16:
		return uint64(be16(b[i:])), false
	case codeUint32:
		return uint64(be32(b[i:])), false
	case codeUint64:
		return be64(b[i:]), false
	case codeInt8:
		s = int64(int8(b[i]))
	case codeInt16:
		s = int64(int16(be16(b[i:])))
	case codeInt32:
		s = int64(int32(be32(b[i:])))
	case codeInt64:
		s = int64(be64(b[i:]))
	default:
		s = int64(int8(c))
	}
	return uint64(s), s < 0
}

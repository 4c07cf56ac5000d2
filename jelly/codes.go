package jelly

// The first bytes of MessagePack values. The library has them as variables, over which a switch
// cannot jump.
const (
	posFixMax    = 0x7f
	fixMap       = 0x80
	fixMapMax    = 0x8f
	fixArray     = 0x90
	fixArrayMax  = 0x9f
	fixStr       = 0xa0
	fixStrMax    = 0xbf
	codeNil      = 0xc0
	codeFalse    = 0xc2
	codeTrue     = 0xc3
	codeBin8     = 0xc4
	codeBin16    = 0xc5
	codeBin32    = 0xc6
	codeExt8     = 0xc7
	codeExt16    = 0xc8
	codeExt32    = 0xc9
	codeFloat    = 0xca
	codeDouble   = 0xcb
	codeUint8    = 0xcc
	codeUint16   = 0xcd
	codeUint32   = 0xce
	codeUint64   = 0xcf
	codeInt8     = 0xd0
	codeInt16    = 0xd1
	codeInt32    = 0xd2
	codeInt64    = 0xd3
	codeFixExt1  = 0xd4
	codeFixExt2  = 0xd5
	codeFixExt4  = 0xd6
	codeFixExt8  = 0xd7
	codeFixExt16 = 0xd8
	codeStr8     = 0xd9
	codeStr16    = 0xda
	codeStr32    = 0xdb
	codeArray16  = 0xdc
	codeArray32  = 0xdd
	codeMap16    = 0xde
	codeMap32    = 0xdf
	negFix       = 0xe0
	negFixMin    = -32 // the int that negFix is; above it every byte is its own int8
)

// The ext types of this wire. 1 to 5 are references and equal their RefKind.
const (
	extName     = 6
	extDuration = 7
	extBigInt   = 8
	extTime     = -1
)

const (
	hasLength = 0x80 // the bytes after the code are a length
	badHead   = 0xff
)

// headBytes says how many bytes follow the codes 0xc0 to 0xdf: of the value itself, or of its
// length.
var headBytes = [32]byte{
	0, badHead, 0, 0, // nil, never used, false, true
	hasLength | 1, hasLength | 2, hasLength | 4, // bin
	0, 0, 0, // ext: see extHead
	4, 8, // float
	1, 2, 4, 8, // uint
	1, 2, 4, 8, // int
	0, 0, 0, 0, 0, // fixext
	hasLength | 1, hasLength | 2, hasLength | 4, // str
	hasLength | 2, hasLength | 4, // array
	hasLength | 2, hasLength | 4, // map
}

// lengthAt is a length of n bytes at b[i], n being 1, 2 or 4.
func lengthAt(b []byte, i, n int) uint64 {
	switch n {
	case 1:
		return uint64(b[i])
	case 2:
		return uint64(be16(b[i:]))
	}
	return uint64(be32(b[i:]))
}

func be16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

func be32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func be64(b []byte) uint64 { return uint64(be32(b))<<32 | uint64(be32(b[4:])) }

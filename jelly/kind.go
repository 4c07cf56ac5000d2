package jelly

// A Kind is what sort of value stands next in a message.
type Kind uint8

// The kinds of values. KindNone means that nothing is left, or nothing a scan would have let
// through.
const (
	KindNone Kind = iota
	KindNil
	KindBool
	KindInt
	KindFloat
	KindString
	KindBytes
	KindArray
	KindMap
	KindStruct // a registered type, struct or not
	KindTime
	KindDuration
	KindBigInt
	KindRef
)

var kindNames = [...]string{"nothing", "nil", "bool", "int", "float", "string", "bytes", "array",
	"map", "registered type",
	"time", "duration", "big int", "reference"}

// String returns the kind in plain words, for errors.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[KindNone]
}

// isExtHead says whether c begins an ext. Fixext codes follow float and int codes, so it is two
// ranges.
func isExtHead(c byte) bool {
	return c >= codeFixExt1 && c <= codeFixExt16 || c >= codeExt8 && c <= codeExt32
}

// extHead reads the head of the ext at b[i]: its type and where its body begins and ends. It is
// false if b[i] begins no ext or the ext does not end in b.
func extHead(b []byte, i int) (typ int8, body, end int, ok bool) {
	if i >= len(b) || !isExtHead(b[i]) {
		return 0, 0, 0, false
	}
	var n uint64
	c := b[i]
	i++
	switch c {
	case codeExt8:
		if len(b)-i < 1 {
			return 0, 0, 0, false
		}
		n, i = uint64(b[i]), i+1
	case codeExt16:
		if len(b)-i < 2 {
			return 0, 0, 0, false
		}
		n, i = uint64(be16(b[i:])), i+2
	case codeExt32:
		if len(b)-i < 4 {
			return 0, 0, 0, false
		}
		n, i = uint64(be32(b[i:])), i+4
	default:
		n = 1 << (c - codeFixExt1)
	}
	if n+1 > uint64(len(b)-i) {
		return 0, 0, 0, false
	}
	return int8(b[i]), i + 1, i + 1 + int(n), true
}

// kindAt returns the kind of the value at b[i].
func kindAt(b []byte, i int) Kind {
	if i >= len(b) {
		return KindNone
	}
	c := b[i]
	switch {
	case c <= posFixMax || c >= negFix:
		return KindInt
	case c <= fixMapMax:
		if c == fixMap|1 {
			if typ, _, _, ok := extHead(b, i+1); ok && typ == extName {
				return KindStruct
			}
		}
		return KindMap
	case c <= fixArrayMax:
		return KindArray
	case c <= fixStrMax:
		return KindString
	}
	switch c {
	case codeNil:
		return KindNil
	case codeFalse, codeTrue:
		return KindBool
	case codeBin8, codeBin16, codeBin32:
		return KindBytes
	case codeFloat, codeDouble:
		return KindFloat
	case codeUint8, codeUint16, codeUint32, codeUint64,
		codeInt8, codeInt16, codeInt32, codeInt64:
		return KindInt
	case codeStr8, codeStr16, codeStr32:
		return KindString
	case codeArray16, codeArray32:
		return KindArray
	case codeMap16, codeMap32:
		return KindMap
	}
	typ, _, _, ok := extHead(b, i)
	switch {
	case !ok:
		return KindNone
	case typ >= int8(RefExport) && typ <= int8(RefStream):
		return KindRef
	case typ == extDuration:
		return KindDuration
	case typ == extBigInt:
		return KindBigInt
	case typ == extTime:
		return KindTime
	}
	return KindNone
}

package message

import (
	"encoding/binary"
	"errors"

	"perspective/jelly"
)

// MaxPartHead is what stands before a PART's bytes, its length included, at most.
const MaxPartHead = 18

// AppendPartHead appends what stands before a PART's size bytes, its length included.
func AppendPartHead(b []byte, n uint32, last bool, size int) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, 0x95, byte(Part), 0)
	b = appendUint(b, uint64(n))
	if last {
		b = append(b, 0xc3)
	} else {
		b = append(b, 0xc2)
	}
	b = binary.BigEndian.AppendUint32(append(b, 0xc6), uint32(size)) //nolint:gosec // a piece
	PutLength(b[at:], len(b)-at+size)
	return b
}

// PartHead reads what stands in a PART before its bytes, behind the length. head is how many
// bytes that is, and 0 if p does not begin with all of it in a form that AppendPartHead, or an
// encoder that prefers short ints, writes.
func PartHead(p []byte) (n uint32, last bool, head, size int) {
	if len(p) < MaxPartHead-LengthSize || p[0] != 0x95 || p[1] != byte(Part) || p[2] != 0 {
		return 0, false, 0, 0
	}
	i := 4
	switch p[3] {
	case 0xce:
		n = binary.BigEndian.Uint32(p[i:])
		i += 4
	case 0xcd:
		n = uint32(binary.BigEndian.Uint16(p[i:]))
		i += 2
	case 0xcc:
		n = uint32(p[i])
		i++
	default:
		if n = uint32(p[3]); n >= 0x80 {
			return 0, false, 0, 0
		}
	}
	switch p[i] {
	case 0xc2:
	case 0xc3:
		last = true
	default:
		return 0, false, 0, 0
	}
	i++
	switch p[i] {
	case 0xc6:
		return n, last, i + 5, int(binary.BigEndian.Uint32(p[i+1:]))
	case 0xc5:
		return n, last, i + 3, int(binary.BigEndian.Uint16(p[i+1:]))
	}
	return 0, false, 0, 0
}

// DecodePart reads a PART whose Head is read already. The piece shares the message.
func DecodePart(d *jelly.Decoder, h Head) (n uint32, last bool, piece []byte, err error) {
	if h.Elements != 5 {
		return 0, false, nil, wrongCount(Part, "5", h.Elements)
	}
	if h.Q != 0 {
		return 0, false, nil, WrongQ(Part, h.Q)
	}
	if n, err = DecodeID(d, Part, 2, "n"); err != nil {
		return 0, false, nil, err
	}
	if last, err = d.DecodeBool(); err != nil {
		return 0, false, nil, WrongElement(Part, 3, "last", "bool", d)
	}
	if d.Peek() != jelly.KindBytes {
		return 0, false, nil, WrongElement(Part, 4, "bytes", "bin", d)
	}
	if piece, err = d.DecodeName(); err != nil {
		return 0, false, nil, WrongElement(Part, 4, "bytes", "bin", d)
	}
	return n, last, piece, nil
}

// FirstPiece is err, which was found in the first piece of a long message: it may be only that the
// piece is too short.
func FirstPiece(err error) error {
	if p, ok := errors.AsType[*ProtocolError](err); ok {
		return Violation("PART: first piece, up to a CALL's arguments: %s", p.Reason)
	}
	return err
}

package jelly

import (
	"encoding/binary"
	"math/big"
	"strconv"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// The library writes here through our own buffer, in its low-level form only. What comes from a
// peer it never sees.

// A writer is the library's way to the end of an Encoder's buffer.
type writer struct{ e *Encoder }

func (w writer) Write(p []byte) (int, error) {
	w.e.b = append(w.e.b, p...)
	return len(p), nil
}

func (w writer) WriteByte(c byte) error {
	w.e.b = append(w.e.b, c)
	return nil
}

func (e *Encoder) library() *msgpack.Encoder {
	if e.lib == nil {
		e.lib = msgpack.NewEncoder(writer{e})
	}
	return e.lib
}

// EncodeTime appends t to the nanosecond. The location and the monotonic reading stay behind.
func (e *Encoder) EncodeTime(t time.Time) {
	seconds, nanoseconds := uint64(t.Unix()), uint64(t.Nanosecond())
	const typ = 0xff // extTime
	switch {
	case seconds>>34 != 0:
		b := binary.BigEndian.AppendUint32(append(e.b, codeExt8, 12, typ), uint32(nanoseconds))
		e.b = binary.BigEndian.AppendUint64(b, seconds)
	case seconds>>32 != 0 || nanoseconds != 0:
		e.b = binary.BigEndian.AppendUint64(append(e.b, codeFixExt8, typ), nanoseconds<<34|seconds)
	default:
		e.b = binary.BigEndian.AppendUint32(append(e.b, codeFixExt4, typ), uint32(seconds))
	}
}

// DecodeTime reads a time, in UTC. The zero time arrives as the zero time.
func (d *Decoder) DecodeTime() (time.Time, error) {
	typ, start, end, ok := extHead(d.b, d.i)
	if !ok || typ != extTime {
		return time.Time{}, d.mismatch(typeTime, "")
	}
	body := d.b[start:end]
	if reason := checkTime(body); reason != "" {
		return time.Time{}, &TypeError{Type: typeTime, Reason: reason}
	}
	d.i = end
	switch len(body) {
	case 4:
		return time.Unix(int64(be32(body)), 0).UTC(), nil
	case 8:
		both := be64(body)
		return time.Unix(int64(both&(1<<34-1)), int64(both>>34)).UTC(), nil
	}
	return time.Unix(int64(be64(body[4:])), int64(be32(body))).UTC(), nil
}

// EncodeDuration appends d as nanoseconds, in a form that keeps it apart from an int.
func (e *Encoder) EncodeDuration(d time.Duration) {
	n := uint64(d)
	e.b = append(appendExt(e.b, extDuration, 8), byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32),
		byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// DecodeDuration reads a duration.
func (d *Decoder) DecodeDuration() (time.Duration, error) {
	typ, body, end, ok := extHead(d.b, d.i)
	if !ok || typ != extDuration || end-body != 8 {
		return 0, d.mismatch(typeDuration, "")
	}
	d.i = end
	return time.Duration(be64(d.b[body:])), nil
}

// encodeBigInt appends x, or refuses what no receiver takes.
func (e *Encoder) encodeBigInt(x *big.Int) error {
	if x != nil && x.BitLen() > 8*maxBigInt {
		return &TypeError{
			Type: typeBigInt,
			Reason: "a number of more than " + strconv.Itoa(maxBigInt) +
				" bytes does not cross; send its Bytes",
		}
	}
	e.EncodeBigInt(x)
	return nil
}

// EncodeBigInt appends x; nil becomes nil. A magnitude of more than 1 KiB is refused by the other
// side; Encode returns an error instead.
func (e *Encoder) EncodeBigInt(x *big.Int) {
	if x == nil {
		e.EncodeNil()
		return
	}
	n := (x.BitLen() + 7) / 8
	_ = e.library().EncodeExtHeader(extBigInt, n+1)
	sign := byte(0)
	if x.Sign() < 0 {
		sign = 1
	}
	e.b = append(e.b, sign)
	start := len(e.b)
	e.b = append(e.b, make([]byte, n)...)
	x.FillBytes(e.b[start:])
}

// DecodeBigInt reads a big int of at most Limits.BigIntBytes bytes; an ordinary int will do as
// well.
func (d *Decoder) DecodeBigInt() (*big.Int, error) {
	switch kindAt(d.b, d.i) {
	case KindInt:
		u, negative, err := d.anyInt(typeBigInt)
		if err != nil {
			return nil, err
		}
		if err := d.charge(sizeBigInt + 8); err != nil {
			return nil, err
		}
		if negative {
			return big.NewInt(int64(u)), nil
		}
		return new(big.Int).SetUint64(u), nil
	case KindBigInt:
	default:
		return nil, d.mismatch(typeBigInt, "")
	}
	_, body, end, _ := extHead(d.b, d.i)
	if reason := checkBigInt(d.b[body:end]); reason != "" {
		return nil, &TypeError{Type: typeBigInt, Reason: reason}
	}
	if end-body-1 > d.bigInt {
		return nil, &TypeError{Type: typeBigInt, Reason: bigIntOver(d.bigInt)}
	}
	if err := d.charge(sizeBigInt + end - body); err != nil {
		return nil, err
	}
	d.i = end
	return bigInt(d.b[body:end]), nil
}

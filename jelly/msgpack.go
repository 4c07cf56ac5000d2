package jelly

import (
	"io"
	"math/big"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// The library reads and writes here through our own buffers, in its low-level form only, and never chooses a Go type.
// What it reads has been scanned, and the head of each value is looked at before the library sees it, because it takes
// several other heads for a time.

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

// A reader is the library's way into a Decoder's message.
type reader struct{ d *Decoder }

func (r reader) Read(p []byte) (int, error) {
	if r.d.i >= len(r.d.b) {
		return 0, io.EOF
	}
	n := copy(p, r.d.b[r.d.i:])
	r.d.i += n
	return n, nil
}

func (r reader) ReadByte() (byte, error) {
	if r.d.i >= len(r.d.b) {
		return 0, io.EOF
	}
	c := r.d.b[r.d.i]
	r.d.i++
	return c, nil
}

func (r reader) UnreadByte() error {
	r.d.i--
	return nil
}

func (e *Encoder) library() *msgpack.Encoder {
	if e.lib == nil {
		e.lib = msgpack.NewEncoder(writer{e})
	}
	return e.lib
}

func (d *Decoder) library() *msgpack.Decoder {
	if d.lib == nil {
		d.lib = msgpack.NewDecoder(reader{d})
	}
	return d.lib
}

// EncodeTime appends t to the nanosecond. The location and the monotonic reading stay behind.
func (e *Encoder) EncodeTime(t time.Time) {
	_ = e.library().EncodeTime(t) // the writer never fails
}

// DecodeTime reads a time, in UTC. The zero time arrives as the zero time.
func (d *Decoder) DecodeTime() (time.Time, error) {
	typ, body, end, ok := extHead(d.b, d.i)
	if !ok || typ != extTime {
		return time.Time{}, d.mismatch(typeTime, "")
	}
	if reason := checkTime(d.b[body:end]); reason != "" {
		return time.Time{}, &TypeError{Type: typeTime, Reason: reason}
	}
	t, err := d.library().DecodeTime()
	if err != nil {
		d.lib = nil // a Decoder that failed may keep what it read
		return time.Time{}, &TypeError{Type: typeTime, Reason: err.Error()}
	}
	return t.UTC(), nil
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

// EncodeBigInt appends x; nil becomes nil.
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

// DecodeBigInt reads a big int of at most Limits.BigIntBytes bytes; an ordinary int will do as well.
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
	if reason := checkBigInt(d.b[body:end], d.bigInt); reason != "" {
		return nil, &TypeError{Type: typeBigInt, Reason: reason}
	}
	if err := d.charge(sizeBigInt + end - body); err != nil {
		return nil, err
	}
	d.i = end
	return bigInt(d.b[body:end]), nil
}

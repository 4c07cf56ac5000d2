package contestants

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"

	"bench/harness"
)

// A frame of the bare contestants: u32 length of the rest, u64 number of the
// call, u64 ID, u8 length of the name, name, payload; little-endian.

const (
	maxFrame  = 16 << 20
	frameHead = 8 + 8 + 1
)

var errFrame = errors.New("contestants: a frame of impossible length")

func appendFrame(b []byte, seq uint64, m *harness.Msg) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(frameHead+len(m.Name)+len(m.Payload)))
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.ID))
	b = append(b, byte(len(m.Name)))
	b = append(b, m.Name...)
	return append(b, m.Payload...)
}

// readFrame reads a frame without its length, into buf if it fits.
func readFrame(r *bufio.Reader, buf []byte) ([]byte, error) {
	h, err := r.Peek(4)
	if err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(h))
	if n < frameHead || n > maxFrame {
		return nil, errFrame
	}
	if _, err := r.Discard(4); err != nil {
		return nil, err
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err = io.ReadFull(r, buf); err != nil {
		return nil, err
	}
	if frameHead+int(buf[frameHead-1]) > n {
		return nil, errFrame
	}
	return buf, nil
}

// decodeFrame takes what readFrame gave; the payload shares its memory.
func decodeFrame(b []byte) (seq uint64, m harness.Msg) {
	k := frameHead + int(b[frameHead-1])
	return binary.LittleEndian.Uint64(b), harness.Msg{
		ID: int64(binary.LittleEndian.Uint64(b[8:])), Name: string(b[frameHead:k]), Payload: b[k:]}
}

// acceptLoop gives each connection to f on a goroutine that ends with it.
func acceptLoop(ln net.Listener, f func(net.Conn)) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go f(c)
	}
}

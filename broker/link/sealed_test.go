//go:build unix

package link

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// TestRecords: where a record ends is known however it is read.
func TestRecords(t *testing.T) {
	var stream []byte
	ends := map[int]bool{0: true}
	for _, n := range []int{0, 1, 2, 300, 16_640, 0, 0, 5} {
		stream = append(stream, binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(n))...)
		stream = append(stream, bytes.Repeat([]byte{255}, n)...)
		ends[len(stream)] = true
	}
	r := rand.New(rand.NewPCG(3, 3))
	for range 100 {
		var record record
		for at := 0; at < len(stream); {
			k := min(len(stream)-at, []int{1, 2, 3, 4, 5, 6, 100, 20_000}[r.IntN(8)])
			if r.IntN(2) == 0 {
				k = record.one(stream[at : at+k])
				for i := at + 1; i < at+k; i++ {
					if ends[i] {
						t.Fatalf("%d bytes from %d are of more than one record", k, at)
					}
				}
			}
			record.follow(stream[at : at+k])
			at += k
			if record.inside() == ends[at] {
				t.Fatalf("after %d bytes: inside is %v", at, record.inside())
			}
		}
	}
}

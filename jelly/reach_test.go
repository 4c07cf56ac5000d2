package jelly_test

import (
	"math/rand/v2"
	"testing"

	"perspective/jelly"
)

// TestReach cuts a message at every place: where it is cut in text or bytes their end is told, else
// nothing is.
func TestReach(t *testing.T) {
	e := jelly.GetEncoder()
	defer jelly.PutEncoder(e)
	e.EncodeArrayLen(6)
	e.EncodeInt(-70_000)
	type part struct{ from, to int } // the first byte behind the head, and the end
	var parts []part
	long := func(head int, put func()) {
		from := e.Len() + head
		put()
		parts = append(parts, part{from, e.Len()})
	}
	e.EncodeMapLen(1)
	long(1, func() { e.EncodeString("k") })
	e.EncodeFloat64(1.5)
	long(2, func() { e.EncodeBytes(make([]byte, 200)) })
	long(3, func() { e.EncodeString(string(make([]byte, 300))) })
	long(1, func() { e.EncodeString("twelve bytes") })
	e.EncodeNil()
	whole := e.Buffer()
	for cut := range len(whole) + 1 {
		want := 0
		for _, p := range parts {
			if p.from <= cut && cut < p.to {
				want = p.to
			}
		}
		if got := jelly.Reach(whole[:cut]); got != want {
			t.Errorf("cut at %d: Reach = %d, want %d", cut, got, want)
		}
	}
}

// TestReachOfAnything: no bytes make it fail, and what it tells is behind them.
func TestReachOfAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		b := make([]byte, r.IntN(24))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if end := jelly.Reach(b); end != 0 && end <= len(b) {
			t.Fatalf("Reach(% x) = %d, which is inside", b, end)
		}
	}
}

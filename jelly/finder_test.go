package jelly_test

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"perspective/jelly"
)

// TestFinder: however a message is cut, all objects and streams in it are found, and nothing else
// is taken for one.
func TestFinder(t *testing.T) {
	e := jelly.GetEncoder()
	defer jelly.PutEncoder(e)
	var want []jelly.Ref
	ref := func(r jelly.Ref) {
		e.EncodeRef(r)
		if r.Kind == jelly.RefExport || r.Kind == jelly.RefStream {
			want = append(want, r)
		}
	}
	e.EncodeArrayLen(12)
	ref(jelly.Ref{Kind: jelly.RefExport, ID: 2})
	e.EncodeString("\xc7\x02\x01\x02\x00 is no object in text")
	e.EncodeBytes([]byte{0xc7, 2, 1, 2, 0})
	ref(jelly.Ref{Kind: jelly.RefExport, ID: 1 << 40, Object: 1 << 50})
	ref(jelly.Ref{Kind: jelly.RefYours, ID: 3})
	ref(jelly.Ref{Kind: jelly.RefAnswer, ID: 3, Path: []string{"a", "long step of a path"}})
	e.EncodeMapLen(1)
	e.EncodeString("k")
	ref(jelly.Ref{Kind: jelly.RefStream, ID: 300})
	e.EncodeFloat64(1.5)
	e.EncodeBytes(make([]byte, 70_000))
	e.EncodeInt(-70_000)
	e.EncodeArrayLen(1)
	ref(jelly.Ref{Kind: jelly.RefExport, ID: 70_000})
	e.EncodeNil()
	whole := e.Buffer()
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var f jelly.Finder
		var got []jelly.Ref
		for rest := whole; len(rest) > 0; {
			k := 1 + r.IntN(12)
			if r.IntN(4) == 0 {
				k = 1 + r.IntN(len(rest))
			}
			k = min(k, len(rest))
			f.Find(rest[:k], func(r jelly.Ref) { got = append(got, r) })
			rest = rest[k:]
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("found %v, want %v", got, want)
		}
	}
	for range 200_000 { // no bytes make it fail
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		var f jelly.Finder
		f.Find(b, func(jelly.Ref) {})
	}
}

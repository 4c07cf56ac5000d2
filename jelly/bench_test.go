package jelly_test

import (
	"testing"

	"perspective/jelly"
)

func BenchmarkScanCall(b *testing.B) {
	m := callMessage()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jelly.Scan(m, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScanMaps(b *testing.B) {
	m := encode(b, nil, []map[string]any{{"name": "a", "size": 5, "tags": map[string]bool{"x": true, "y": false}}, {"name": "b", "size": 6}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jelly.Scan(m, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeCall(b *testing.B) {
	var e jelly.Encoder
	b.ReportAllocs()
	for b.Loop() {
		e.Reset(nil, nil)
		putCall(&e)
	}
}

func BenchmarkEncodeCallAny(b *testing.B) {
	var e jelly.Encoder
	args := []any{int64(123456), "sixteen-byte-str", payload[:]}
	b.ReportAllocs()
	for b.Loop() {
		e.Reset(nil, nil)
		for _, a := range args {
			if err := e.Encode(a); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkDecodeCall(b *testing.B) { // two allocations: the string and the bytes
	var e jelly.Encoder
	e.EncodeInt(123456)
	e.EncodeString("sixteen-byte-str")
	e.EncodeBytes(payload[:])
	var d jelly.Decoder
	b.ReportAllocs()
	for b.Loop() {
		d.Reset(nil, nil, e.Buffer(), nil)
		_, _ = d.DecodeInt()
		_, _ = d.DecodeString()
		if _, err := d.DecodeBytes(); err != nil {
			b.Fatal(err)
		}
	}
}

type Flat struct {
	ID     int64
	Name   string
	Score  float64
	Active bool
	Count  uint32
}

func roundTrips[T any](b *testing.B, r *jelly.Registry, in T) {
	c := jelly.For[T](r)
	var e jelly.Encoder
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e.Reset(r, nil)
			if err := c.Encode(&e, &in); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		m := encode(b, r, in)
		var d jelly.Decoder
		var out T
		b.ReportAllocs()
		for b.Loop() {
			d.Reset(r, nil, m, nil)
			if err := c.Decode(&d, &out); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkFlatStruct(b *testing.B) {
	r := new(jelly.Registry)
	jelly.RegisterIn[Flat](r, "Flat")
	roundTrips(b, r, Flat{987654, "sixteen-byte-nam", 3.25, true, 77})
}

func BenchmarkInts(b *testing.B) {
	s := make([]int64, 100)
	for i := range s {
		s[i] = int64(i * 1000)
	}
	roundTrips(b, nil, s)
}

func BenchmarkMap(b *testing.B) {
	roundTrips(b, nil, map[string]int64{"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6})
}

func BenchmarkAny(b *testing.B) {
	roundTrips(b, nil, any(map[string]any{"name": "a", "size": int64(500), "list": []any{true, "x", 2.5}}))
}

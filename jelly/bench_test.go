package jelly_test

import (
	"reflect"
	"testing"
	"time"

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
	m := encode(b, nil, []map[string]any{
		{"name": "a", "size": 5, "tags": map[string]bool{"x": true, "y": false}},
		{"name": "b", "size": 6},
	})
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
	roundTrips(b, nil,
		map[string]int64{"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6})
}

func BenchmarkAny(b *testing.B) {
	roundTrips(b, nil,
		any(map[string]any{"name": "a", "size": int64(500), "list": []any{true, "x", 2.5}}))
}

// Echo is what the benchmarks of the broker send.
type Echo struct {
	ID      int64
	Name    string
	Payload []byte
}

// Order is a nested struct.
type Order struct {
	ID    int64
	From  Point
	To    *Point
	Lines [2]Flat
	Notes []string
	At    time.Time
	Takes time.Duration
}

func benched() *jelly.Registry {
	r := types()
	jelly.RegisterIn[Echo](r, "Echo")
	jelly.RegisterIn[Flat](r, "Flat")
	jelly.RegisterIn[Order](r, "Order")
	return r
}

func echo() Echo { return Echo{123456, "sixteen-byte-str", payload[:]} }

func BenchmarkEcho(b *testing.B) { roundTrips(b, benched(), echo()) }

func BenchmarkStructs(b *testing.B) {
	s := make([]Flat, 100)
	for i := range s {
		s[i] = Flat{int64(i * 1000), "sixteen-byte-nam", 3.25, true, uint32(i)}
	}
	roundTrips(b, benched(), s)
}

func BenchmarkMapOfInts(b *testing.B) {
	roundTrips(b, nil,
		map[string]int{"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6})
}

func BenchmarkMapByInts(b *testing.B) {
	roundTrips(b, benched(), map[int32]Point{1: {1, 2}, 2: {3, 4}, 3: {5, 6}, 4: {7, 8}})
}

func BenchmarkNested(b *testing.B) {
	f := Flat{987654, "sixteen-byte-nam", 3.25, true, 77}
	roundTrips(b, benched(), Order{5, Point{1, 2}, &Point{3, 4}, [2]Flat{f, f},
		[]string{"fragile", "heavy"}, time.Unix(1700000000, 5), time.Second})
}

// BenchmarkEchoPlain is the echo struct by the ways that take any type.
func BenchmarkEchoPlain(b *testing.B) {
	r := benched()
	in := echo()
	m := encode(b, r, in)
	var e jelly.Encoder
	var d jelly.Decoder
	b.Run("Encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e.Reset(r, nil)
			if err := e.Encode(&in); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("EncodeValue", func(b *testing.B) {
		v := reflect.ValueOf(&in).Elem()
		b.ReportAllocs()
		for b.Loop() {
			e.Reset(r, nil)
			if err := e.EncodeValue(v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("EncodeCopy", func(b *testing.B) {
		v := reflect.ValueOf(in)
		b.ReportAllocs()
		for b.Loop() {
			e.Reset(r, nil)
			if err := e.EncodeValue(v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d.Reset(r, nil, m, nil)
			if err := d.Decode(&in); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("DecodeAny", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d.Reset(r, nil, m, nil)
			if _, err := d.DecodeAny(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkScanEcho(b *testing.B) {
	m := encode(b, benched(), echo())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jelly.Scan(m, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPools(b *testing.B) {
	m := encode(b, nil, int64(5))
	b.ReportAllocs()
	for b.Loop() {
		e := jelly.GetEncoder()
		e.Reset(nil, nil)
		e.EncodeInt(5)
		jelly.PutEncoder(e)
		d := jelly.GetDecoder()
		d.Reset(nil, nil, m, nil)
		_, _ = d.DecodeInt()
		jelly.PutDecoder(d)
	}
}

package jelly_test

import (
	"fmt"

	"perspective/jelly"
)

type City struct {
	Name   string
	People int
}

func init() { jelly.Register[City]("example.City") }

func Example() {
	e := jelly.GetEncoder()
	defer jelly.PutEncoder(e)
	if err := e.Encode(City{"Ulm", 126_000}); err != nil {
		fmt.Println(err)
		return
	}

	message := e.Buffer() // and now it travels
	if _, err := jelly.Scan(message, nil); err != nil {
		fmt.Println(err)
		return
	}
	var d jelly.Decoder
	d.Reset(nil, nil, message, nil)
	var c City
	err := d.Decode(&c)
	fmt.Println(c, err)
	// Output: {Ulm 126000} <nil>
}

func ExampleScan() {
	// an array of 2^32-1 elements, it says
	_, err := jelly.Scan([]byte{0xdd, 0xff, 0xff, 0xff, 0xff}, nil)
	fmt.Println(err)
	// Output: jelly: scan: byte 5: more elements announced than bytes are left
}

func ExampleDecoder_Decode() {
	var e jelly.Encoder
	e.EncodeInt(300)
	var d jelly.Decoder
	d.Reset(nil, nil, e.Buffer(), nil)
	var small int8
	fmt.Println(jelly.At("argument 1", d.Decode(&small)))
	// Output: jelly: argument 1: want int8, got 300: out of range
}

func ExampleFor() {
	cities := jelly.For[City](nil)
	var e jelly.Encoder
	err := cities.Encode(&e, &City{"Ulm", 126_000})
	fmt.Println(e.Len(), cities.Pure(), err)
	// Output: 26 true <nil>
}

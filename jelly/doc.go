// Package jelly turns Go values into MessagePack and back. It knows no connection.
//
// Three names matter. An [Encoder] appends values to one buffer. [Scan] walks a message that came
// from a peer, before anything else looks at it, and refuses what could hurt. A [Decoder] reads a
// scanned message into Go values:
//
//	var e jelly.Encoder
//	e.Reset(nil, nil)
//	err := e.Encode(Point{1, 2})
//
//	_, err = jelly.Scan(e.Buffer(), nil)
//	var d jelly.Decoder
//	d.Reset(nil, nil, e.Buffer(), nil)
//	var p Point
//	err = d.Decode(&p)
//
// A value crosses if its type is plain (see the table below) or if it was registered by name:
//
//	func init() { jelly.Register[Point]("geom.Point") }
//
// Nothing is guessed and nothing unregistered is ever built: everything else is a [*TypeError].
// Values are trees; a cycle is an error, and two pointers to one value arrive as two values.
//
// # Wire forms
//
//	Go value                        MessagePack
//	nil, nil pointer, slice, map    nil
//	bool                            bool
//	int…, uint…                     the shortest int
//	float32, float64                float 32, float 64
//	string                          str, always UTF-8
//	[]byte, [N]byte                 bin
//	[]T, [N]T                       array; [N]T has exactly N elements
//	map[K]V                         map in any order; K is a string, int, bool or float, never NaN
//	*T                              as T; pointers to pointers collapse: one to nil arrives as nil
//	registered struct               map of one entry, written 0x81:
//	                                ext 6 (the name) -> array of the exported fields in order
//	other registered type           the same map: ext 6 (the name) -> the bare value
//	Custom, registered              the same map: ext 6 (the name) -> what AppendJelly wrote
//	Custom, not registered          what AppendJelly wrote
//	time.Time                       timestamp, ext -1 of 4, 8 or 12 bytes; nanoseconds, UTC
//	time.Duration                   ext 7, 8 bytes: nanoseconds, big-endian, two's complement
//	big.Int                         ext 8: a byte 0 or 1 (negative), then the magnitude,
//	                                big-endian, no leading zero
//	ref(export, object)             ext 1: two unsigned ints
//	yours(id)                       ext 2: one unsigned int
//	answerRef(q, path)              ext 3: an unsigned int, an array of at most 16 strings
//	answerValue(q, path)            ext 4: an unsigned int, an array of at most 16 strings
//	stream(id)                      ext 5: one unsigned int
//
// The bodies of ext 1 to 5 are MessagePack values one after another, each in its shortest form. Ext
// 6 stands nowhere but as the key of a map of one entry. A struct array may be shorter than the
// struct (the rest is zero) or longer (the rest is skipped), so fields may be added at the end. A
// field tagged `jelly:"-"` stays at home.
//
// Decoding is strict: an int must fit, a float never becomes an int (an int becomes a float where
// nothing is lost), nil goes only into pointers, slices, maps and interfaces, bin and str are not
// each other. Targets are fresh: nothing that stood in a slice, map or struct before survives.
//
// Bytes are copied on their way in and out, unless [Encoder.ByReference] and [Decoder.Own] allow
// large ones to stay where they lie.
//
// A message whose maps are many and tiny, such as a thousand of {"a": 1}, is refused by the scan if
// it would take up more than 64 KiB and 80 times its length in memory: a list of pairs, or a
// registered type, is a better form for it.
//
// Into an empty interface come nil, bool, int64 (uint64 only above the largest int64), float32,
// float64, string, []byte, []any, map[string]any if every key is a string and else map[any]any,
// time.Time, time.Duration, *big.Int and registered types.
package jelly

package jelly

import (
	"math/big"
	"math/bits"
	"reflect"
	"strconv"
	"time"
)

var (
	typeAny      = reflect.TypeFor[any]()
	typeBytes    = reflect.TypeFor[[]byte]()
	typeTime     = reflect.TypeFor[time.Time]()
	typeDuration = reflect.TypeFor[time.Duration]()
	typeBigInt   = reflect.TypeFor[big.Int]()
	sizeBigInt   = int(typeBigInt.Size())
)

// mismatch returns the error for a next value of the wrong kind. Where no Go type was wanted, form
// says what was.
func (d *Decoder) mismatch(want reflect.Type, form string) error {
	got := d.Peek().String()
	switch kindAt(d.b, d.i) {
	case KindStruct:
		if name, _, ok := d.name(); ok {
			got = "a registered " + strconv.Quote(string(name))
		}
	case KindInt:
		if u, negative, end := d.peekInt(); end >= 0 {
			got = formatInt(u, negative)
		}
	default: // the kind's name is enough
	}
	if want == nil && form != "" {
		return &TypeError{Reason: "want " + form + ", got " + got}
	}
	return &TypeError{Type: want, Got: got}
}

func outOfRange(want reflect.Type, got string) error {
	return &TypeError{Type: want, Got: got, Reason: "out of range"}
}

// withType names the Go type that was wanted in place of the one the scalar method knows of.
func withType(err error, t reflect.Type) error {
	//nolint:errorlint // made here
	if te, ok := err.(*TypeError); ok && te.Path == "" && te.Type != nil {
		te.Type = t
	}
	return err
}

func formatInt(u uint64, negative bool) string {
	if negative {
		return strconv.FormatInt(int64(u), 10)
	}
	return strconv.FormatUint(u, 10)
}

func bitLen(u uint64) int { return bits.Len64(u) }

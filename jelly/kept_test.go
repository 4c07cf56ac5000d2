package jelly_test

import (
	"reflect"
	"testing"

	"perspective/jelly"
)

// keeper keeps, in seen, the address at which its methods are called.
type keeper struct {
	N    int
	Next *keeper
}

var seen []*keeper

func (k *keeper) CheckCopy() error {
	seen = append(seen, k)
	return nil
}

func init() { jelly.Register[keeper]("test.keeper") }

// TestAddressMayBeKept: what a method of the program keeps the address of is not
// written to afterwards, for another value of the same map or of another message.
func TestAddressMayBeKept(t *testing.T) {
	for _, v := range []any{
		map[string]keeper{"a": {N: 1}, "b": {N: 2}, "c": {N: 3}},
		map[string][1]keeper{"a": {{N: 1}}, "b": {{N: 2}}, "c": {{N: 3}}},
		[]keeper{{N: 1}, {N: 2}, {N: 3}},
		[3]keeper{{N: 1}, {N: 2}, {N: 3}},
		map[string]*keeper{"a": {N: 1}, "b": {N: 2}, "c": {N: 3}},
	} {
		t.Run(reflect.TypeOf(v).String(), func(t *testing.T) {
			seen = nil
			e := jelly.GetEncoder()
			e.Reset(nil, nil)
			if err := e.Encode(v); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				d := new(jelly.Decoder)
				d.Reset(nil, nil, e.Buffer(), nil)
				if err := d.DecodeValue(reflect.New(reflect.TypeOf(v)).Elem()); err != nil {
					t.Fatal(err)
				}
			}
			count := map[int]int{}
			for _, k := range seen {
				count[k.N]++
			}
			if len(seen) != 9 || count[1] != 3 || count[2] != 3 || count[3] != 3 {
				t.Errorf("%d kept: %v", len(seen), count)
			}
		})
	}
}

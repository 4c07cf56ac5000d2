package jelly_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"perspective/jelly"
)

func TestEachRefFindsAllInOrder(t *testing.T) {
	var e jelly.Encoder
	e.EncodeArrayLen(4)
	e.EncodeRef(jelly.Ref{Kind: jelly.RefYours, ID: 1})
	e.EncodeMapLen(1)
	e.EncodeString("k")
	e.EncodeRef(jelly.Ref{Kind: jelly.RefExport, ID: 2, Object: 9})
	e.EncodeRaw([]byte("\x81\xd4\x06P\x91"))
	e.EncodeRef(jelly.Ref{Kind: jelly.RefAnswer, ID: 3, Path: []string{"a", "b"}})
	e.EncodeTime(time.Unix(1, 0))
	if _, err := jelly.Scan(e.Buffer(), nil); err != nil {
		t.Fatal(err)
	}
	var ids []uint64
	if err := jelly.EachRef(e.Buffer(), func(r jelly.Ref) error {
		ids = append(ids, r.ID)
		return nil
	}); err != nil || !reflect.DeepEqual(ids, []uint64{1, 2, 3}) {
		t.Errorf("EachRef found %v, %v, want [1 2 3]", ids, err)
	}
	stop := errors.New("stop")
	//nolint:errorlint // itself, bare
	if err := jelly.EachRef(e.Buffer(), func(jelly.Ref) error { return stop }); err != stop {
		t.Errorf("EachRef = %v, want the function's error", err)
	}
}

func TestEnter(t *testing.T) {
	r := types()
	for _, c := range []struct {
		value any
		step  string
		want  any
	}{
		{Line{Point{1, 2}, Point{3, 4}}, "To", Point{3, 4}},
		{map[string]int{"a": 1, "b": 2}, "b", int64(2)},
		{map[any]any{1: "x", "b": "y"}, "b", "y"},
	} {
		d := decoder(t, r, encode(t, r, c.value))
		if err := d.Enter(c.step); err != nil {
			t.Errorf("Enter(%q) of %v = %v", c.step, c.value, err)
			continue
		}
		if got, err := d.DecodeAny(); err != nil || got != c.want {
			t.Errorf("%q of %v = %v, %v, want %v", c.step, c.value, got, err, c.want)
		}
	}
	for _, v := range []any{Line{}, map[string]int{"a": 1}, 5, Celsius(1), []int{1}} {
		var te *jelly.TypeError
		if err := decoder(t, r, encode(t, r, v)).Enter("Nowhere"); !errors.As(err, &te) {
			t.Errorf("Enter of %v = %v, want a *TypeError", v, err)
		}
	}
}

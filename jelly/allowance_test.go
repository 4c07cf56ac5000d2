package jelly_test

import (
	"errors"
	"strings"
	"testing"

	"perspective/jelly"
)

// allowance gives what is needed, or twice what there is, up to a limit.
type allowance struct{ limit, most, asked int }

func (a *allowance) Grow(size, need int) (int, error) {
	a.asked++
	if need > a.limit {
		return 0, errNoRoom
	}
	a.most = min(max(need, 2*size), a.limit)
	return a.most, nil
}

type (
	manyFields struct {
		Text  string
		Bytes []byte
		List  []string
	}
	rawCustom struct{ N int }
)

func (r *rawCustom) AppendJelly(e *jelly.Encoder) error {
	e.EncodeArrayLen(r.N)
	for range r.N {
		e.EncodeBytes(make([]byte, 1<<10))
	}
	return nil
}

func (r *rawCustom) ReadJelly(d *jelly.Decoder) error { return d.Skip() }

// Whatever is encoded, a message grows no further than it is allowed to, but for the few bytes of
// numbers in a row.
func TestAllowance(t *testing.T) {
	r := new(jelly.Registry)
	jelly.RegisterIn[manyFields](r, "manyFields")
	const limit, slack = 32 << 10, 10 << 10
	long := strings.Repeat("x", 500<<10)
	for _, v := range []any{
		long, []byte(long), []string{"a", long}, []any{"a", []byte(long)},
		map[string]string{"a": long}, map[string]any{"a": []byte(long)},
		manyFields{Text: long}, &manyFields{Bytes: []byte(long)}, manyFields{List: []string{long}},
		slicesOf(7, 500<<10), slicesOf(int64(7), 500<<10), slicesOf(uint16(7), 500<<10),
		slicesOf(1.5, 100<<10), slicesOf(true, 500<<10),
		slicesOf[any](7, 500<<10), slicesOf("a word", 100<<10), slicesOf([]int{1, 2}, 100<<10),
		slicesOf(manyFields{Text: "a"}, 100<<10),
		slicesOf(map[string]int{"a": 1}, 100<<10), [500 << 10]byte{}, &rawCustom{500},
	} {
		e := new(jelly.Encoder)
		e.Reset(r, nil)
		a := &allowance{limit: limit}
		e.Allowed(1<<10, a)
		err := e.Encode(v)
		if !errors.Is(e.Denied(), errNoRoom) || cap(e.Buffer()) > 2*limit+slack ||
			e.Granted() != max(a.most-1<<10, 0) {
			t.Errorf("%T: %v, denied %v; the buffer has %d bytes, %d were given", v, err,
				e.Denied(), cap(e.Buffer()), e.Granted())
		}
		if b := encode(t, r, v); len(b) <= limit {
			t.Errorf("%T takes %d bytes, which is no test", v, len(b))
		} else {
			a = &allowance{limit: len(b) + slack}
			e.Reset(r, nil)
			e.Allowed(1<<10, a)
			if err := e.Encode(v); err != nil || e.Denied() != nil || e.Granted() <
				len(b)-1<<10-slack || string(e.Buffer()) != string(b) || a.asked > 20 {
				t.Errorf("%T with room: %v, denied %v, %d of %d bytes given in %d", v, err,
					e.Denied(), e.Granted(), len(b), a.asked)
			}
		}
		e.Reset(r, nil)
		if err := e.Encode(v); err != nil || e.Denied() != nil || e.Granted() != 0 {
			t.Errorf("%T after Reset: %v, denied %v, %d bytes given", v, err,
				e.Denied(), e.Granted())
		}
	}
	e := new(jelly.Encoder) // what is not copied does not count
	e.Allowed(1<<10, &allowance{limit: limit})
	e.ByReference(8 << 10)
	if err := e.Encode([]byte(long)); err != nil || e.Denied() != nil || e.Granted() != 0 {
		t.Errorf("by reference: %v, denied %v, %d bytes given", err, e.Denied(), e.Granted())
	}
}

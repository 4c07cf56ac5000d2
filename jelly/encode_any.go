package jelly

import (
	"math/big"
	"reflect"
	"time"
)

// Encode appends v: a plain value, one of a registered type, or one that crosses by reference.
// After an error, a *TypeError or what the owner of the references returned, e is as it was before.
func (e *Encoder) Encode(v any) error {
	start, depth, nested := len(e.b), e.depth, e.nested
	err := e.encodeAny(v)
	if err != nil {
		e.undo(start, depth, nested)
	}
	return err
}

// EncodeValue is Encode for a reflect.Value, whose type rules: an interface appends what stands in
// it. The zero reflect.Value is nil. A value that was reached through an unexported field is
// refused.
func (e *Encoder) EncodeValue(v reflect.Value) error {
	if !v.IsValid() {
		e.EncodeNil()
		return nil
	}
	if !v.CanInterface() {
		return &TypeError{Type: v.Type(), Reason: "it was reached through an unexported field"}
	}
	p, err := e.plan(v.Type())
	if err != nil {
		return err
	}
	return p.encodeWhole(e, v)
}

// encodeAny is Encode without the way back.
func (e *Encoder) encodeAny(v any) error {
	switch x := v.(type) {
	case nil:
		e.EncodeNil()
	case bool:
		e.EncodeBool(x)
	case int:
		e.EncodeInt(int64(x))
	case int64:
		e.EncodeInt(x)
	case string:
		return e.encodeText(x)
	case []byte:
		e.EncodeBytes(x)
	case float64:
		e.EncodeFloat64(x)
	case int8:
		e.EncodeInt(int64(x))
	case int16:
		e.EncodeInt(int64(x))
	case int32:
		e.EncodeInt(int64(x))
	case uint:
		e.EncodeUint(uint64(x))
	case uint8:
		e.EncodeUint(uint64(x))
	case uint16:
		e.EncodeUint(uint64(x))
	case uint32:
		e.EncodeUint(uint64(x))
	case uint64:
		e.EncodeUint(x)
	case float32:
		e.EncodeFloat32(x)
	case time.Time:
		e.EncodeTime(x)
	case time.Duration:
		e.EncodeDuration(x)
	case *big.Int:
		return e.encodeBigInt(x)
	case []any:
		return encodeSlice(e, x, formAny())
	case []string:
		return encodeSlice(e, x, formString)
	case []int:
		return encodeSlice(e, x, formInt)
	case []int64:
		return encodeSlice(e, x, formInt64)
	case []float64:
		return encodeSlice(e, x, formFloat64)
	case map[string]any:
		return encodeMap(e, x, formString, formAny())
	case map[string]string:
		return encodeMap(e, x, formString, formString)
	case map[string]int64:
		return encodeMap(e, x, formString, formInt64)
	case map[string]int:
		return encodeMap(e, x, formString, formInt)
	default:
		p, err := e.plan(reflect.TypeOf(v))
		if failure, ok := v.(error); ok {
			if in := e.errorValue(failure, err == nil); in != nil {
				v = in
				p, err = e.plan(reflect.TypeOf(v))
			}
		}
		if err != nil {
			return err
		}
		return p.encodeValue(e, reflect.ValueOf(v))
	}
	return nil
}

// errorValue returns what crosses in the place of err, nil if that is err itself. What is
// registered here is a value like others.
func (e *Encoder) errorValue(err error, plain bool) any {
	refs, ok := e.refs.(ErrorRefs)
	if !ok {
		return nil
	}
	t := reflect.TypeOf(err)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if e.reg.orDefault().registered(t) != nil {
		return nil
	}
	return refs.ErrorValue(err, plain)
}

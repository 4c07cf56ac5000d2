package jelly

import (
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"time"
)

// A form is how the values of exactly one type cross, without reflection.
type form[T any] struct {
	put func(*Encoder, T) error
	get func(*Decoder) (T, error)
}

var (
	formBool = form[bool]{func(e *Encoder, x bool) error { e.EncodeBool(x); return nil },
		(*Decoder).DecodeBool}
	formInt64 = form[int64]{func(e *Encoder, x int64) error { e.EncodeInt(x); return nil },
		(*Decoder).DecodeInt}
	formInt = form[int]{func(e *Encoder, x int) error { e.EncodeInt(int64(x)); return nil },
		(*Decoder).decodeNativeInt}
	formFloat64 = form[float64]{
		func(e *Encoder, x float64) error { e.EncodeFloat64(x); return nil },
		(*Decoder).DecodeFloat64,
	}
	formString = form[string]{(*Encoder).encodeText, (*Decoder).DecodeString}
	formBytes  = form[[]byte]{func(e *Encoder, x []byte) error { e.EncodeBytes(x); return nil },
		(*Decoder).DecodeBytes}
	formTime = form[time.Time]{
		func(e *Encoder, x time.Time) error { e.EncodeTime(x); return nil }, (*Decoder).DecodeTime,
	}
	formSpan = form[time.Duration]{
		func(e *Encoder, x time.Duration) error { e.EncodeDuration(x); return nil },
		(*Decoder).DecodeDuration,
	}
)

// formAny is a function because what it does leads back to it.
func formAny() form[any] {
	return form[any]{(*Encoder).encodeAny,
		func(d *Decoder) (any, error) { return d.decodeAny(typeAny) }}
}

// exactPlans makes the plans of types that have a form. Of named types of the same make only maps
// are among them.
var exactPlans map[reflect.Type]func(*Plan)

func init() { // not in the declaration: decoding an any leads back here
	exactPlans = map[reflect.Type]func(*Plan){
		typeBytes:    func(p *Plan) { p.leaf(opBytes) },
		typeTime:     formTime.plan,
		typeDuration: formSpan.plan,
		typeBigInt:   planBigInt,
	}
	exact(sliceOf(formAny()))
	exactMaps(formString)
	exactMaps(formInt64)
	exactMaps(formInt)
}

func exact[T any](f form[T]) { exactPlans[reflect.TypeFor[T]()] = f.plan }

func exactMaps[K comparable](key form[K]) {
	exact(mapOf(key, formAny()))
	exact(mapOf(key, formString))
	exact(mapOf(key, formInt64))
	exact(mapOf(key, formInt))
	exact(mapOf(key, formFloat64))
	exact(mapOf(key, formBool))
	exact(mapOf(key, formBytes))
}

// plain makes p's plan if its type has a form.
func (p *Plan) plain() bool {
	plan := exactPlans[p.typ]
	if plan == nil {
		return false
	}
	plan(p)
	switch p.typ.Kind() {
	case reflect.Slice, reflect.Map:
		p.pure = p.typ.Elem() != typeAny
	default: // nothing inside
	}
	return true
}

func (f form[T]) plan(p *Plan) {
	p.enc = func(e *Encoder, v place) error { return f.put(e, *at[T](v)) }
	p.dec = func(d *Decoder, v place) error {
		x, err := f.get(d)
		*at[T](v) = x
		if err != nil {
			return withType(err, p.typ)
		}
		return nil
	}
}

// planBigInt is apart because a big.Int must not be copied.
func planBigInt(p *Plan) {
	p.enc = func(e *Encoder, v place) error { return e.encodeBigInt(at[big.Int](v)) }
	p.dec = func(d *Decoder, v place) error {
		p.wipe(v)
		x, err := d.DecodeBigInt()
		if err != nil {
			return err
		}
		at[big.Int](v).Set(x)
		return nil
	}
}

func (d *Decoder) decodeNativeInt() (int, error) {
	start := d.i
	x, err := d.DecodeInt()
	if err != nil {
		return 0, withType(err, reflect.TypeFor[int]())
	}
	if int64(int(x)) != x {
		d.i = start
		return 0, outOfRange(reflect.TypeFor[int](), strconv.FormatInt(x, 10))
	}
	return int(x), nil
}

func sliceOf[T any](f form[T]) form[[]T] {
	return form[[]T]{
		put: func(e *Encoder, s []T) error { return encodeSlice(e, s, f) },
		get: func(d *Decoder) ([]T, error) { return decodeSlice(d, f) },
	}
}

func encodeSlice[T any](e *Encoder, s []T, f form[T]) error {
	if s == nil {
		e.EncodeNil()
		return nil
	}
	if err := e.enter(); err != nil {
		return err
	}
	e.EncodeArrayLen(len(s))
	for i, x := range s {
		err := f.put(e, x)
		if err == nil {
			err = e.checkRoom()
		}
		if err != nil {
			return atElement(i, err)
		}
	}
	e.depth--
	return nil
}

func decodeSlice[T any](d *Decoder, f form[T]) ([]T, error) {
	if d.atNil() {
		d.i++
		return nil, nil
	}
	n, err := d.arrayLen(reflect.TypeFor[[]T]())
	if err != nil {
		return nil, err
	}
	size := reflect.TypeFor[T]().Size()
	if err := d.fits(n, size); err != nil {
		return nil, err
	}
	room := d.ahead(n, size)
	if err := d.chargeEach(room, size); err != nil {
		return nil, err
	}
	s := make([]T, room)
	for i := range n {
		if i == room { // all that was made room for has come
			room = min(n, 2*room)
			if err := d.chargeEach(room-i, size); err != nil {
				return nil, err
			}
			s = append(make([]T, 0, room), s...)[:room:room]
		}
		if d.atExt() && d.atRef() {
			s[i], err = settled[T](d)
		} else {
			s[i], err = f.get(d)
		}
		if err != nil {
			return nil, atElement(i, err)
		}
	}
	return s, nil
}

func mapOf[K comparable, T any](key form[K], elem form[T]) form[map[K]T] {
	return form[map[K]T]{
		put: func(e *Encoder, m map[K]T) error { return encodeMap(e, m, key, elem) },
		get: func(d *Decoder) (map[K]T, error) { return decodeMap(d, key, elem) },
	}
}

func encodeMap[K comparable, T any](e *Encoder, m map[K]T, key form[K], elem form[T]) error {
	if m == nil {
		e.EncodeNil()
		return nil
	}
	if err := e.enter(); err != nil {
		return err
	}
	e.EncodeMapLen(len(m))
	for k, x := range m {
		if err := key.put(e, k); err != nil {
			return At("key", err)
		}
		err := elem.put(e, x)
		if err == nil {
			err = e.checkRoom()
		}
		if err != nil {
			return atKey(fmt.Sprint(k), err)
		}
	}
	e.depth--
	return nil
}

func decodeMap[K comparable, T any](d *Decoder, key form[K], elem form[T]) (map[K]T, error) {
	if d.atNil() {
		d.i++
		return nil, nil
	}
	n, err := d.mapLen(reflect.TypeFor[map[K]T]())
	if err != nil {
		return nil, err
	}
	if err := d.chargeMap(n, reflect.TypeFor[K]().Size()+reflect.TypeFor[T]().Size()); err != nil {
		return nil, err
	}
	m := make(map[K]T, d.ahead(n, reflect.TypeFor[K]().Size()+reflect.TypeFor[T]().Size()))
	for range n {
		k, err := key.get(d)
		if err != nil {
			return nil, At("key", err)
		}
		var x T
		if d.atExt() && d.atRef() {
			x, err = settled[T](d)
		} else {
			x, err = elem.get(d)
		}
		if err != nil {
			return nil, atKey(fmt.Sprint(k), err)
		}
		m[k] = x
	}
	if len(m) != n {
		return nil, keyTwice(reflect.TypeFor[map[K]T]())
	}
	return m, nil
}

// settled is settle for a type that is known. It is apart so that only it allocates.
func settled[T any](d *Decoder) (T, error) {
	p := new(T)
	err := d.settle(reflect.ValueOf(p).Elem())
	return *p, err
}

func atKey(k string, err error) error {
	if len(k) > 64 {
		k = k[:64]
	}
	return At("key "+strconv.Quote(k), err)
}

func keyTwice(t reflect.Type) error { return &TypeError{Type: t, Reason: "a map key occurs twice"} }

// arrayLen is DecodeArrayLen for a Go type.
func (d *Decoder) arrayLen(t reflect.Type) (int, error) {
	if d.Peek() != KindArray {
		return 0, d.mismatch(t, "")
	}
	return d.DecodeArrayLen()
}

// mapLen is DecodeMapLen for a Go type.
func (d *Decoder) mapLen(t reflect.Type) (int, error) {
	if d.Peek() != KindMap {
		return 0, d.mismatch(t, "")
	}
	return d.DecodeMapLen()
}

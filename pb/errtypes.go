package pb

import (
	"errors"
	"reflect"

	"perspective/jelly"
)

// The error types of this module that come out of the other side as themselves, whatever types its
// node knows. The value is an array of the fields; those of a jelly.TypeError are its path and the
// rest of its text, for a reflect.Type means nothing to another program.
var builtinErrorTypes = []*errorName{
	builtinError("pb.NoSuchMethodError",
		func(e *jelly.Encoder, err *NoSuchMethodError) {
			e.EncodeArrayLen(2)
			e.EncodeString(cut(err.Method, maxMethodName))
			encodeStrings(e, err.Near, maxNear)
		},
		func(r *errorFields, err *NoSuchMethodError) {
			err.Method = r.text(maxMethodName)
			err.Near = r.texts(maxNear)
		}),
	builtinError("pb.ArgumentError",
		func(e *jelly.Encoder, err *ArgumentError) {
			e.EncodeArrayLen(3)
			e.EncodeString(cut(err.Method, maxMethodName))
			e.EncodeInt(int64(err.Want))
			e.EncodeInt(int64(err.Got))
		},
		func(r *errorFields, err *ArgumentError) {
			err.Method, err.Want, err.Got = r.text(maxMethodName), r.number(), r.number()
		}),
	builtinError("jelly.TypeError",
		func(e *jelly.Encoder, err *jelly.TypeError) {
			rest := *err
			rest.Path = ""
			e.EncodeArrayLen(2)
			e.EncodeString(cut(err.Path, maxErrorName))
			e.EncodeString(cut(rest.Error()[len("jelly: "):], maxErrorMessage))
		},
		func(r *errorFields, err *jelly.TypeError) {
			err.Path, err.Reason = r.text(maxErrorName), r.text(maxErrorMessage)
		}),
	builtinError("jelly.ScanError",
		func(e *jelly.Encoder, err *jelly.ScanError) {
			e.EncodeArrayLen(2)
			e.EncodeInt(int64(err.Offset))
			e.EncodeString(cut(err.Reason, maxErrorMessage))
		},
		func(r *errorFields, err *jelly.ScanError) {
			err.Offset, err.Reason = r.number(), r.text(maxErrorMessage)
		}),
}

// builtinError names the type *T, whose methods on the pointer make it an error.
func builtinError[T any, P interface {
	*T
	error
}](name string, encode func(*jelly.Encoder, P), decode func(*errorFields, P)) *errorName {
	return &errorName{
		name: name,
		typ:  reflect.TypeFor[P](),
		encode: func(e *jelly.Encoder, err error) error {
			p, ok := err.(P) //nolint:errorlint // the table found it by this very type
			if !ok || p == nil {
				return errMalformed
			}
			encode(e, p)
			return nil
		},
		decode: func(d *jelly.Decoder) (error, error) {
			r := errorFields{d: d}
			r.left, r.err = d.DecodeArrayLen()
			p := P(new(T))
			decode(&r, p)
			for ; r.err == nil && r.left > 0; r.left-- {
				r.err = d.Skip()
			}
			return p, r.err
		},
	}
}

// errMalformed says that a peer's error, or a part of it, has not the form it should have. It never
// leaves this package.
var errMalformed = errors.New("pb: malformed error")

// errorFields reads the array of an error's fields: those at the end may be missing, and are zero.
// The first mistake stays in err.
type errorFields struct {
	d    *jelly.Decoder
	left int
	err  error
}

func (r *errorFields) next() bool {
	if r.err != nil || r.left == 0 {
		return false
	}
	r.left--
	return true
}

func (r *errorFields) text(limit int) (s string) {
	if r.next() {
		s, r.err = decodeText(r.d, limit)
	}
	return s
}

func (r *errorFields) texts(limit int) (list []string) {
	if r.next() {
		list, r.err = decodeTexts(r.d, limit, maxErrorName)
	}
	return list
}

func (r *errorFields) number() int {
	if !r.next() {
		return 0
	}
	n, err := r.d.DecodeInt()
	if r.err = err; err != nil {
		return 0
	}
	return int(n)
}

// decodeText reads a string, "" for nil. A longer one is an error: a peer that keeps to the wire's
// limits sends none.
func decodeText(d *jelly.Decoder, limit int) (string, error) {
	if d.Peek() == jelly.KindNil {
		return "", d.DecodeNil()
	}
	b, err := d.DecodeName()
	if err != nil {
		return "", err
	}
	if len(b) > limit {
		return "", errMalformed
	}
	return cut(string(b), limit), nil // a name may be bytes, and a text is UTF-8
}

// decodeTexts reads an array of strings, nil for nil and for none.
func decodeTexts(d *jelly.Decoder, most, limit int) ([]string, error) {
	if d.Peek() == jelly.KindNil {
		return nil, d.DecodeNil()
	}
	n, err := d.DecodeArrayLen()
	if err != nil {
		return nil, err
	}
	if n > most {
		return nil, errMalformed
	}
	var list []string
	for range n {
		s, err := decodeText(d, limit)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// encodeStrings writes at most most names, nil for none.
func encodeStrings(e *jelly.Encoder, names []string, most int) {
	if len(names) == 0 {
		e.EncodeNil()
		return
	}
	names = names[:min(len(names), most)]
	e.EncodeArrayLen(len(names))
	for _, n := range names {
		e.EncodeString(cut(n, maxErrorName))
	}
}

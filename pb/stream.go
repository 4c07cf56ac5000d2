package pb

import (
	"io"
	"reflect"

	"perspective/jelly"
)

// stream is an argument, result or field that crosses as a byte stream.
type stream interface {
	encode(e *jelly.Encoder, c *Conn) error
}

func (c *Conn) decodeStream(id uint64, want reflect.Type) (reflect.Value, error) {
	return reflect.Value{}, io.ErrUnexpectedEOF
}

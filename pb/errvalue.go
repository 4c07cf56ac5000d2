package pb

import (
	"perspective/internal/guard"
	"perspective/jelly"
)

func init() { jelly.Register[errorValue]("pb.Error") }

// An errorValue is an error that crosses as a value, not as the failure of a call: an argument, a
// result, a part of one.
type errorValue struct {
	codec errorCodec
	err   error
}

// AppendJelly writes the error as the failure of a call is written.
func (v *errorValue) AppendJelly(e *jelly.Encoder) error {
	v.codec.EncodeError(e, v.err)
	return nil
}

// ReadJelly reads it.
func (v *errorValue) ReadJelly(d *jelly.Decoder) error {
	r := errorReader{d: d, nodes: maxErrorNodes, counted: true}
	var err error
	v.err, err = r.read(1)
	return err
}

// StandsFor returns the error.
func (v *errorValue) StandsFor() any { return v.err }

// ErrorValue says which errors cross: those that peers know by name or that came from one, and what
// wraps such an error. A registered type that is plain, such as a number, goes as that where
// nothing says that an error is wanted.
func (r refs) ErrorValue(err error, plain bool) any {
	if plain {
		if n := namedError(err); n == nil || n.sentinel == nil {
			return nil
		}
	} else if !known(err) {
		return nil
	}
	return errorValue{r.conn.errors, err}
}

// namedError is errorNames.find for an error of any type.
func namedError(err error) (n *errorName) {
	_ = guard.Run(func() error { // comparing it may panic
		n = errorNames.find(err)
		return nil
	})
	return n
}

// known reports whether err, or an error that it wraps, has a name or came from a peer.
func known(err error) (yes bool) {
	failed := guard.Run(func() error {
		yes = within(err, func(err error) bool {
			_, came := err.(*Failure) //nolint:errorlint // within does the unwrapping
			return came || errorNames.find(err) != nil
		})
		return nil
	})
	return failed == nil && yes
}

package pb

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
)

// A PanicError is what becomes of a panic in a function given to a Deferred or
// to Go. It does not unwrap to the value, even if that is an error: a panic is
// never one of the errors that a caller expects.
type PanicError struct {
	ID    string // random, for finding the matching line in a log
	Value any    // what was given to panic

	stack []byte
}

// newPanicError is called in the deferred function that recovered value.
func newPanicError(value any) *PanicError {
	return &PanicError{
		ID:    fmt.Sprintf("%016x", rand.Uint64()), //nolint:gosec // a name to find a line by, no secret
		Value: value,
		stack: debug.Stack(),
	}
}

// Error returns the value of the panic and its ID.
func (e *PanicError) Error() string {
	return fmt.Sprintf("pb: panic %s: %v", e.ID, e.Value)
}

// Stack returns the stack of the goroutine that panicked, as text. It names
// files of this machine: it is for a log, not for a peer.
func (e *PanicError) Stack() []byte { return e.stack }

var (
	errGoexit     = errors.New("pb: function ended its goroutine with runtime.Goexit instead of returning")
	errNilErrback = errors.New("pb: failed with a nil error; give Errback and Fail the reason")
	errNoInputs   = errors.New("pb: First of no Deferreds")
)

// orNilErrback returns err, or an error that says it was nil.
func orNilErrback(err error) error {
	if err == nil {
		return errNilErrback
	}
	return err
}

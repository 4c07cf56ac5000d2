package pb

import (
	"errors"

	"perspective/internal/guard"
)

// A PanicError is what becomes of a panic, or of runtime.Goexit, in what a program gave to this
// package: a method, a function given to a Deferred or to Go, a hook. It has a random ID, for
// finding the matching line in a log, the Value that was given to panic, and a Stack, which is for
// a log and not for a peer. It does not unwrap to the value, even if that is an error: a panic is
// never one of the errors that a caller expects.
type PanicError = guard.PanicError

// newPanicError is called in the deferred function that recovered value; nil stands for
// runtime.Goexit.
func newPanicError(value any) *PanicError { return guard.Recovered(value) }

var (
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

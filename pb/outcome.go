package pb

import (
	"errors"

	"perspective/broker"
	"perspective/internal/prefix"
)

// Outcome says what became of a call that failed.
type Outcome = broker.Outcome

// The outcomes of a call.
const (
	// MaybeExecuted: the connection ended after the call was given to a write and before an answer
	// came, or nothing is known. The zero value.
	MaybeExecuted = broker.MaybeExecuted
	// NotExecuted: the call was never given to a write, or was refused before its method began. It
	// may be made again.
	NotExecuted = broker.NotExecuted
	// Executed: an answer came.
	Executed = broker.Executed
)

// OutcomeOf returns what became of the call that err came from: the outermost one, if a method's
// error speaks of calls that the method made in turn. No error means Executed; an error that comes
// from no call says nothing, which is MaybeExecuted.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return Executed
	}
	if c, ok := errors.AsType[*callError](err); ok {
		return c.outcome
	}
	return MaybeExecuted
}

// A callError is the error of a failed call: what was called where, and what became of it.
type callError struct {
	method, peer string
	outcome      Outcome
	err          error
}

// wrapCall returns err as the error of a call. method is the caller's spelling, peer may be empty.
func wrapCall(method, peer string, outcome Outcome, err error) error {
	return &callError{cut(method, maxMethodName), peer, outcome, err}
}

func (e *callError) Error() string {
	if e.peer == "" {
		return prefix.Once("pb: call " + e.method + ": " + e.err.Error())
	}
	return prefix.Once("pb: call " + e.method + " on " + e.peer + ": " + e.err.Error())
}

func (e *callError) Unwrap() error { return e.err }

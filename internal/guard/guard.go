// Package guard calls what a program gave to this module: functions, methods of interfaces, hooks
// of types. None of them may take the process with it, or leave what it was called for undone,
// whether it panics or ends its goroutine with runtime.Goexit.
//
// A goroutine that has more to do than this one call uses [Run], for nothing keeps a goroutine
// alive after Goexit. One that ends with the call uses [Call], which is cheaper.
package guard

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
)

// ErrGoexit is what a function is said to have failed with that ended its goroutine.
var ErrGoexit = errors.New(
	"the function ended its goroutine with runtime.Goexit instead of returning")

// A PanicError is what becomes of a panic in a program's code. It does not unwrap to the value,
// even if that is an error: a panic is never one of the errors that a caller expects. The value
// [ErrGoexit] alone is unwrapped. It must not be changed once others can see it.
type PanicError struct {
	ID    string // random, for finding the matching line in a log
	Value any    // what was given to panic, or ErrGoexit

	stack []byte
}

// Recovered is called in a deferred function of a call that did not return, with what recover gave:
// nil stands for runtime.Goexit.
func Recovered(value any) *PanicError {
	if value == nil {
		value = ErrGoexit
	}
	return &PanicError{
		//nolint:gosec // a name to find a line by, no secret
		ID:    fmt.Sprintf("%016x", rand.Uint64()),
		Value: value,
		stack: debug.Stack(),
	}
}

// Error returns the value of the panic and its ID.
func (e *PanicError) Error() string { return "panic " + e.ID + ": " + e.Text() }

// Unwrap returns ErrGoexit if that is the value.
func (e *PanicError) Unwrap() error {
	//nolint:errorlint // the value alone, never what it wraps
	if err, ok := e.Value.(error); ok && err == ErrGoexit {
		return ErrGoexit
	}
	return nil
}

// Text is the value of the panic in words.
func (e *PanicError) Text() string { return Text(e.Value) }

// Stack returns the stack of the goroutine that panicked, as text. It names files of this machine:
// it is for a log, not for a peer.
func (e *PanicError) Stack() []byte { return e.stack }

// Run calls f on a goroutine of its own, waits for it and returns what f returned; a *PanicError if
// it did not return.
func Run(f func() error) error {
	done := make(chan error, 1)
	go func() { // ends when f has ended
		var err error
		returned := false
		defer func() {
			if !returned {
				err = Recovered(recover())
			}
			done <- err
		}()
		err = f()
		returned = true
	}()
	return <-done
}

// Call calls f on this goroutine and returns what f returned; a *PanicError if it panicked. If f
// ends the goroutine, gone is called with a *PanicError as the last thing that it does on Call's
// behalf, and Call does not return.
func Call(f func() error, gone func(error)) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		r := recover()
		p := Recovered(r)
		if r == nil {
			gone(p)
			return
		}
		err = p
	}()
	err = f()
	returned = true
	return err
}

// Text is v in words, whatever its methods do.
func Text(v any) (text string) {
	switch v := v.(type) {
	case string:
		return v
	case nil, bool, int, int64, uint64, float64:
		return fmt.Sprint(v)
	}
	if v == ErrGoexit { //nolint:errorlint // no other: it is about methods of others
		return ErrGoexit.Error()
	}
	err := Run(func() error {
		if e, ok := v.(error); ok {
			text = e.Error()
		} else {
			text = fmt.Sprint(v)
		}
		return nil
	})
	if err != nil {
		return fmt.Sprintf("a %T without a text", v)
	}
	return text
}

package main

import (
	"context"
	"errors"
	"fmt"

	"perspective/cred"
	"perspective/pb"
)

// The exit codes. rootHelp says what they mean.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2
	exitNotSent    = 3
	exitRefused    = 4
	exitMaybe      = 5
	exitOverloaded = 6
	exitBug        = 70
)

// An exitError is an error whose exit code is known where it comes up. Without
// an err nothing more is said: it has been said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("pb: exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf("pb: "+format, args...)}
}

// notSent marks the error of what has to stand before anything can be sent.
func notSent(err error) error { return &exitError{exitNotSent, err} }

// codeOf gives the exit code of an error.
func codeOf(err error) int {
	if err == nil {
		return exitDone
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitFailed
}

// called marks the error of a call over s. before is what s.sent was before the
// call.
func (s *session) called(err error, before uint64) error {
	if err == nil {
		return nil
	}
	code := exitBug
	switch pb.OutcomeOf(err) {
	case pb.MaybeExecuted:
		code = s.codeOfLost()
	case pb.Executed:
		code = exitFailed
	case pb.NotExecuted:
		code = codeOfUnexecuted(err, s.sent() != before && !s.ended(err))
	}
	return &exitError{code, err}
}

// asked marks the error of a question that changes nothing, such as a login or
// a list of methods: an answer that is an error is a refusal.
func (s *session) asked(err error, before uint64) error {
	switch {
	case err == nil:
		return nil
	case pb.OutcomeOf(err) != pb.Executed:
		return s.called(err, before)
	case overloaded(err):
		return &exitError{exitOverloaded, err}
	}
	return &exitError{exitRefused, err}
}

func overloaded(err error) bool {
	return errors.Is(err, pb.ErrOverloaded) || errors.Is(err, cred.ErrBusy) ||
		errors.Is(err, cred.ErrTooManyTries)
}

// ended reports whether err is the end of the connection: what was not executed
// then was not written, though it was about to be.
func (s *session) ended(err error) bool {
	end := s.conn.Err()
	return end != nil && errors.Is(err, end)
}

// codeOfLost is for a question that was sent and has no answer. A peer whose
// first bytes were no preface speaks another protocol and can have understood
// nothing; one that sent nothing at all may have.
func (s *session) codeOfLost() int {
	if _, wrong := errors.AsType[*pb.ProtocolError](s.conn.Err()); wrong {
		select {
		case <-s.conn.Greeted():
		default:
			return exitNotSent
		}
	}
	return exitMaybe
}

// codeOfUnexecuted tells what this side did not send from what the peer did not
// want.
func codeOfUnexecuted(err error, sent bool) int {
	if overloaded(err) {
		return exitOverloaded
	}
	for _, end := range []error{
		pb.ErrClosed, pb.ErrPeerClosed, pb.ErrGoingAway, pb.ErrTimeout, pb.ErrSlowReader,
		context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, end) { // it waited for its turn to be written
			return exitNotSent
		}
	}
	if !sent {
		return exitNotSent
	}
	return exitRefused
}

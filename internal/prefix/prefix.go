// Package prefix keeps the errors of this module from saying the name of a package more than once.
// An error reads "package: what went wrong", and one that wraps another of the same package would
// read "pb: call x: pb: no root".
package prefix

import (
	"errors"
	"fmt"
	"strings"
)

// packages are those whose errors begin with their name.
var packages = []string{"pb: ", "broker: ", "jelly: ", "cred: ", "distrib: ", "cluster: ", "web: "}

// Once returns text with the name of each package of this module where it stands first, at the
// beginning or behind a colon, and nowhere else.
func Once(text string) string {
	const colon = ": "
	for _, p := range packages {
		at := 0 // behind the first
		if !strings.HasPrefix(text, p) {
			at = strings.Index(text, colon+p)
			if at < 0 {
				continue
			}
			at += len(colon)
		}
		at += len(p) - len(colon) // its colon may be that of the next
		for strings.Contains(text[at:], colon+p) {
			text = text[:at] + strings.ReplaceAll(text[at:], colon+p, colon)
		}
	}
	return text
}

// Errorf is fmt.Errorf with the text as Once gives it. What it wraps is wrapped as ever.
func Errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	text := err.Error()
	once := Once(text)
	if once == text {
		return err
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return &several{once, many.Unwrap()}
	}
	return &one{once, errors.Unwrap(err)}
}

type one struct {
	text string
	err  error
}

func (e *one) Error() string { return e.text }
func (e *one) Unwrap() error { return e.err }

type several struct {
	text string
	errs []error
}

func (e *several) Error() string   { return e.text }
func (e *several) Unwrap() []error { return e.errs }

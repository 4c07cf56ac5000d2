package pb

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"perspective/internal/guard"
	"perspective/jelly"
)

// A Failure is an error of the other side that no type or sentinel of this program stands for. Sent
// on, it arrives as it was. A method may also return a Failure of its own, to give its callers a
// name to test without registering a type. It must not be changed once others can see it.
type Failure struct {
	// Type is the name under which the other side registered the error; empty if it did not, for a
	// peer in Go. It may be the class of the error in another language.
	Type string
	// Message is the error's text, cut at 8 KiB. It is a peer's: quote it where control characters
	// could do harm.
	Message string
	// Traceback is the stack of the panic behind the error, if the node that it came from has
	// UnsafeTracebacks.
	Traceback string
	// Parents are the names of the kinds of error that this one belongs to, nearest first. In
	// Python they are the classes that the error's class derives from.
	Parents []string

	causes []error
}

// Error returns the message, or the type if there is none.
func (f *Failure) Error() string {
	switch {
	case f.Message != "":
		return f.Message
	case f.Type != "":
		return f.Type
	}
	return "pb: error without a text"
}

// Unwrap returns the errors that the other side's error wrapped, in their order.
func (f *Failure) Unwrap() []error { return f.causes }

// Check returns the first of names that is f's type or one of its parents, or "".
func (f *Failure) Check(names ...string) string {
	for _, n := range names {
		if n == f.Type || slices.Contains(f.Parents, n) {
			return n
		}
	}
	return ""
}

// IsType reports whether err, or an error that it wraps, is known by name: as the type or a parent
// of a Failure, or as the name or a parent that RegisterError gave it. It asks for errors of other
// programs, of which this one has no Go type; where there is one, errors.Is and errors.As are
// better.
func IsType(err error, name string) bool {
	return within(err, func(err error) bool {
		//nolint:errorlint // each error of the tree is looked at by itself
		if f, ok := err.(*Failure); ok {
			return f != nil && f.Check(name) != ""
		}
		e := errorNames.find(err)
		return e != nil && (e.name == name || slices.Contains(e.parents, name))
	})
}

// within reports whether is says yes to err or to an error that it wraps. Unlike errors.Is it looks
// at no more of the tree than could cross, so an error that wraps itself does no harm.
func within(err error, is func(error) bool) bool {
	nodes := maxErrorNodes
	var walk func(err error, depth int) bool
	walk = func(err error, depth int) bool {
		if nodes--; err == nil || nodes < 0 || depth > maxErrorDepth {
			return false
		}
		return is(err) ||
			slices.ContainsFunc(causesOf(err), func(c error) bool { return walk(c, depth+1) })
	}
	return walk(err, 1)
}

// panicIn returns the panic that err speaks of, or nil. It survives what the methods of err do.
func panicIn(err error) (p *PanicError) {
	find := func() error {
		within(err, func(err error) bool {
			p, _ = err.(*PanicError) //nolint:errorlint // within does the unwrapping
			return p != nil
		})
		return nil
	}
	if harmless(err) {
		_ = find() // it gives none
		return p
	}
	if guard.Run(find) != nil {
		return nil
	}
	return p
}

// harmless reports whether the methods of err are known: those of this package and of package
// errors.
func harmless(err error) bool {
	for range maxErrorDepth {
		if v := reflect.ValueOf(err); v.Kind() == reflect.Pointer && v.IsNil() {
			return false
		}
		//nolint:errorlint // each error of the chain is looked at by itself
		switch e := err.(type) {
		case nil, *PanicError, *NoSuchMethodError, *ArgumentError:
			return true
		case *Failure:
			return len(e.causes) == 0
		case *callError:
			err = e.err
			continue
		case *jelly.TypeError:
			err = e.Err
			continue
		}
		switch reflect.TypeOf(err) {
		case errorStringType:
			return true
		case wrapErrorType:
			err = errors.Unwrap(err)
		default:
			return false
		}
	}
	return false
}

// The types of errors.New and of fmt.Errorf with one %w.
var (
	errorStringType = reflect.TypeOf(errNoInputs)
	wrapErrorType   = reflect.TypeOf(outsideMethod(""))
)

// causesOf returns what err wraps directly.
func causesOf(err error) []error {
	switch u := err.(type) { //nolint:errorlint // one step of the walk
	case interface{ Unwrap() error }:
		if c := u.Unwrap(); c != nil {
			return []error{c}
		}
	case interface{ Unwrap() []error }:
		return slices.DeleteFunc(slices.Clone(u.Unwrap()), func(c error) bool { return c == nil })
	}
	return nil
}

// A carried error is a registered type with what it wrapped on the other side, which its fields
// cannot hold again.
type carried struct {
	err     error
	message string
	causes  []error
}

func (c *carried) Error() string { return c.message }

func (c *carried) Unwrap() []error { return append([]error{c.err}, c.causes...) }

// cut returns at most n bytes of s, as UTF-8.
func cut(s string, n int) string {
	const more = "…"
	if len(s) > n {
		n -= len(more)
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:max(n, 0)] + more
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

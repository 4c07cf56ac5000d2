package jelly

import (
	"reflect"
	"strconv"
	"strings"
)

// A ScanError says why a message was refused before anything was decoded from it.
type ScanError struct {
	Offset int    // where in the message, in bytes
	Reason string // what is wrong there
	Limit  bool   // the message is well formed and over one of the Limits
}

// Error returns "jelly: scan: byte OFFSET: REASON".
func (e *ScanError) Error() string {
	return "jelly: scan: byte " + strconv.Itoa(e.Offset) + ": " + e.Reason
}

// A TypeError says that a value cannot cross, or that what came does not fit the Go value it should
// go into. All fields but Reason may be empty.
type TypeError struct {
	Path   string       // the way to the value from outside in, such as "field Pos: element 3"
	Type   reflect.Type // the Go type that could not be encoded or that was wanted
	Got    string       // what stood on the wire instead
	Reason string       // what is wrong, and what to do
	// Err is the error of a user's method (AppendJelly, ReadJelly, CopyFor, CheckCopy), if one
	// caused this.
	Err error
}

// Error returns the parts that are there, such as "jelly: field Pos: element 3: want int8, got 300:
// out of range".
func (e *TypeError) Error() string {
	var b strings.Builder
	b.WriteString("jelly: ")
	if e.Path != "" {
		b.WriteString(e.Path)
		b.WriteString(": ")
	}
	switch {
	case e.Got != "":
		b.WriteString("want ")
		b.WriteString(typeName(e.Type))
		b.WriteString(", got ")
		b.WriteString(e.Got)
		if e.Reason != "" {
			b.WriteString(": ")
		}
	case e.Type != nil:
		b.WriteString(typeName(e.Type))
		b.WriteString(": ")
	}
	b.WriteString(e.Reason)
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the error of the user's method that caused e, or nil.
func (e *TypeError) Unwrap() error { return e.Err }

// At returns err with place put in front of the path, if err is a *TypeError; any other error comes
// back as it is. It changes err, so only the goroutine that made or received err may call it.
func At(place string, err error) error {
	te, ok := err.(*TypeError) //nolint:errorlint // err itself, not what it wraps
	if !ok {
		return err
	}
	if te.Path == "" {
		te.Path = place
	} else {
		te.Path = place + ": " + te.Path
	}
	return err
}

func atElement(i int, err error) error { return At("element "+strconv.Itoa(i), err) }

func typeName(t reflect.Type) string {
	if t == nil {
		return "a value"
	}
	return t.String()
}

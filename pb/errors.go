package pb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"perspective/broker"
	"perspective/jelly"
)

// internalErrorType is the Type of the Failure that stands for a panic.
const internalErrorType = "pb.InternalError"

// A NoSuchMethodError refuses a call to a method that the object does not offer to this peer.
type NoSuchMethodError struct {
	Method string   // as the caller wrote it, cut at 256 bytes
	Near   []string // methods with a similar name, at most three
}

func (e *NoSuchMethodError) Error() string {
	s := "pb: no method " + strconv.Quote(e.Method)
	if len(e.Near) > 0 {
		s += "; there is " + strings.Join(e.Near, ", ")
	}
	return s
}

// An ArgumentError refuses a call with too many or too few arguments.
type ArgumentError struct {
	Method string
	Want   int // for a variadic method the fewest it takes
	Got    int
}

func (e *ArgumentError) Error() string {
	noun := "arguments"
	if e.Want == 1 {
		noun = "argument"
	}
	return fmt.Sprintf("pb: %s takes %d %s, got %d", e.Method, e.Want, noun, e.Got)
}

// RegisterError gives err a name under which it crosses connections, so that it comes out of the
// other side as itself if that side registered it too. Errors that wrap it keep their text and stay
// findable with errors.Is and errors.As.
//
// A sentinel is registered by passing it. A type is registered by passing its zero value or a nil
// pointer to it; if it is a struct, the type must also be registered with jelly.Register, and its
// exported fields cross. Its Error method must do without the others, or the error arrives as a
// *Failure with the type's name. What it wraps crosses beside it.
//
//	var ErrSoldOut = errors.New("shop: sold out")
//	func init() { pb.RegisterError("shop.SoldOut", ErrSoldOut, "shop.Error") }
//
// parents are names of wider kinds, nearest first, that a side which does not know the name can
// test with IsType. RegisterError is for init functions and may be called by many goroutines. It
// panics if the name or the error is taken, or cannot be one.
func RegisterError(name string, err error, parents ...string) {
	e := &errorName{name: name, parents: parents}
	t := reflect.TypeOf(err)
	switch {
	case t == nil:
		panic("pb: RegisterError " + name + ": nil is no error")
	case isTypeExample(reflect.ValueOf(err)):
		e.typ = t
	case !reflect.ValueOf(err).Comparable():
		panic("pb: RegisterError " + name + ": a " + t.String() +
			" cannot be compared, so it is no sentinel; " +
			"register the type by its zero value")
	default:
		e.sentinel = err
	}
	errorNames.add(e)
}

// isTypeExample says whether v stands for its type: a nil pointer, or the zero value of a type that
// has others.
func isTypeExample(v reflect.Value) bool {
	return v.IsZero() && v.Type().Size() > 0
}

// An errorName is an error that has a name on the wire: a sentinel or a type.
type errorName struct {
	name     string
	parents  []string
	sentinel error
	typ      reflect.Type

	// Both nil: a type's fields cross as jelly has them registered.
	encode func(*jelly.Encoder, error) error
	decode func(*jelly.Decoder) (error, error)
}

// An errorTable knows the errors that have names. Errors are found by many goroutines.
type errorTable struct {
	mu        sync.RWMutex
	byName    map[string]*errorName
	sentinels map[error]*errorName
	types     map[reflect.Type]*errorName
}

var errorNames = defaultErrors()

func (t *errorTable) add(e *errorName) {
	for _, n := range append([]string{e.name}, e.parents...) {
		if n == "" || len(n) > maxErrorName || cut(n, maxErrorName) != n {
			panic(fmt.Sprintf("pb: RegisterError %q: a name has 1 to %d bytes of UTF-8",
				n, maxErrorName))
		}
	}
	if len(e.parents) > maxErrorParents {
		panic(fmt.Sprintf("pb: RegisterError %s: more than %d parents", e.name, maxErrorParents))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := t.types[e.typ]
	if e.sentinel != nil {
		taken = t.sentinels[e.sentinel]
	}
	if taken != nil {
		panic("pb: RegisterError " + e.name + ": this error is registered as " + taken.name)
	}
	if t.byName[e.name] != nil {
		panic("pb: RegisterError " + e.name + ": the name is taken")
	}
	t.byName[e.name] = e
	if e.sentinel != nil {
		t.sentinels[e.sentinel] = e
	} else {
		t.types[e.typ] = e
	}
}

// find returns the name of err itself, not of what it wraps, or nil.
func (t *errorTable) find(err error) *errorName {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if reflect.ValueOf(err).Comparable() {
		if e := t.sentinels[err]; e != nil {
			return e
		}
	}
	return t.types[reflect.TypeOf(err)]
}

func (t *errorTable) named(name string) *errorName {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byName[name]
}

// all returns every sentinel.
func (t *errorTable) all() []*errorName {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]*errorName, 0, len(t.sentinels))
	for _, e := range t.sentinels {
		all = append(all, e)
	}
	return all
}

func defaultErrors() *errorTable {
	t := &errorTable{
		byName:    make(map[string]*errorName),
		sentinels: make(map[error]*errorName),
		types:     make(map[reflect.Type]*errorName),
	}
	for name, err := range map[string]error{
		"context.Canceled":         context.Canceled,
		"context.DeadlineExceeded": context.DeadlineExceeded,
		"io.EOF":                   io.EOF,
		"io.ErrUnexpectedEOF":      io.ErrUnexpectedEOF,
		"io.ErrClosedPipe":         io.ErrClosedPipe,
		"os.ErrNotExist":           os.ErrNotExist,
		"os.ErrExist":              os.ErrExist,
		"os.ErrPermission":         os.ErrPermission,
		"os.ErrClosed":             os.ErrClosed,
		"errors.ErrUnsupported":    errors.ErrUnsupported,
		"pb.ErrNoAvatar":           ErrNoAvatar,
		"pb.ErrCancelled":          ErrCancelled,
		"pb.ErrOutsideMethod":      ErrOutsideMethod,
		"broker.ErrClosed":         broker.ErrClosed,
		"broker.ErrPeerClosed":     broker.ErrPeerClosed,
		"broker.ErrGoingAway":      broker.ErrGoingAway,
		"broker.ErrOverloaded":     broker.ErrOverloaded,
		"broker.ErrTooLarge":       broker.ErrTooLarge,
		"broker.ErrTooDeep":        broker.ErrTooDeep,
		"broker.ErrNoSuchObject":   broker.ErrNoSuchObject,
		"broker.ErrReleased":       broker.ErrReleased,
		"broker.ErrTooManyExports": broker.ErrTooManyExports,
		"broker.ErrTooManyImports": broker.ErrTooManyImports,
		"broker.ErrTooManyStreams": broker.ErrTooManyStreams,
		"broker.ErrCancelled":      broker.ErrCancelled,
		"broker.ErrTimeout":        broker.ErrTimeout,
		"broker.ErrSlowReader":     broker.ErrSlowReader,
		"broker.ErrNoAnswer":       broker.ErrNoAnswer,
	} {
		e := &errorName{name: name, sentinel: err}
		//nolint:errorlint // but it itself
		if errors.Is(err, ErrOverloaded) && err != ErrOverloaded {
			e.parents = []string{"broker.ErrOverloaded"}
		}
		t.add(e)
	}
	for _, e := range builtinErrorTypes {
		t.add(e)
	}
	return t
}

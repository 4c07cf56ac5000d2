package pb

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"perspective/internal/guard"
	"perspective/jelly"
)

// An error crosses as a tree. Each error is an array
//
//	[name, message, traceback, parents, causes, value]
//
// of which all behind message may be left out or nil, and of which a reader skips what comes behind
// value:
//
//	name       str: what RegisterError gave it, "" without; at most 256 bytes
//	message    str: its text; at most 8 KiB
//	traceback  str: the stack of a panic, where the sender shows it; at most 64 KiB
//	parents    array of at most 16 str: wider kinds, nearest first
//	causes     array of errors: what it wraps, and the registered sentinels that it says it is
//	value      the registered type's value
//
// A tree is at most 16 errors deep and has at most 64. A sender leaves out what is beyond; a reader
// refuses it.
const (
	maxErrorName    = 256
	maxErrorMessage = 8 << 10
	maxTraceback    = 64 << 10
	maxErrorParents = 16
	maxErrorDepth   = 16
	maxErrorNodes   = 64
	maxErrorText    = 64 << 10 // messages of one tree together; the sender's rule alone
	maxErrorIs      = 4        // sentinels that an error without a name claims to be
)

// errorCodec carries errors over the native wire. It is a broker.Errors; the zero value keeps
// stacks back and logs nothing.
type errorCodec struct {
	tracebacks bool
	with       *surroundings // log what the methods of errors do; nil: nobody does
}

// EncodeError writes err. It cannot fail: what of err cannot cross is left out.
func (c errorCodec) EncodeError(e *jelly.Encoder, err error) {
	if err == nil {
		err = &Failure{Type: internalErrorType, Message: "internal error"}
	}
	w := errorWriter{
		e:          e,
		with:       c.with,
		tracebacks: c.tracebacks,
		nodes:      maxErrorNodes - 1,
		text:       maxErrorText,
	}
	w.write(err, 1)
}

// DecodeError reads one value, whatever it is, and never returns nil. Decoding a registered type
// runs its hooks and its Error method.
func (c errorCodec) DecodeError(d *jelly.Decoder) error {
	before := *d
	r := errorReader{d: d, with: c.with, nodes: maxErrorNodes}
	err, bad := r.read(1)
	if bad != nil {
		*d = before
		_ = d.Skip() // nothing is left if even that is impossible
		return &Failure{Type: "pb.MalformedError", Message: "pb: malformed error from the peer"}
	}
	return err
}

// errorWriter writes one tree.
type errorWriter struct {
	e          *jelly.Encoder
	with       *surroundings
	tracebacks bool
	nodes      int // that may still be added
	text       int // bytes of messages that may still be written
}

// errorNode is what crosses of one error.
type errorNode struct { //nolint:errname // it holds an error and is none
	Failure

	named *errorName
	err   error // whose value crosses, if named is a type
}

func (w *errorWriter) write(err error, depth int) {
	n := guardedNode(err, w.with)
	causes := n.causes
	if depth == maxErrorDepth {
		causes = nil
	}
	causes = causes[:min(len(causes), w.nodes)]
	w.nodes -= len(causes)
	message := cut(n.Message, min(maxErrorMessage, max(w.text, 0)))
	w.text -= len(message)

	e := w.e
	e.EncodeArrayLen(6)
	e.EncodeString(cut(n.Type, maxErrorName))
	e.EncodeString(message)
	if w.tracebacks && n.Traceback != "" {
		e.EncodeString(cut(n.Traceback, maxTraceback))
	} else {
		e.EncodeNil()
	}
	encodeStrings(e, n.Parents, maxErrorParents)
	if len(causes) == 0 {
		e.EncodeNil()
	} else {
		e.EncodeArrayLen(len(causes))
		for _, c := range causes {
			w.write(c, depth+1)
		}
	}
	before := e.Len()
	if !n.encodeValue(e, w.with) || !shallow(e.Buffer()[before:], depth) {
		e.Truncate(before)
		e.EncodeNil()
	}
}

// guardedNode finds out what crosses of err, whatever its methods do.
func guardedNode(err error, with *surroundings) (n errorNode) {
	if harmless(err) {
		return nodeOf(err)
	}
	failed := guard.Run(func() error {
		n = nodeOf(err)
		return nil
	})
	if failed != nil {
		with.logHook("a method of an error", failed)
		// a name only if it is registered, as ever: a Go type's means nothing elsewhere
		n = errorNode{}
		if named := errorNames.find(err); named != nil {
			n.Type, n.Parents = named.name, named.parents
		}
		n.Message = fmt.Sprintf("an error of type %T without a text", err)
	}
	return n
}

// nodeOf finds out what crosses of err. It runs err's methods.
func nodeOf(err error) (n errorNode) {
	switch x := err.(type) { //nolint:errorlint // each error of the tree is looked at by itself
	case *Failure:
		n.Failure = *x
		return n
	case *carried:
		n = nodeOf(x.err)
		n.Message, n.causes = x.message, append(slices.Clone(n.causes), x.causes...)
		return n
	case *callError:
		if x.outcome == Executed {
			return nodeOf(x.err) // the far method's error, as if it were the near one's
		}
		n.Type, n.causes = "pb.CallError", causesOf(x)
		// the far peer's identity does not concern this one
		n.Message = (&callError{method: x.method, err: x.err}).Error()
		return n
	case *PanicError:
		n.Type, n.Message = internalErrorType, hiddenPanic(x)
		n.Traceback = fmt.Sprintf("panic: %v\n\n%s", x.Value, x.Stack())
		return n
	}
	if n.named = errorNames.find(err); n.named != nil {
		n.Type, n.Parents = n.named.name, n.named.parents
	}
	if n.named == nil || n.named.sentinel == nil {
		n.err, n.causes = err, causesOf(err)
	}
	if n.named == nil {
		n.causes = append(n.causes, claimed(err)...)
	}
	n.Message = err.Error()
	if p := panicIn(err); p != nil {
		n.Message = strings.ReplaceAll(n.Message, p.Error(), hiddenPanic(p))
	}
	return n
}

// hiddenPanic is what a peer is told of a panic: its value may hold anything.
func hiddenPanic(p *PanicError) string { return "internal error, id " + p.ID }

// claimed returns the registered sentinels that err, which has no name, says it is by a method Is,
// as the errors of the operating system do.
func claimed(err error) []error {
	is, ok := err.(interface{ Is(error) bool })
	if !ok {
		return nil
	}
	var found []error
	for _, e := range errorNames.all() {
		if len(found) < maxErrorIs && is.Is(e.sentinel) {
			found = append(found, e.sentinel)
		}
	}
	return found
}

// encodeValue writes the value of an error with a registered type. It is false if there is none or
// it cannot cross.
func (n *errorNode) encodeValue(e *jelly.Encoder, with *surroundings) (ok bool) {
	if n.named == nil || n.named.typ == nil {
		return false
	}
	if n.named.encode != nil { // this package's own
		return n.named.encode(e, n.err) == nil
	}
	err := guard.Run(func() error {
		v := reflect.ValueOf(n.err)
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return errMalformed
			}
			v = v.Elem()
		}
		return e.EncodeValue(v)
	})
	with.logHook("encoding an error", err)
	return err == nil
}

// shallow says whether the value of an error stays within what a message may nest, the error being
// depth deep. Each error takes two levels, and a few are left for what stands around the tree.
func shallow(value []byte, depth int) bool {
	_, err := jelly.Scan(value, &jelly.Limits{Depth: 60 - 2*depth})
	return err == nil
}

// errorReader reads one tree.
type errorReader struct {
	d       *jelly.Decoder
	with    *surroundings
	nodes   int  // that may still come
	spoilt  bool // a value did not fit its type; no more are tried, for what it cost is not counted
	counted bool // what it takes counts as the message's memory
}

// nodeCost is what an error takes in memory beside its texts: a Failure, and places among the
// causes.
const nodeCost = 192

func (r *errorReader) read(depth int) (error, error) {
	if r.nodes--; r.nodes < 0 || depth > maxErrorDepth {
		return nil, errMalformed
	}
	n, err := r.d.DecodeArrayLen()
	if err != nil {
		return nil, err
	}
	if n < 2 {
		return nil, errMalformed
	}
	if r.counted {
		if err := r.d.Charge(nodeCost); err != nil {
			return nil, err
		}
	}
	f := &Failure{}
	fields := errorFields{d: r.d, left: n}
	f.Type, f.Message, f.Traceback = fields.text(maxErrorName), fields.text(maxErrorMessage),
		fields.text(maxTraceback)
	f.Parents = fields.texts(maxErrorParents)
	if fields.next() {
		f.causes, fields.err = r.causes(depth)
	}
	var value error
	if fields.next() {
		value, fields.err = r.value(errorNames.named(f.Type))
	}
	for fields.next() {
		fields.err = r.d.Skip()
	}
	if fields.err != nil {
		return nil, fields.err
	}
	return restore(f, value), nil
}

func (r *errorReader) causes(depth int) ([]error, error) {
	if r.d.Peek() == jelly.KindNil {
		return nil, r.d.DecodeNil()
	}
	n, err := r.d.DecodeArrayLen()
	if err != nil {
		return nil, err
	}
	if n > r.nodes {
		return nil, errMalformed
	}
	var causes []error
	for range n {
		c, err := r.read(depth + 1)
		if err != nil {
			return nil, err
		}
		causes = append(causes, c)
	}
	return causes, nil
}

// value reads the value of a registered type, or passes over it and returns nil: what this side
// cannot build is still an error with a text.
func (r *errorReader) value(named *errorName) (error, error) {
	if named == nil || named.typ == nil || r.spoilt || r.d.Peek() == jelly.KindNil {
		return nil, r.d.Skip()
	}
	before := *r.d
	err, bad := named.read(r.d)
	if bad == nil {
		return err, nil
	}
	r.with.logHook("decoding an error", bad)
	r.spoilt = true
	*r.d = before
	return nil, r.d.Skip()
}

// read makes the error from its value. A panic of the type's hooks is an error, and so is one of
// its Error method: what a peer sends must not panic later, when the program prints it.
func (n *errorName) read(d *jelly.Decoder) (err, bad error) {
	if n.decode != nil { // this package's own
		return n.decode(d)
	}
	bad = guard.Run(func() error {
		t := n.typ
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		p := reflect.New(t)
		if bad := d.DecodeValue(p.Elem()); bad != nil {
			return bad
		}
		if n.typ.Kind() != reflect.Pointer {
			p = p.Elem()
		}
		err = p.Interface().(error)
		_ = err.Error()
		return nil
	})
	if bad != nil {
		return nil, bad
	}
	return err, nil
}

// restore returns the error that f stands for here.
func restore(f *Failure, value error) error {
	if value != nil {
		if len(f.causes) > 0 {
			return &carried{err: value, message: f.Message, causes: f.causes}
		}
		return value
	}
	if named := errorNames.named(f.Type); named != nil && named.sentinel != nil {
		return named.sentinel
	}
	return f
}

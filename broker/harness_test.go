package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"perspective/broker"
	"perspective/jelly"
)

// plainErrors crosses errors as their text, and knows the broker's own.
type plainErrors struct{}

var known = []error{broker.ErrOverloaded, broker.ErrNoSuchObject, broker.ErrGoingAway,
	broker.ErrTooLarge, broker.ErrTooDeep,
	context.Canceled, context.DeadlineExceeded, errNoMethod, errTest}

var (
	errNoMethod = errors.New("no such method")
	errTest     = errors.New("the method's own error")
)

func (plainErrors) EncodeError(e *jelly.Encoder, err error) {
	for _, k := range known {
		if errors.Is(err, k) {
			err = k
			break
		}
	}
	e.EncodeString(err.Error())
}

func (plainErrors) DecodeError(d *jelly.Decoder) error {
	s, err := d.DecodeString()
	if err != nil {
		return err
	}
	for _, k := range known {
		if k.Error() == s {
			return k
		}
	}
	return errors.New(s)
}

// methods is an Object made of functions over plain values.
type methods struct {
	concurrent bool
	m          map[string]method
}

type method func(in *broker.Incoming, args []any)

func (o *methods) Discipline() broker.Discipline {
	if o.concurrent {
		return broker.Concurrent
	}
	return broker.Queued
}

func (o *methods) Method(name []byte) (broker.Method, error) {
	if m := o.m[string(name)]; m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("%w", errNoMethod)
}

func (m method) Invoke(in *broker.Incoming) {
	var args []any
	if err := in.Args().Decode(&args); err != nil {
		in.Refuse(err)
		return
	}
	if in.Begin() {
		m(in, args)
	}
}

func value(v any) func(*jelly.Encoder) error {
	return func(e *jelly.Encoder) error { return e.Encode(v) }
}

// question is a Question that can be waited for.
type question struct {
	args    []any
	result  any
	outcome broker.Outcome
	err     error
	done    chan struct{}
	notes   chan any
	call    broker.Call
	impure  bool
	times   int
}

func ask(args ...any) *question {
	return &question{args: args, done: make(chan struct{}), notes: make(chan any, 16)}
}

func (q *question) EncodeArgs(e *jelly.Encoder) error {
	if q.args == nil {
		q.args = []any{}
	}
	return e.Encode(q.args)
}
func (q *question) Pure() bool { return !q.impure }
func (q *question) DecodeResult(d *jelly.Decoder) (err error) {
	q.result, err = d.DecodeAny()
	return err
}
func (q *question) BeforeNote() {}
func (q *question) Note(d *jelly.Decoder) {
	if v, err := d.DecodeAny(); err == nil {
		select { // it must not block
		case q.notes <- v:
		default:
		}
	}
}
func (q *question) Finish(o broker.Outcome, err error) {
	q.times++
	q.outcome, q.err = o, err
	close(q.done)
}

func (q *question) wait(t testing.TB) (any, error) {
	t.Helper()
	<-q.done
	return q.result, q.err
}

// to asks the root.
func (q *question) to(t testing.TB, b *broker.Broker, method string) *question {
	t.Helper()
	if err := b.Ask(t.Context(),
		&broker.Header{Export: 1, Method: method, Call: &q.call}, q); err != nil {
		t.Fatalf("Ask(%s) = %v", method, err)
	}
	return q
}

// pair is two brokers on one connection.
func pair(
	t testing.TB, c, s net.Conn, client, server broker.Config,
) (*broker.Broker, *broker.Broker) {
	t.Helper()
	client.Dialer = true
	client.Errors, server.Errors = plainErrors{}, plainErrors{}
	cb, err := broker.New(c, client)
	if err != nil {
		t.Fatal(err)
	}
	sb, err := broker.New(s, server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cb.Close()
		_ = sb.Close()
		cb.Wait()
		sb.Wait()
	})
	return cb, sb
}

// tcp gives the ends of a loopback connection.
func tcp(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	return sockets(t, "tcp", "127.0.0.1:0")
}

func sockets(t testing.TB, network, addr string) (net.Conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // its one connection is made
	var s net.Conn
	var wg sync.WaitGroup
	wg.Go(func() { s, err = ln.Accept() })
	c, derr := net.Dial(network, ln.Addr().String())
	wg.Wait()
	if err != nil || derr != nil {
		t.Fatal(err, derr)
	}
	return c, s
}

func echo() *methods {
	return &methods{m: map[string]method{
		"echo": func(in *broker.Incoming, args []any) { in.Return(value(args[0])) },
		"fail": func(in *broker.Incoming, _ []any) { in.Fail(errTest) },
	}}
}

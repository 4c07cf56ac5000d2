package pb_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perspective/cred"
	"perspective/jelly"
	"perspective/pb"
	"perspective/pb/adapt"
	"perspective/pb/pbtest"
)

// A codeLog is a log that several goroutines write, and a test waits for.
type codeLog struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{}
}

func (l *codeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.grown <- struct{}{}:
	default:
	}
	return l.b.Write(p)
}

func (l *codeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// wait returns when the log has an id beside what.
func (l *codeLog) wait(ctx context.Context, t *testing.T, what string) {
	t.Helper()
	for {
		for line := range strings.Lines(l.String()) {
			if strings.Contains(line, what) && strings.Contains(line, " id=") {
				return
			}
		}
		select {
		case <-l.grown:
		case <-ctx.Done():
			t.Fatalf("no line with an id says %q:\n%s", what, l)
		}
	}
}

// A codeCase has one thing that a program gives to the package end badly, by bad. It returns when
// that has cost no more than it may.
type codeCase struct {
	what string // in the log; empty: nothing is logged
	run  func(ctx context.Context, t *testing.T, h *codeHost, bad func())
}

// A codeHost is a node that is served over TCP, with what a case puts into it.
type codeHost struct {
	node *pb.Node
	log  *codeLog
	addr string // where dial has it served
}

func (h *codeHost) logger() *slog.Logger { return slog.New(slog.NewTextHandler(h.log, nil)) }

// serve has the host serve ln until the test ends, and gives a node that dials it.
func (h *codeHost) serve(t *testing.T, ln net.Listener) *pb.Node {
	var served sync.WaitGroup
	served.Go(func() { _ = h.node.Serve(ln) }) // ends with the node
	client := &pb.Node{Logger: h.logger()}
	t.Cleanup(func() {
		_ = client.Close()
		_ = h.node.Close()
		served.Wait()
	})
	return client
}

// dial is a connection to the host by another node.
func (h *codeHost) dial(ctx context.Context, t *testing.T) (*pb.Conn, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client := h.serve(t, ln)
	h.addr = ln.Addr().String()
	return client.Attach(ctx, h.redial(t), pb.Dialer)
}

// redial is one more socket to what dial has served.
func (h *codeHost) redial(t *testing.T) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

func (h *codeHost) mustDial(ctx context.Context, t *testing.T) *pb.Conn {
	t.Helper()
	c, err := h.dial(ctx, t)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fine has a call on c succeed: the connection has survived.
func fine(ctx context.Context, t *testing.T, c *pb.Conn) {
	t.Helper()
	if v, err := pb.Do[int](ctx, c.Root(), "one"); err != nil || v != 1 {
		t.Errorf("a call afterwards gives %v, %v", v, err)
	}
}

// fails has err be an error, and not that of a ctx that ended for want of it.
func fails(ctx context.Context, t *testing.T, err error) {
	t.Helper()
	if err == nil || ctx.Err() != nil {
		t.Errorf("error %v, want that of the code which failed", err)
	}
}

type codeRoot struct {
	pb.Referenceable
	bad func()
}

func (*codeRoot) RemoteOne(context.Context) (int, error) { return 1, nil }
func (r *codeRoot) RemoteBad(context.Context) error      { r.bad(); return nil }
func (r *codeRoot) RemoteGo(ctx context.Context) (*pb.Deferred[int], error) {
	return pb.Go(ctx, func(context.Context) (int, error) { r.bad(); return 0, nil }), nil
}
func (r *codeRoot) RemoteThen(context.Context) (*pb.Deferred[int], error) {
	return pb.Then(pb.Succeed(1), func(int) (int, error) { r.bad(); return 0, nil }), nil
}
func (r *codeRoot) RemoteArgument(context.Context, *codeIn) error {
	return nil
}
func (r *codeRoot) RemoteResult(context.Context) (*codeOut, error) {
	return &codeOut{bad: r.bad}, nil
}
func (r *codeRoot) RemoteLater(context.Context) (*pb.Deferred[*codeOut], error) {
	d := &pb.Deferred[*codeOut]{}
	go d.Callback(&codeOut{bad: r.bad}) // ends at once
	return d, nil
}
func (r *codeRoot) RemoteCopy(context.Context) (codeCopy, error)   { return codeCopy{r.bad}, nil }
func (r *codeRoot) RemoteChecked(context.Context, codeCheck) error { return nil }
func (r *codeRoot) RemoteError(context.Context) error {
	return codeError{r.bad, "Error"}
}
func (r *codeRoot) RemoteUnwrap(context.Context) error {
	return codeError{r.bad, "Unwrap"}
}
func (r *codeRoot) RemoteIs(context.Context) error { return codeError{r.bad, "Is"} }
func (r *codeRoot) RemoteNote(ctx context.Context) error {
	return pb.Note(ctx, "note")
}
func (r *codeRoot) RemoteBadNote(ctx context.Context) error {
	return pb.Note(ctx, &codeOut{bad: r.bad})
}
func (r *codeRoot) RemoteTurn(ctx context.Context) error {
	pb.Turn(ctx).Execute(r.bad)
	return nil
}
func (r *codeRoot) RemoteRead(_ context.Context, s io.ReadCloser) error {
	_, err := io.Copy(io.Discard, s)
	return err
}
func (r *codeRoot) RemoteWrite(_ context.Context, w io.WriteCloser) error {
	_, err := w.Write(make([]byte, 1<<10))
	return errors.Join(err, w.Close())
}

type codeError struct {
	bad   func()
	where string
}

func (e codeError) at(where string) {
	if e.where == where {
		e.bad()
	}
}
func (e codeError) Error() string { e.at("Error"); return "x" }
func (e codeError) Unwrap() error { e.at("Unwrap"); return nil }
func (e codeError) Is(error) bool { e.at("Is"); return false }

// codeOut is bad where it is written, codeIn where it is read.
type codeOut struct{ bad func() }

func (o *codeOut) AppendJelly(*jelly.Encoder) error { o.bad(); return nil }
func (o *codeOut) ReadJelly(d *jelly.Decoder) error { return d.Skip() }

type codeIn struct{}

var codeInBad func()

func (*codeIn) AppendJelly(e *jelly.Encoder) error { e.EncodeInt(1); return nil }
func (*codeIn) ReadJelly(*jelly.Decoder) error     { codeInBad(); return nil }

// codeCopy is bad where it is shown to a viewer, codeCheck where it has arrived.
type codeCopy struct{ bad func() }

func (c codeCopy) CopyFor(any) (any, error) { c.bad(); return c, nil }

type codeCheck struct{ N int }

func (*codeCheck) CheckCopy() error { codeInBad(); return nil }

func init() {
	jelly.Register[codeCopy]("test.codeCopy")
	jelly.Register[codeCheck]("test.codeCheck")
}

// codeViews is a Viewable whose methods are bad, called by reflection and as the compiler knows
// them.
type codeViews struct {
	pb.Viewable
	bad func()
}

func (v *codeViews) ViewBad(context.Context, *codeAvatar) error { v.bad(); return nil }
func (v *codeViews) ViewAdapted(context.Context, *codeAvatar) (int, error) {
	v.bad()
	return 0, nil
}

type codeAvatar struct {
	pb.Avatar
	views *codeViews
	bad   func()
}

func (*codeAvatar) PerspectiveOne(context.Context) (int, error)            { return 1, nil }
func (a *codeAvatar) PerspectiveViews(context.Context) (*codeViews, error) { return a.views, nil }
func (a *codeAvatar) PerspectiveBad(context.Context) error                 { a.bad(); return nil }

// viewed has a method of a Viewable fail, or with none one of the avatar itself.
func viewed(method string) func(context.Context, *testing.T, *codeHost, func()) {
	return func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
		h.node.Portal = &cred.Portal{
			Checkers: []cred.Checker{cred.AnonymousChecker{}}, Logger: h.logger(),
			Realm: cred.RealmFunc(func(context.Context, cred.AvatarID, any) (any, func(), error) {
				return &codeAvatar{views: &codeViews{bad: bad}, bad: bad}, nil, nil
			}),
		}
		avatar, err := h.mustDial(ctx, t).Login(ctx, cred.Anonymous{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if method == "" {
			_, err = pb.Do[any](ctx, avatar, "bad")
		} else {
			_, err = pb.Do[any](ctx, pb.Call[*pb.RemoteReference](ctx, avatar, "views"), method)
		}
		fails(ctx, t, err)
		if v, err := pb.Do[int](ctx, avatar, "one"); err != nil || v != 1 {
			t.Errorf("a call afterwards gives %v, %v", v, err)
		}
	}
}

type codeAdapted struct {
	pb.Referenceable
	bad func()
}

func (*codeAdapted) RemoteOne(context.Context) (int, error)    { return 1, nil }
func (a *codeAdapted) RemoteFunc(context.Context) (int, error) { a.bad(); return 0, nil }
func (a *codeAdapted) RemoteProc(context.Context) error        { a.bad(); return nil }

func init() {
	adapt.Methods(
		adapt.Func0("RemoteFunc", (*codeAdapted).RemoteFunc),
		adapt.Proc0("RemoteProc", (*codeAdapted).RemoteProc),
	)
	adapt.Methods(adapt.View0("ViewAdapted", (*codeViews).ViewAdapted))
}

func adaptedCase(method string) func(context.Context, *testing.T, *codeHost, func()) {
	return func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
		h.node.Root = &codeAdapted{bad: bad}
		c := h.mustDial(ctx, t)
		_, err := pb.Do[any](ctx, c.Root(), method)
		fails(ctx, t, err)
		fine(ctx, t, c)
	}
}

// chained has a function added to a Deferred fail its child alone.
func chained(
	add func(value, failed *pb.Deferred[int], bad func()) *pb.Deferred[int],
) func(context.Context, *testing.T, *codeHost, func()) {
	return func(ctx context.Context, t *testing.T, _ *codeHost, bad func()) {
		value, failed := &pb.Deferred[int]{}, &pb.Deferred[int]{}
		child := add(value, failed, bad)
		after := pb.Then(value, func(v int) (int, error) { return v, nil })
		value.Callback(1)
		failed.Errback(io.ErrUnexpectedEOF)
		_, err := child.Wait(ctx)
		fails(ctx, t, err)
		if v, err := after.Wait(ctx); v != 1 || err != nil {
			t.Errorf("the next function's Deferred gives %v, %v", v, err)
		}
	}
}

type codeStream struct {
	bad   func()
	where string
	ended chan struct{}
}

func (s *codeStream) at(where string) {
	if s.where == where {
		s.bad()
	}
}
func (s *codeStream) Read([]byte) (int, error)    { s.at("Read"); return 0, io.EOF }
func (s *codeStream) Write(p []byte) (int, error) { s.at("Write"); return len(p), nil }
func (s *codeStream) Close() error {
	defer close(s.ended)
	s.at("Close")
	return nil
}

func streamed(
	method, where string, wrap func(*codeStream) any,
) func(context.Context, *testing.T, *codeHost, func()) {
	return func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
		c := h.mustDial(ctx, t)
		s := &codeStream{bad, where, make(chan struct{})}
		_, err := pb.Do[struct{}](ctx, c.Root(), method, wrap(s))
		if where == "Read" {
			fails(ctx, t, err)
		}
		select {
		case <-s.ended:
		case <-ctx.Done():
			t.Error("the stream was not closed")
		}
		fine(ctx, t, c)
	}
}

func reader(s *codeStream) any { return pb.Reader(s) }
func writer(s *codeStream) any { return pb.Writer(s) }

func duplex(s *codeStream) any {
	return pb.Duplex(func(*pb.ByteStream, error) { _ = s.Close() })
}

// called has a method fail and the connection live.
func called(method string, args ...any) func(context.Context, *testing.T, *codeHost, func()) {
	return func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
		codeInBad = bad
		h.node.Root = &codeRoot{bad: bad}
		c := h.mustDial(ctx, t)
		_, err := pb.Do[any](ctx, c.Root(), method, args...)
		fails(ctx, t, err)
		fine(ctx, t, c)
	}
}

// refusedConn has a connection end that is not wanted.
func refusedConn(
	put func(h *codeHost, bad func()),
) func(context.Context, *testing.T, *codeHost, func()) {
	return func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
		put(h, bad)
		c, err := h.dial(ctx, t)
		if err != nil {
			return
		}
		select {
		case <-c.Done():
		case <-ctx.Done():
			t.Error("the connection does not end")
		}
	}
}

type codeConn struct {
	net.Conn

	bad   func()
	where string
}

func (c *codeConn) at(where string) {
	if c.where == where {
		c.bad()
	}
}
func (c *codeConn) Read(p []byte) (int, error)  { c.at("Read"); return c.Conn.Read(p) }
func (c *codeConn) Write(p []byte) (int, error) { c.at("Write"); return c.Conn.Write(p) }
func (c *codeConn) Close() error                { _ = c.Conn.Close(); c.at("Close"); return nil }
func (c *codeConn) RemoteAddr() net.Addr        { c.at("RemoteAddr"); return c.Conn.RemoteAddr() }

func attached(where string) func(context.Context, *testing.T, *codeHost, func()) {
	return func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
		a, b := net.Pipe()
		t.Cleanup(func() { _ = b.Close() })
		go func() { _, _ = io.Copy(io.Discard, b) }() // ends when b is closed
		c, err := h.node.Attach(ctx, &codeConn{a, bad, where}, pb.Acceptor)
		if err != nil && (where == "Read" || where == "Write") {
			return // the connection ended before Attach had returned
		}
		if err != nil {
			t.Fatal(err)
		}
		if where == "Close" || where == "RemoteAddr" {
			_ = c.Close()
		}
		select {
		case <-c.Done():
		case <-ctx.Done():
			t.Error("the connection does not end")
		}
		_ = h.node.Close()
	}
}

type codeListener struct {
	net.Listener
	bad func()
}

func (l codeListener) Accept() (net.Conn, error) { l.bad(); return nil, nil }
func (l codeListener) Close() error              { _ = l.Listener.Close(); l.bad(); return nil }

type codeTarget struct{ bad func() }

func (codeTarget) JellyReference() {}
func (t codeTarget) Reference(context.Context) (*pb.RemoteReference, error) {
	t.bad()
	return nil, nil
}

// A codeResolver ends badly in Resolved or in Resolve, or else when what it looks for is given up.
type codeResolver struct {
	codeTarget
	resolved, resolve bool
}

func (r codeResolver) Resolved() *pb.RemoteReference {
	if r.resolved {
		r.bad()
	}
	return nil
}

func (r codeResolver) Resolve(func(*pb.RemoteReference, error)) (func(error) error, error) {
	if r.resolve {
		r.bad()
	}
	return func(error) error { r.bad(); return nil }, nil
}

// codeCases are what a program can give to the package, by name.
var codeCases = map[string]codeCase{
	"a method":             {"method panicked", called("bad")},
	"Custom.ReadJelly":     {"RemoteArgument", nil},
	"Custom.AppendJelly":   {"panicked", called("result")},
	"a Deferred's value":   {"panicked", called("later")},
	"Copyable.CopyFor":     {"panicked", called("copy")},
	"RemoteCopy.CheckCopy": {"panicked", nil},
	"a View method":        {"method panicked", viewed("bad")},
	"View0":                {"method panicked", viewed("adapted")},
	"a Perspective method": {"method panicked", viewed("")},
	"Func0":                {"method panicked", adaptedCase("func")},
	"Proc0":                {"method panicked", adaptedCase("proc")},
	"AddCallback": {"", chained(func(d, _ *pb.Deferred[int], bad func()) *pb.Deferred[int] {
		return d.AddCallback(func(int) (int, error) { bad(); return 0, nil })
	})},
	"AddErrback": {"", chained(func(_, failed *pb.Deferred[int], bad func()) *pb.Deferred[int] {
		return failed.AddErrback(func(error) (int, error) { bad(); return 0, nil })
	})},
	"AddBoth": {"", chained(func(d, _ *pb.Deferred[int], bad func()) *pb.Deferred[int] {
		return d.AddBoth(func(int, error) (int, error) { bad(); return 0, nil })
	})},
	"error.Error":          {"a method of an error", called("error")},
	"error.Unwrap":         {"a method of an error", called("unwrap")},
	"error.Is":             {"a method of an error", called("is")},
	"a note's AppendJelly": {"panicked", called("badNote")},
	"Node.Allow": {"Node.Allow", refusedConn(func(h *codeHost, bad func()) {
		h.node.Allow = func(context.Context, *cred.Peer) error { bad(); return nil }
	})},
	"Node.ConnContext": {"Node.ConnContext", refusedConn(func(h *codeHost, bad func()) {
		h.node.ConnContext = func(ctx context.Context, _ *pb.Conn) context.Context {
			bad()
			return ctx
		}
	})},
	"Reader.Read":        {"the Read", streamed("read", "Read", reader)},
	"Reader.Close":       {"the Close", streamed("read", "Close", reader)},
	"Writer.Write":       {"the Write", streamed("write", "Write", writer)},
	"Writer.Close":       {"the Close", streamed("write", "Close", writer)},
	"Duplex":             {"the function", streamed("write", "Close", duplex)},
	"Attach: Conn.Read":  {"own code", attached("Read")},
	"Attach: Conn.Write": {"own code", attached("Write")},
	"Attach: Conn.Close": {"own code", attached("Close")},
	"Attach: RemoteAddr": {"own code", attached("RemoteAddr")},
	"Node.RootFor": {
		"Node.RootFor", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
			h.node.RootFor = func(*pb.Conn) any { bad(); return nil }
			_, err := pb.Do[int](ctx, h.mustDial(ctx, t).Root(), "one")
			fails(ctx, t, err)
		}},
	"Node.Around": {
		"method panicked", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
			h.node.Around = func(
				context.Context, *pb.CallInfo, func(context.Context) (any, error),
			) (any, error) {
				bad()
				return 0, nil
			}
			_, err := pb.Do[int](ctx, h.mustDial(ctx, t).Root(), "one")
			fails(ctx, t, err)
		}},
	"Node.Observe": {"Node.Observe",
		observes(func(bad func()) func(pb.Outcome, error) { bad(); return nil })},
	"what Node.Observe gives": {"the function that Node.Observe gave",
		observes(func(bad func()) func(pb.Outcome, error) {
			return func(pb.Outcome, error) { bad() }
		})},
	"Realm's logout": {
		"the logout", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
			h.node.Portal = &cred.Portal{
				Checkers: []cred.Checker{cred.AnonymousChecker{}}, Logger: h.logger(),
				Realm: cred.RealmFunc(func(
					context.Context, cred.AvatarID, any,
				) (any, func(), error) {
					return &codeRoot{}, bad, nil
				}),
			}
			c := h.mustDial(ctx, t)
			if _, err := c.Login(ctx, cred.Anonymous{}, nil); err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}},
	"Realm": {"the realm", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
		h.node.Portal = &cred.Portal{
			Checkers: []cred.Checker{cred.AnonymousChecker{}}, Logger: h.logger(),
			Realm: cred.RealmFunc(func(context.Context, cred.AvatarID, any) (any, func(), error) {
				bad()
				return nil, nil, nil
			}),
		}
		_, err := h.mustDial(ctx, t).Login(ctx, cred.Anonymous{}, nil)
		fails(ctx, t, err)
	}},
	"WithNotes": {"WithNotes", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
		c := h.mustDial(ctx, t)
		_, err := pb.Do[any](pb.WithNotes(ctx, func(any) { bad() }), c.Root(), "note")
		fails(ctx, t, err)
		fine(ctx, t, c)
	}},
	"Turn.Execute": {
		"in its turn", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
			h.node.Root = &codeRoot{bad: bad}
			c := h.mustDial(ctx, t)
			if _, err := pb.Do[any](ctx, c.Root(), "turn"); err != nil {
				t.Error(err)
			}
			fine(ctx, t, c)
		}},
	"a result's ReadJelly": {
		"decoding a result", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
			codeInBad = bad
			c := h.mustDial(ctx, t)
			_, err := pb.Do[*codeIn](ctx, c.Root(), "one")
			fails(ctx, t, err)
			_, err = pb.Call[*codeIn](ctx, c.Root(), "one").Wait(ctx)
			fails(ctx, t, err)
			fine(ctx, t, c)
		}},
	"an argument's AppendJelly": {
		"an argument", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
			c := h.mustDial(ctx, t)
			first := &pb.Deferred[int]{}
			// is made on the callbacks' goroutine
			call := pb.Call[int](ctx, c.Root(), "one", first, &codeOut{bad: bad})
			first.Callback(1)
			_, err := call.Wait(ctx)
			fails(ctx, t, err)
			fine(ctx, t, c)
		}},
	"Target.Reference": {"", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
		c := h.mustDial(ctx, t)
		first := &pb.Deferred[int]{}
		call := pb.Call[int](ctx, codeTarget{bad}, "one", first)
		first.Callback(1)
		_, err := call.Wait(ctx)
		fails(ctx, t, err)
		fine(ctx, t, c)
	}},
	"Resolver": {"", func(ctx context.Context, t *testing.T, _ *codeHost, bad func()) {
		for _, r := range []codeResolver{{codeTarget{bad}, true, false},
			{codeTarget{bad}, false, true}, {codeTarget{bad}, false, false}} {
			first := &pb.Deferred[int]{}
			call := pb.Call[int](ctx, r, "one", first)
			first.Callback(1)
			if !r.resolved && !r.resolve {
				call.Cancel()
			}
			_, err := call.Wait(ctx)
			fails(ctx, t, err)
		}
	}},
	"an argument of a call that a Resolver holds": {
		"", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
			c := h.mustDial(ctx, t)
			r := &laterTarget{}
			call := pb.Call[any](ctx, r, "argument", &codeOut{bad: bad})
			next := pb.Call[int](ctx, r, "one")
			r.found(c.Root(), nil)
			_, err := call.Wait(ctx)
			fails(ctx, t, err)
			if v, err := next.Wait(ctx); v != 1 || err != nil {
				t.Errorf("the next call = %v, %v", v, err)
			}
		}},
	"a canceller": {"", func(ctx context.Context, t *testing.T, _ *codeHost, bad func()) {
		d := pb.NewDeferred(func(*pb.Deferred[int], error) { bad() })
		other := pb.NewDeferred(func(*pb.Deferred[int], error) { bad() })
		g := pb.Gather(d, other)
		g.Cancel()
		for _, d := range []*pb.Deferred[int]{d, other,
			pb.NewDeferred(func(*pb.Deferred[int], error) { bad() }).AddTimeout(1)} {
			_, err := d.Wait(ctx)
			fails(ctx, t, err)
		}
	}},
	"Then": {"", func(ctx context.Context, t *testing.T, _ *codeHost, bad func()) {
		_, err := pb.Then(pb.Succeed(1), func(int) (int, error) { bad(); return 0, nil }).Wait(ctx)
		fails(ctx, t, err)
	}},
	"Go": {"", func(ctx context.Context, t *testing.T, _ *codeHost, bad func()) {
		_, err := pb.Go(ctx, func(context.Context) (int, error) { bad(); return 0, nil }).Wait(ctx)
		fails(ctx, t, err)
	}},
	"Go, whose Deferred a method returns":   {"method panicked", called("go")},
	"Then, whose Deferred a method returns": {"method panicked", called("then")},
	"Executor": {"", func(ctx context.Context, t *testing.T, _ *codeHost, bad func()) {
		_, err := pb.Then(pb.Succeed(1).On(pb.ExecutorFunc(func(func()) { bad() })),
			func(int) (int, error) { return 0, nil }).Wait(ctx)
		fails(ctx, t, err)
	}},
	"Serve: Listener": {
		"a listener's own code", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			fails(ctx, t, h.node.Serve(codeListener{ln, bad}))
		}},
	"Node.TLS": {"Node.TLS", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
		a, b := net.Pipe()
		t.Cleanup(func() { _ = b.Close() })
		go func() {
			_ = tls.Client(b, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
		}()
		_, err := h.node.Attach(ctx,
			tls.Server(a, &tls.Config{MinVersion: tls.VersionTLS13,
				GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
					bad()
					return nil, nil
				}}), pb.Acceptor)
		fails(ctx, t, err)
	}},
	"Node.TLS.KeyLogWriter": {
		"Node.TLS.KeyLogWriter", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
			h.node.TLS = &tls.Config{KeyLogWriter: &codeStream{bad: bad, where: "Write"}}
			handshakesFail(ctx, t, h)
		}},
	"Node.TLS.GetConfigForClient's KeyLogWriter": {
		"Node.TLS.KeyLogWriter", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
			own := newAuthority(t).certify(t, "localhost")
			h.node.TLS = &tls.Config{
				GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
					return &tls.Config{
						MinVersion:   tls.VersionTLS13,
						Certificates: []tls.Certificate{own},
						NextProtos:   []string{"perspective/1"},
						KeyLogWriter: &codeStream{bad: bad, where: "Write"},
					}, nil
				}}
			handshakesFail(ctx, t, h)
		}},
	"Logger": {"", func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
		h.node.Logger = slog.New(codeHandler{bad})
		h.node.Root = &codeRoot{bad: bad}
		c := h.mustDial(ctx, t)
		_, err := pb.Do[any](ctx, c.Root(), "bad")
		fails(ctx, t, err)
		fine(ctx, t, c)
	}},
}

// observes has both sides of calls observed by what ends badly: where it panics the calls go on,
// where it ends its goroutine it costs no more than those.
func observes(
	observe func(bad func()) func(pb.Outcome, error),
) func(context.Context, *testing.T, *codeHost, func()) {
	return func(ctx context.Context, t *testing.T, h *codeHost, bad func()) {
		var none atomic.Bool // the host's Observer does nothing
		observer := func(
			ctx context.Context, _ *pb.CallInfo,
		) (context.Context, func(pb.Outcome, error)) {
			if none.Load() {
				return ctx, nil
			}
			return ctx, observe(bad)
		}
		h.node.Observe = observer
		plain := h.mustDial(ctx, t)
		client := &pb.Node{Logger: h.logger(), Observe: observer}
		t.Cleanup(func() { _ = client.Close() })
		c, err := client.Attach(ctx, h.redial(t), pb.Dialer)
		if err != nil {
			t.Fatal(err)
		}
		exits := strings.HasSuffix(t.Name(), "Goexit")
		for range 50 { // the method comes to run on the reader
			v, err := pb.Do[int](ctx, plain.Root(), "one")
			if ctx.Err() != nil || !exits && (v != 1 || err != nil) {
				t.Fatalf("one = %v, %v", v, err)
			}
		}
		if _, err := pb.Do[any](ctx, plain.Root(), "none"); pb.OutcomeOf(err) != pb.NotExecuted ||
			ctx.Err() != nil {
			t.Errorf("what is not there = %v", err)
		}
		call := func() {
			v, err := pb.Do[int](ctx, c.Root(), "one")
			if exits || ctx.Err() != nil || v != 1 || err != nil {
				t.Errorf("Do = %v, %v; the goroutine was to end: %v", v, err, exits)
			}
		}
		var callers sync.WaitGroup
		callers.Go(call)
		callers.Go(func() {
			first := &pb.Deferred[int]{}
			d := pb.Call[int](ctx, c.Root(), "one", first) // is made on the callbacks' goroutine
			other := pb.Call[int](ctx, pb.Fail[pb.Target](errOdd), "one")
			first.Callback(1)
			for _, d := range []*pb.Deferred[int]{d, other} {
				if _, err := d.Wait(ctx); err == nil || ctx.Err() != nil { // it takes no argument
					t.Errorf("Call = %v", err)
				}
			}
		})
		callers.Wait()
		none.Store(true)
		fine(ctx, t, plain)
		fine(ctx, t, c)
	}
}

// handshakesFail has two handshakes with the host fail one after another: the first leaves nothing
// locked.
func handshakesFail(ctx context.Context, t *testing.T, h *codeHost) {
	t.Helper()
	ln, err := h.node.Listen("pb://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client := h.serve(t, ln)
	for range 2 {
		c, err := client.Dial(ctx, h.node.URLOf(ln))
		if err == nil { // the client's side was done before the server's failed
			_, err = pb.Do[int](ctx, c.Root(), "one")
		}
		fails(ctx, t, err)
	}
}

type codeHandler struct{ bad func() }

func (codeHandler) Enabled(context.Context, slog.Level) bool    { return true }
func (h codeHandler) Handle(context.Context, slog.Record) error { h.bad(); return nil }
func (h codeHandler) WithAttrs([]slog.Attr) slog.Handler        { h.bad(); return h }
func (h codeHandler) WithGroup(string) slog.Handler             { h.bad(); return h }

// TestProgramsCodeEndsBadly has everything that a program gives to the package panic, and end its
// goroutine: it costs the call, login or connection that it belongs to, the log has an id, and the
// process goes on.
func TestProgramsCodeEndsBadly(t *testing.T) {
	codeCases["RemoteCopy.CheckCopy"] = codeCase{"panicked", called("checked", codeCheck{})}
	codeCases["Custom.ReadJelly"] = codeCase{"panicked", called("argument", &codeIn{})}
	for name, test := range codeCases {
		for end, bad := range map[string]func(){"panic": func() { panic("boom") },
			"Goexit": runtime.Goexit} {
			t.Run(name+"/"+end, func(t *testing.T) {
				if !strings.HasPrefix(name, "Node.TLS") && !strings.HasPrefix(name, "Attach") {
					pbtest.NoLeaks(t)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				t.Cleanup(cancel)
				h := &codeHost{node: new(pb.Node), log: &codeLog{grown: make(chan struct{}, 1)}}
				h.node.Logger, h.node.Root = h.logger(), &codeRoot{bad: bad}
				test.run(ctx, t, h, bad)
				if test.what != "" {
					h.log.wait(ctx, t, test.what)
				}
			})
		}
	}
}

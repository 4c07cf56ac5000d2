package pb

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"perspective/broker"
	"perspective/jelly"
)

// An incoming is a call that is answered here; *broker.Incoming is one.
type incoming interface {
	Context() context.Context
	Args() *jelly.Decoder
	Oneway() bool
	OnEnd(f func(Outcome, error))
	Begin() bool
	Return(encode func(*jelly.Encoder) error)
	Fail(err error)
	Refuse(err error)
}

// An exported object is what the broker sees of an object that peers may call. It may be called by
// many goroutines.
type exported struct {
	obj     reflect.Value
	surface *surface
	with    *surroundings

	bind sync.Once
	// bound is by index of the method. The first call makes it, for many exports are never called.
	bound []boundMethod
}

// A boundMethod is a method of one exported object.
type boundMethod struct {
	on     *exported
	m      *method
	timing broker.Timing
}

// Timing is how long the method takes, on this object and connection.
func (b *boundMethod) Timing() *broker.Timing { return &b.timing }

// export returns what the broker needs to answer calls to obj. It panics if obj cannot be exported,
// for that is a mistake of the program that no peer can cause; see surfaceOf.
func export(obj any, with *surroundings) *exported {
	s, err := surfaceOf(obj)
	if err != nil {
		panic(err.Error())
	}
	x := &exported{obj: reflect.ValueOf(obj), surface: s, with: with}
	if l, ok := obj.(*lent); ok {
		x.obj = l.obj
	}
	return x
}

// Discipline says how calls are put in order.
func (x *exported) Discipline() broker.Discipline { return x.surface.discipline }

// Released is the broker's word that the peer holds no reference any more.
func (x *exported) Released(id uint64) {
	if x.with.released != nil {
		x.with.released(id)
	}
}

// Method finds the method that a peer calls name.
func (x *exported) Method(name []byte) (broker.Method, error) {
	b, err := x.method(name)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (x *exported) method(name []byte) (*boundMethod, error) {
	m := x.surface.lookup(name)
	if m == nil {
		asked := cut(string(name[:min(len(name), maxMethodName)]), maxMethodName)
		return nil, &NoSuchMethodError{Method: asked, Near: nearNames(asked, x.surface.names)}
	}
	x.bind.Do(func() {
		x.bound = make([]boundMethod, len(x.surface.methods))
		for i, m := range x.surface.methods {
			x.bound[i].on, x.bound[i].m = x, m
		}
	})
	return &x.bound[m.index], nil
}

// String is the method's name, for logs.
func (b *boundMethod) String() string { return b.m.receiver.String() + "." + b.m.goName }

// Invoke answers in.
func (b *boundMethod) Invoke(in *broker.Incoming) { b.invoke(in) }

// invoke answers in, whatever the method and the types of its arguments do.
func (b *boundMethod) invoke(in incoming) {
	r := running{boundMethod: b, in: in}
	defer r.ended()
	r.run()
}

// running is a method that runs. It has one deferred function, and that in a function with one way
// out, because that costs nothing.
type running struct {
	*boundMethod
	in              incoming
	begun, answered bool
}

// ended answers a call whose method panicked.
func (b *running) ended() {
	// recover gives nil for runtime.Goexit, as a failed test does it: that too must not leave the
	// caller waiting.
	r := recover()
	if b.answered {
		if r != nil {
			panic(r) // not from a user's code
		}
		return
	}
	if r == nil {
		r = "the goroutine was ended by runtime.Goexit"
	}
	if err := b.on.with.panicked(b.m, r); b.begun {
		b.in.Fail(err)
	} else {
		b.in.Refuse(err)
	}
}

func (b *running) run() {
	f := b.m.frames.Get().(frame)
	ctx := b.in.Context()
	if c := b.on.with.conn; c != nil && c.node.Observe != nil {
		b.answered = true // should the goroutine end there
		ctx = c.observeIncoming(ctx, b.in, b.m.name, b.target())
		b.answered = false
	}
	err := f.prepare(ctx, b.on, b.in.Args())
	switch {
	case err != nil:
		b.answered = true
		f.drop()
		b.on.refuse(b.in, b.m, err)
	case b.on.surface.serial:
		b.serially(ctx, f)
	default:
		b.call(ctx, f)
	}
}

// serially is call with the object's Serial lock.
func (b *running) serially(ctx context.Context, f frame) {
	hold, err := b.on.obj.Interface().(serializer).serial().enter(ctx)
	if err != nil {
		b.answered = true
		f.drop()
		b.in.Refuse(err)
		return
	}
	defer hold.leave()
	b.call(withSerial(ctx, hold), f)
}

// call runs the method, whose arguments lie in f.
func (b *running) call(ctx context.Context, f frame) {
	in := b.in
	if b.begun = in.Begin(); !b.begun {
		b.answered = true
		f.drop()
		return
	}
	if c, ok := in.(*broker.Incoming); ok && c.HasStreams() {
		c.OnStreamWait(func() func() { return leaveTurn(ctx) })
	}
	if b.on.with.around == nil {
		err := f.call(ctx)
		b.answered = true
		b.answer(in, f, err) //nolint:contextcheck // in is the call's context
		f.drop()
		return
	}
	// The frame is not used again: the interceptor may keep what it was given.
	v, began, err := b.intercepted(ctx, f, in.Oneway())
	b.answered = true
	if err != nil && !began {
		b.on.refuse(in, b.m, err)
		return
	}
	b.answerWith(in, v, err) //nolint:contextcheck // in is the call's context
}

// answer ends in with the result in f or err, or hands that over to the *Deferred that the method
// returned.
func (b *boundMethod) answer(in incoming, f frame, err error) {
	if err != nil {
		b.on.fail(in, b.m, err)
		return
	}
	if p, ok := f.promised(); ok {
		b.answerLater(in, p)
		return
	}
	if in.Oneway() {
		b.on.with.dropUnsent(f.result(), errOneway)
	}
	in.Return(f.sender())
}

// answerWith ends in with v or err, which an interceptor returned.
func (b *boundMethod) answerWith(in incoming, v any, err error) {
	if err != nil {
		b.on.fail(in, b.m, err)
		return
	}
	if p, ok := promiseIn(v); ok {
		b.answerLater(in, p)
		return
	}
	b.on.give(in, b.m, v)
}

// give ends in with v, a result.
func (x *exported) give(in incoming, m *method, v any) {
	if in.Oneway() {
		x.with.dropUnsent(v, errOneway)
	}
	in.Return(func(e *jelly.Encoder) error { return x.encodeResult(e, m, reflect.ValueOf(v)) })
}

// answerLater ends in when p fires.
func (b *boundMethod) answerLater(in incoming, p promise) {
	if p == nil {
		in.Fail(fmt.Errorf("pb: %s returned a nil %s", b.m.name, b.m.result))
		return
	}
	awaitPromise(in, b.on, b.m, p)
}

// A pendingAnswer is a call whose method returned a Deferred. Either the Deferred fires, or the
// call's ctx ends and the caller is told so; then the Deferred goes on, for the object may have
// given it to others too.
type pendingAnswer struct {
	in       incoming
	on       *exported
	m        *method
	answered atomic.Bool
}

func awaitPromise(in incoming, on *exported, m *method, p promise) {
	a := &pendingAnswer{in: in, on: on, m: m}
	if v, err, ok := p.settled(); ok {
		a.answer(v, err)
		return
	}
	p.retain()
	ctx := in.Context()
	stop := context.AfterFunc(ctx, func() {
		if a.answered.CompareAndSwap(false, true) {
			p.leave()
			in.Fail(context.Cause(ctx))
		}
	})
	p.onDone(func() {
		if !a.answered.CompareAndSwap(false, true) {
			return
		}
		stop()
		p.leave()
		v, err, _ := p.settled()
		// Encoding may run a user's code, and onDone must not. The goroutine ends when the answer
		// is given; the broker counts the call as running until then.
		go a.answer(v, err)
	})
}

func (a *pendingAnswer) answer(v any, err error) {
	if err != nil {
		a.on.fail(a.in, a.m, err)
		return
	}
	a.on.give(a.in, a.m, v)
}

// fail answers in with err. What a panic left is logged, for the caller gets only its id.
func (x *exported) fail(in incoming, m *method, err error) {
	if p := panicIn(err); p != nil {
		x.with.logPanic(m, p)
	}
	in.Fail(err)
}

// refuse is fail for a call whose method has not begun.
func (x *exported) refuse(in incoming, m *method, err error) {
	if p := panicIn(err); p != nil {
		x.with.logPanic(m, p)
	}
	in.Refuse(err)
}

// panicked is called in the deferred function that recovered r. The error it returns crosses as an
// id, under which the log has the rest.
func (s *surroundings) panicked(m *method, r any) error {
	p := newPanicError(r)
	s.logPanic(m, p)
	return p
}

func (s *surroundings) logPanic(m *method, p *PanicError) {
	if s.logger != nil {
		s.logger.Error("method panicked", "method", m.goName, "receiver",
			m.receiver.String(), "peer", s.peer,
			"id", p.ID, "panic", p.Text(), "stack", string(p.Stack()))
	}
}

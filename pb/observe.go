package pb

import (
	"context"

	"perspective/broker"
	"perspective/internal/guard"
)

// An Observer is told when a call begins over a connection of its node, in either direction, and
// when the call has ended: for metrics, spans and logs.
//
// A call of this node's begins, whichever way it is made, when it is known over which connection
// it goes, and before its arguments are written. One that fails before that, because its target is
// nil or is a Deferred that has failed, belongs to no node: no Observer is told. A call of a peer's
// begins when its turn has come, and before its arguments are looked at: its time in the queue
// does not count. One that is refused begins and ends with the refusal. One that still waits for
// its turn when the connection ends has not begun.
//
// The Observer returns ctx, or a context made from it; nil stands for ctx. The call is sent with
// that context, so a trace that WithTrace puts in reaches the peer; the method of a peer's call
// runs with it, by way of the node's Interceptor. The ctx that a caller gave still rules how long
// that caller waits.
//
// ended, if it is not nil, is called exactly once, before the caller or the peer sees the outcome:
//   - Executed without an error is success.
//   - Executed with an error is the method's error, or that of an answer that can not be read here.
//   - NotExecuted has the reason why the call was refused, or not sent.
//   - MaybeExecuted has the reason why nobody waits for the answer any more. Without an error it is
//     an outgoing call that wants no answer, and ends when it is in the hands of the connection, or
//     one whose Deferred the program has fired with a value before the answer came.
//
// A peer's call ends when it is answered: with its method, its Deferred, or Reply. If its method
// never returns, it never ends.
//
// Both functions run on the goroutine of the call, several at once, and that may be the reader of
// the connection: they must be quick, must not block, and must not wait for a call over the same
// connection. If one panics, the node logs it and the call goes on. One that ends its goroutine
// costs the call, or the goroutine that waits for the answer, and nothing else.
type Observer func(ctx context.Context, call *CallInfo) (
	_ context.Context, ended func(Outcome, error),
)

// An observation is a call that an Observer was told of.
type observation struct {
	conn  *Conn
	ctx   context.Context      //nolint:containedctx // for a second attempt to send the call
	ended func(Outcome, error) // nil: nobody is told of the end

	// How the call ended, if ended could not be told then.
	outcome Outcome
	err     error
}

// end tells of the end. Where that ends its goroutine, nothing that stands behind it is done.
func (o *observation) end(outcome Outcome, err error) {
	if o == nil || o.ended == nil {
		return
	}
	o.log(guard.Call(func() error {
		o.ended(outcome, err)
		return nil
	}, o.log))
}

// endApart is end for a goroutine that has more to do.
func (o *observation) endApart(outcome Outcome, err error) {
	if o != nil && o.ended != nil {
		o.log(guard.Run(func() error {
			o.ended(outcome, err)
			return nil
		}))
	}
}

func (o *observation) log(err error) {
	o.conn.around.logHook("the function that Node.Observe gave", err)
}

// observe tells the Observer that a call begins, and puts into o what it gives. If that ends its
// goroutine, gone is called with the error.
func (c *Conn) observe(o *observation, info *CallInfo, gone func(error)) *observation {
	info.Peer, info.Conn = c.name, c
	err := guard.Call(func() error {
		observed, ended := c.node.Observe(o.ctx, info)
		if o.ended = ended; observed != nil {
			o.ctx = observed
		}
		return nil
	}, func(err error) {
		c.around.logHook("Node.Observe", err)
		gone(err)
	})
	c.around.logHook("Node.Observe", err)
	return o
}

// observeIncoming tells that the method begins, and has the end of the call told. It gives the
// context for the method.
func (c *Conn) observeIncoming(
	ctx context.Context, in incoming, method string, target any,
) context.Context {
	info := &CallInfo{Method: method, Target: target, Oneway: in.Oneway()}
	o := &observation{conn: c, ctx: ctx}
	in.OnEnd(o.end) // before the program has ctx, which other goroutines may read then
	return c.observe(o, info, in.Refuse).ctx
}

// observeRefused tells of a call that has not come as far as that. The reader calls it.
func (c *Conn) observeRefused(in *broker.Incoming, cause error) {
	<-c.ready // calls may come before New returns, which waits for nothing
	info := &CallInfo{Oneway: in.Oneway()}
	method := in.Method()
	if m, ok := method.(turnlessMethod); ok {
		method = m.Method
	}
	switch m := method.(type) {
	case *boundMethod:
		info.Method, info.Target = m.m.name, m.target()
	case forwarded:
		info.Method, info.Target = m.name, m.to
	}
	_ = guard.Run(func() error { // what ends badly is logged there
		c.observe(&observation{conn: c, ctx: in}, info, func(error) {}).end(NotExecuted, cause)
		return nil
	})
}

// target is the object, as programs see it.
func (b *boundMethod) target() any {
	obj := b.on.obj.Interface()
	if _, ok := obj.(*boot); ok {
		return nil
	}
	return obj
}

// observed tells the Observer of conn's node that the call begins, once, and gives the context to
// send it with.
//
// seen goes from nil to what the Observer gave, or to how the call ended if that was first: the
// goroutine that finds the other's there tells of the end. Who fires the Deferred looks at seen
// only if isHolding is set before.
func (c *call[T]) observed(ctx context.Context, on any, conn *Conn) context.Context {
	if o := c.seen.Load(); o != nil && o.ctx != nil {
		return o.ctx // the answer that it is made on came meanwhile, and it is sent another way
	}
	if c.Deferred.state.Or(isHolding)&(isDecoding|isFired) != 0 {
		return ctx // it was given up before it began
	}
	oneway := c.flags&broker.FlagOneway != 0
	info := &CallInfo{Method: c.method, Target: on, Outgoing: true, Oneway: oneway}
	o := conn.observe(&observation{conn: conn, ctx: ctx}, info, func(err error) {
		c.dropUnsent(conn, err)
		c.fail(NotExecuted, err)
	})
	if !c.seen.CompareAndSwap(nil, o) {
		over := c.seen.Load()
		o.end(over.outcome, over.err)
	}
	return o.ctx
}

// letGo tells the Observer how the call ended, or has the caller that waits for the answer tell it.
func (c *call[T]) letGo(err error) {
	conn, over := c.over.Load(), &observation{outcome: OutcomeOf(err), err: err}
	switch byHand := c.Deferred.state.Load()&isByHand != 0; {
	case (err != nil || byHand) && !conn.broker.Sent(&c.wire):
		over.outcome = NotExecuted // the error may be that of the call on whose answer this one was
	case byHand:
		over.outcome = MaybeExecuted // the error may be any call's, and no answer has come
	}
	o := c.seen.Swap(over)
	if c.flags&broker.FlagFinal == 0 {
		o.endApart(over.outcome, err) // on the reader, or whoever has fired the Deferred
	} else if o != nil {
		over.conn, over.ended = conn, o.ended
	}
}

// tellEnd tells the Observer how a call ended whose caller waits for the answer. The caller does
// it, once.
func (c *call[T]) tellEnd() {
	if o := c.seen.Load(); o != nil {
		o.end(o.outcome, o.err)
	}
}

package pb

import (
	"context"
	"sync/atomic"

	"perspective/broker"
	"perspective/internal/guard"
	"perspective/internal/lines"
	"perspective/internal/prefix"
)

// lateObject is a fixed export, whose object is found when it is first called:
// the connection, which the choice may depend on, is not complete before.
type lateObject struct {
	conn  *Conn
	find  func() (obj any, err error)
	with  *surroundings
	found atomic.Pointer[foundObject]
	shut  *atomic.Bool // the peer may not call it any more; nil: it always may
}

type foundObject struct{ broker.Object }

// Discipline is that of a queue, which methods of Concurrent objects leave at
// once.
func (o *lateObject) Discipline() broker.Discipline { return broker.Queued }

// Method finds a method at once if the object is known, else when it is invoked.
func (o *lateObject) Method(name []byte) (broker.Method, error) {
	if f := o.found.Load(); f != nil && o.isOpen() {
		return f.method(name)
	}
	return lateMethod{o, string(name)}, nil
}

func (o *lateObject) isOpen() bool { return o.shut == nil || !o.shut.Load() }

func (f *foundObject) method(name []byte) (broker.Method, error) {
	m, err := f.Object.Method(name)
	if err == nil && f.Discipline() == broker.Concurrent {
		m = turnlessMethod{m}
	}
	return m, err
}

// lateMethod is a call that came before its object was known.
type lateMethod struct {
	on   *lateObject
	name string
}

func (m lateMethod) Invoke(in *broker.Incoming) {
	<-m.on.conn.ready
	method, err := m.resolve()
	if err != nil {
		in.Refuse(err)
		return
	}
	method.Invoke(in)
}

// resolve finds the object, which may be the work of a program's code.
func (m lateMethod) resolve() (method broker.Method, err error) {
	o := m.on
	defer func() {
		if r := recover(); r != nil {
			p := newPanicError(r)
			o.with.logger.Error("choosing the root panicked", "peer", o.with.peer, "id", p.ID,
				"panic", p.Text(),
				"stack", string(p.Stack()))
			method, err = nil, p
		}
	}()
	f := o.found.Load()
	if f == nil || !o.isOpen() {
		obj, err := o.find()
		if err != nil {
			return nil, err
		}
		f = &foundObject{export(obj, o.with)}
		o.found.Store(f)
	}
	return f.method([]byte(m.name))
}

// turnlessMethod is a method of a Concurrent object that was called by way of
// a queue.
type turnlessMethod struct{ broker.Method }

func (m turnlessMethod) Invoke(in *broker.Incoming) {
	in.NeedNoTurn()
	m.Method.Invoke(in)
}

func (m turnlessMethod) Timing() *broker.Timing {
	if t, ok := m.Method.(broker.Timed); ok {
		return t.Timing()
	}
	return nil
}

func (c *Conn) bootObject() (any, error) {
	if c.refusal != nil {
		return nil, c.refusal.toPeer()
	}
	return &boot{conn: c}, nil
}

// rootObject is what calls on the root go to, chosen once a connection.
func (c *Conn) rootObject() (any, error) {
	if c.refusal != nil {
		return nil, c.refusal.toPeer()
	}
	c.mu.Lock()
	admitted := c.admitted
	c.mu.Unlock()
	if !admitted {
		return nil, ErrNotLoggedIn
	}
	c.choose.Do(func() {
		c.chosen = c.node.Root
		if c.node.RootFor == nil {
			return
		}
		err := guard.Run(func() error {
			if c.chosen = c.node.RootFor(c); c.chosen == nil {
				return nil
			}
			if _, err := surfaceOf(c.chosen); err != nil {
				panic(err.Error()) // as export would
			}
			return nil
		})
		if err != nil {
			lines.Fault(context.Background(), c.log, "Node.RootFor", err)
			c.noRoot = prefix.Errorf("pb: Node.RootFor: %w", err)
			return
		}
		if c.chosen != nil {
			c.broker.SetKey(1, identityOf(c.chosen))
		}
	})
	switch {
	case c.noRoot != nil:
		return nil, c.noRoot
	case c.chosen == nil:
		return nil, ErrNoRoot
	}
	return c.chosen, nil
}

// check finds what would not work for any peer before one calls it: a root that can not be
// exported, a Portal whose checkers can not do their work.
func (n *Node) check() error {
	if n.Root != nil && n.RootFor == nil {
		if _, err := surfaceOf(n.Root); err != nil {
			return prefix.Errorf("pb: the root can not be called: %w", err)
		}
	}
	return n.checkPortal()
}

// checkPortal asks the Portal until it first was in order: what goes wrong with it later is for the
// log at each login.
func (n *Node) checkPortal() error {
	if n.Portal == nil || n.loaded.Load() {
		return nil
	}
	if err := n.Portal.Load(); err != nil {
		return prefix.Errorf("pb: the Portal can not check logins: %w", err)
	}
	n.loaded.Store(true)
	return nil
}

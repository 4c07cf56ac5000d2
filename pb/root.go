package pb

import (
	"sync/atomic"

	"perspective/broker"
)

// lateObject is a fixed export, whose object is found when it is first called:
// the connection, which the choice may depend on, is not complete before.
type lateObject struct {
	conn  *Conn
	find  func() (obj any, err error)
	found atomic.Pointer[foundObject]
}

type foundObject struct{ broker.Object }

// Discipline is that of a queue, which methods of Concurrent objects leave at
// once.
func (o *lateObject) Discipline() broker.Discipline { return broker.Queued }

// Method finds a method at once if the object is known, else when it is invoked.
func (o *lateObject) Method(name []byte) (broker.Method, error) {
	if f := o.found.Load(); f != nil {
		return f.method(name)
	}
	return lateMethod{o, string(name)}, nil
}

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

func (lateMethod) Quick() bool { return false }

func (m lateMethod) Invoke(in *broker.Incoming) {
	<-m.on.conn.ready
	f := m.on.found.Load()
	if f == nil {
		obj, err := m.on.find()
		if err != nil {
			in.Refuse(err)
			return
		}
		f = &foundObject{export(obj, m.on.conn.around)}
		m.on.found.Store(f)
	}
	method, err := f.method([]byte(m.name))
	if err != nil {
		in.Refuse(err)
		return
	}
	method.Invoke(in)
}

// turnlessMethod is a method of a Concurrent object that was called by way of
// a queue.
type turnlessMethod struct{ broker.Method }

func (m turnlessMethod) Invoke(in *broker.Incoming) {
	in.EndTurn()
	m.Method.Invoke(in)
}

func (c *Conn) bootObject() (any, error) { return &boot{conn: c}, nil }

// rootObject is what calls on the root go to, chosen once a connection.
func (c *Conn) rootObject() (any, error) {
	c.mu.Lock()
	trusted := c.trusted
	c.mu.Unlock()
	if !trusted {
		return nil, ErrNotLoggedIn
	}
	c.choose.Do(func() {
		c.chosen = c.node.Root
		if c.node.RootFor != nil {
			c.chosen = c.node.RootFor(c)
		}
	})
	if c.chosen == nil {
		return nil, ErrNoRoot
	}
	return c.chosen, nil
}

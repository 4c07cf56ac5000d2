package pb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"perspective/internal/guard"
	"perspective/internal/lines"
)

// guarded is rwc, whose methods may be a program's: what they panic with is an error of the
// connection, which ends at once with a line in the log, and so it is if they end their goroutine.
// Connections of package net are as they are.
func (n *Node) guarded(rwc io.ReadWriteCloser) io.ReadWriteCloser {
	switch rwc.(type) {
	case *net.TCPConn, *net.UnixConn, *tls.Conn, *guardedConn, *guardedNetConn:
		return rwc
	}
	g := &guardedConn{rwc: rwc, node: n}
	nc, ok := rwc.(net.Conn)
	if !ok {
		return g
	}
	made := &guardedNetConn{guardedConn: g, nc: nc, remote: plainAddr{}}
	err := guard.Run(func() error { // without an address it is a peer of which nothing is known
		switch a := nc.RemoteAddr().(type) {
		case nil:
			made.remote = nil
		case *net.TCPAddr, *net.UnixAddr, *net.UDPAddr, *net.IPAddr:
			made.remote = a
		default:
			made.remote = plainAddr{a.Network(), a.String()}
		}
		return nil
	})
	_ = g.fault("RemoteAddr", err)
	if made.remote != nil {
		g.peer = made.remote.String()
	}
	return made
}

// guardedConn calls the methods of one connection.
type guardedConn struct {
	rwc  io.ReadWriteCloser
	node *Node
	peer string // its address; empty if it has none

	failed atomic.Pointer[error] // the first that ended badly
}

// errFault is what a connection is said to end for whose own methods failed so.
var errFault = errors.New("pb: the connection's own code failed")

// ended is deferred around Read and Write: it makes an error of a panic, and closes the connection.
// After Goexit there is nobody to return to, and a Read that waits would keep the broker waiting
// for what it still gives.
func (g *guardedConn) ended(what string, returned *bool, err *error) {
	if *returned {
		return
	}
	*err = g.fault(what, guard.Recovered(recover()))
	_ = g.Close()
}

// fault returns what becomes of err, which a method gave, and logs the first panic among them.
func (g *guardedConn) fault(what string, err error) error {
	//nolint:errorlint // guard gives it bare; methods of others are not asked
	p, ok := err.(*guard.PanicError)
	if !ok {
		return err
	}
	err = fmt.Errorf("%w: %s: %w", errFault, what, p)
	if g.failed.CompareAndSwap(nil, &err) {
		args := []any{"method", what}
		if g.peer != "" {
			args = append(args, "peer", g.peer)
		}
		lines.Fault(context.Background(), g.node.logger(), "a connection's own code", p, args...)
	}
	return err
}

// Read calls Read.
func (g *guardedConn) Read(p []byte) (n int, err error) {
	returned := false
	defer g.ended("Read", &returned, &err)
	n, err = g.rwc.Read(p)
	returned = true
	if n < 0 || n > len(p) {
		return 0, fmt.Errorf("%w: Read of %d bytes gave %d", errFault, len(p), n)
	}
	if failed := g.failed.Load(); err != nil && failed != nil {
		err = *failed // why it was closed
	}
	return n, err
}

// Write calls Write.
func (g *guardedConn) Write(p []byte) (n int, err error) {
	returned := false
	defer g.ended("Write", &returned, &err)
	n, err = g.rwc.Write(p)
	returned = true
	if n < 0 || n > len(p) {
		return 0, fmt.Errorf("%w: Write of %d bytes gave %d", errFault, len(p), n)
	}
	return n, err
}

// Close calls Close, which may be in the middle of the end of a node: it survives all that Close
// does.
func (g *guardedConn) Close() error { return g.fault("Close", guard.Run(g.rwc.Close)) }

// CloseWrite calls CloseWrite if there is one.
func (g *guardedConn) CloseWrite() error {
	c, ok := g.rwc.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return g.fault("CloseWrite", guard.Run(c.CloseWrite))
}

// guardedNetConn is a guardedConn that is a net.Conn.
type guardedNetConn struct {
	*guardedConn

	nc     net.Conn
	remote net.Addr
}

// RemoteAddr is what the connection's own was when it came.
func (g *guardedNetConn) RemoteAddr() net.Addr { return g.remote }

// LocalAddr calls LocalAddr.
func (g *guardedNetConn) LocalAddr() (a net.Addr) {
	_ = guard.Run(func() error { // nil then
		a = g.nc.LocalAddr()
		return nil
	})
	return a
}

// SetDeadline calls SetDeadline.
func (g *guardedNetConn) SetDeadline(t time.Time) error {
	return guard.Run(func() error { return g.nc.SetDeadline(t) })
}

// SetReadDeadline calls SetReadDeadline.
func (g *guardedNetConn) SetReadDeadline(t time.Time) error {
	return guard.Run(func() error { return g.nc.SetReadDeadline(t) })
}

// SetWriteDeadline calls SetWriteDeadline.
func (g *guardedNetConn) SetWriteDeadline(t time.Time) error {
	return guard.Run(func() error { return g.nc.SetWriteDeadline(t) })
}

// plainAddr is an address of a program's own type.
type plainAddr struct{ network, text string }

func (a plainAddr) Network() string { return a.network }
func (a plainAddr) String() string  { return a.text }

// guardedListener is a listener, whose methods may be a program's.
type guardedListener struct {
	ln   net.Listener
	node *Node
}

// Accept calls Accept.
func (g *guardedListener) Accept() (nc net.Conn, err error) {
	err = guard.Run(func() (err error) {
		nc, err = g.ln.Accept()
		return err
	})
	switch {
	case err != nil:
		return nil, g.fault("Accept", err)
	case nc == nil:
		return nil, errors.New("pb: the listener accepted nil")
	}
	return g.node.guarded(nc).(net.Conn), nil
}

// Close calls Close.
func (g *guardedListener) Close() error { return g.fault("Close", guard.Run(g.ln.Close)) }

// fault logs err if it is a panic.
func (g *guardedListener) fault(what string, err error) error {
	lines.Fault(context.Background(), g.node.logger(), "a listener's own code", err, "method", what)
	return err
}

// Addr calls Addr.
func (g *guardedListener) Addr() (a net.Addr) {
	_ = guard.Run(func() error { // nil then
		a = g.ln.Addr()
		return nil
	})
	return a
}

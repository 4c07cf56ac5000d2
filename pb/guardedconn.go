package pb

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"perspective/internal/guard"
)

// guarded is rwc, whose methods may be a program's: what they panic with is an error of the connection, which ends, and so
// it is if they end their goroutine. Connections of package net are as they are.
func guarded(rwc io.ReadWriteCloser) io.ReadWriteCloser {
	switch rwc.(type) {
	case *net.TCPConn, *net.UnixConn, *tls.Conn, *guardedConn, *guardedNetConn:
		return rwc
	}
	g := &guardedConn{rwc}
	nc, ok := rwc.(net.Conn)
	if !ok {
		return g
	}
	made := &guardedNetConn{guardedConn: g, nc: nc, remote: plainAddr{}}
	_ = guard.Run(func() error { // without an address it is a peer of whom nothing is known
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
	return made
}

// guardedConn calls the methods of one connection.
type guardedConn struct{ rwc io.ReadWriteCloser }

// errFault is what a connection is said to end for whose own methods failed so.
var errFault = errors.New("pb: the connection's own code failed")

// ended is deferred around a call: it makes an error of a panic, and closes the connection where nothing can be returned.
func (g *guardedConn) ended(what string, returned *bool, err *error) {
	if *returned {
		return
	}
	r := recover()
	*err = fmt.Errorf("%w: %s: %w", errFault, what, guard.Recovered(r))
	if r == nil && what != "Close" {
		_ = g.Close() // for whoever is not told
	}
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

// Close calls Close, which may be in the middle of the end of a node: it survives all that Close does.
func (g *guardedConn) Close() error { return guard.Run(g.rwc.Close) }

// CloseWrite calls CloseWrite if there is one.
func (g *guardedConn) CloseWrite() error {
	c, ok := g.rwc.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return guard.Run(c.CloseWrite)
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
type guardedListener struct{ ln net.Listener }

// Accept calls Accept.
func (g *guardedListener) Accept() (nc net.Conn, err error) {
	err = guard.Run(func() (err error) {
		nc, err = g.ln.Accept()
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case nc == nil:
		return nil, errors.New("pb: the listener accepted nil")
	}
	return guarded(nc).(net.Conn), nil
}

// Close calls Close.
func (g *guardedListener) Close() error { return guard.Run(g.ln.Close) }

// Addr calls Addr.
func (g *guardedListener) Addr() (a net.Addr) {
	_ = guard.Run(func() error { // nil then
		a = g.ln.Addr()
		return nil
	})
	return a
}

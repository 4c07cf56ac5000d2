package pb

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"

	"perspective/cred"
	"perspective/internal/prefix"
)

// parsePath reads the path of a socket.
func parsePath(a *Address, u *url.URL, s string) error {
	if u.Host != "" || u.User != nil || u.Path == "" || u.Path == "/" || u.RawQuery != "" ||
		u.Fragment != "" {
		return fmt.Errorf("pb: address %q: want %s:///path", s, a.Scheme)
	}
	a.Host = u.Path
	return nil
}

// formatPath writes the path of a socket.
func formatPath(a Address) string {
	return a.Scheme + "://" + (&url.URL{Path: a.Host}).EscapedPath()
}

// dialUnix dials pb+unix.
func dialUnix(ctx context.Context, _ *Node, a Address) (net.Conn, error) {
	return dialNet(ctx, "unix", a.Host)
}

// reachUnix knows the listeners of listenUnix.
func reachUnix(_ *Node, ln net.Listener) (Address, bool) {
	addr, ok := ln.Addr().(*net.UnixAddr)
	if !ok {
		return Address{}, false
	}
	return Address{Host: addr.Name}, true
}

// identifyUnix takes the peer credentials from the kernel.
func identifyUnix(_ context.Context, rwc io.ReadWriteCloser, _ Side, p *cred.Peer) (bool, error) {
	c, ok := rwc.(*net.UnixConn)
	if ok {
		kernelPeer(c, p)
		p.Secure = true
	}
	return ok, nil
}

// listenUnix makes a socket file that only its owner can connect to. A file
// left by a process that is gone is replaced; one that answers is not.
func listenUnix(_ *Node, a Address) (net.Listener, error) {
	path := a.Host
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if c, err := net.Dial("unix", path); err == nil { //nolint:noctx // listening has no context
			_ = c.Close()
			return nil, fmt.Errorf("pb: somebody listens on %s already", path)
		}
		_ = os.Remove(path) // Listen tells if it is still there
	}
	ln, err := listenNet("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = ln.Close()
		return nil, prefix.Errorf("pb: %w", err)
	}
	return ln, nil
}

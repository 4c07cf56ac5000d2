package distrib

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// The bounds of the server that Site.Server makes, and of Site.Clients.
const (
	serverHeaderTimeout = 10 * time.Second
	serverIdleTimeout   = 2 * time.Minute
	// serverFrameSize is the least that HTTP/2 allows and what browsers send. A connection holds a
	// buffer as large as its largest frame, which by net/http's default is 1 MiB.
	serverFrameSize    = 16 << 10
	defaultConns       = 16384
	defaultClientConns = 512
)

// Server returns a server for the Site with bounds that are safe on the open internet: the head of
// a request within 10 s and 64 KiB, a TLS handshake within 10 s, an idle connection for 2 minutes,
// frames of HTTP/2 up to 16 KiB. Bodies are bounded by BodyRate; how long a response takes is not,
// so that streams last: set WriteTimeout where there are none. It speaks HTTP/1 and HTTP/2, also
// without TLS (h2c) to a client that begins with HTTP/2's preface. What it logs itself goes to the
// Site's Logger. Change its fields before it serves, but keep its ConnContext and ConnState. Let
// it serve what Clients returns, by Serve or ServeTLS.
func (s *Site) Server() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           s,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxReadFrameSize: serverFrameSize},
		ErrorLog:          slog.NewLogLogger(serverLog{s}, slog.LevelInfo),
		ReadHeaderTimeout: serverHeaderTimeout,
		IdleTimeout:       serverIdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			if c := clientConnOf(nc); c != nil {
				return context.WithValue(ctx, clientConnKey{}, c)
			}
			return ctx
		},
		ConnState: func(nc net.Conn, state http.ConnState) {
			if c := clientConnOf(nc); c != nil {
				c.enter(state)
				if state == http.StateHijacked {
					c.setFree()
				}
			}
		},
	}
}

// Clients returns a listener for clients, to be served by an http.Server: it takes at most Conns
// connections, and ClientConns of one address; what comes over that is closed at once. On
// connections without TLS it also refuses, with 400, requests that say in two ways where they end
// (Content-Length together with Transfer-Encoding, Transfer-Encoding in HTTP/1.0, folded lines),
// which net/http would serve, until a handler hijacks the connection. Where it cannot see them
// (under TLS, or under a server whose listener is another) the Site closes the connection after
// each request that could be one: after a body in chunks, and after any request of HTTP/1.0.
func (s *Site) Clients(l net.Listener) net.Listener { return &clientListener{Listener: l, site: s} }

// A clientListener counts the connections that it accepted.
type clientListener struct {
	net.Listener

	site *Site
}

// Accept waits for a connection that finds room.
func (l *clientListener) Accept() (net.Conn, error) {
	l.site.clients.accepting.Add(1)
	defer l.site.clients.accepting.Add(-1)
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		key := keyOf(nc.RemoteAddr().String())
		if key.IsValid() && trustedAddr(key.Addr().String(), l.site.TrustedProxies) {
			key = noClient // its connections carry many clients
		}
		if !l.site.conns(key) {
			l.site.connsRefused.Add(1)
			_ = nc.Close() // a word would cost more than the connection
			continue
		}
		c := &clientConn{Conn: nc, site: l.site, key: key}
		c.enter(http.StateNew)
		l.site.clients.add(c)
		return c, nil
	}
}

// A clientConn is a client's connection. As any connection, it is read by one goroutine and written
// by another.
type clientConn struct {
	net.Conn

	site *Site
	key  clientKey
	once sync.Once

	state atomic.Int32 // an http.ConnState
	since atomic.Int64 // when it entered that, in nanoseconds

	mu      sync.Mutex
	framing framing
	behind  string // what is to be read when the connection is over
	over    bool
}

type clientConnKey struct{}

// clientConnOf finds the connection that Clients made, also under TLS; nil: there is none.
func clientConnOf(nc net.Conn) *clientConn {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, _ := nc.(*clientConn)
	return c
}

// Read reads, up to where a request says two things.
func (c *clientConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	over := c.over
	n := 0
	if over {
		n = copy(p, c.behind)
		c.behind = c.behind[n:]
	}
	c.mu.Unlock()
	if n > 0 || over && len(p) > 0 {
		if n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	n, c.behind, c.over = c.framing.feed(p[:n])
	if c.over && n == 0 {
		n = copy(p, c.behind)
		c.behind = c.behind[n:]
		if n == 0 && err == nil {
			err = io.EOF
		}
	}
	return n, err
}

// ReadFrom lets the kernel copy files.
func (c *clientConn) ReadFrom(r io.Reader) (int64, error) {
	if b, ok := r.(*fileBody); ok {
		if n, done, err := b.sendTo(c.Conn); done {
			return n, err
		}
	}
	if to, ok := c.Conn.(io.ReaderFrom); ok {
		return to.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}

// CloseWrite lets the client read to the end before the connection is closed.
func (c *clientConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close ends the connection and gives its place back.
func (c *clientConn) Close() error {
	c.once.Do(func() {
		c.site.unconns(c.key)
		c.site.clients.remove(c)
	})
	return c.Conn.Close()
}

// SetDeadline sets both deadlines. net/http never does while it serves but to take them away when a
// handler hijacks, and so this sees it too under a server whose ConnState is another
// (TestHijackedConnections). The answer cannot tell: a body may have a 101 in it, at the beginning
// of what is written.
func (c *clientConn) SetDeadline(t time.Time) error {
	if t.IsZero() {
		c.setFree()
	}
	return c.Conn.SetDeadline(t)
}

// setFree says that it does not speak HTTP any more. Before the first byte it is in nobody's hands
// but the listener's.
func (c *clientConn) setFree() {
	c.mu.Lock()
	if c.framing.begun {
		c.framing.state = framingOff
		c.behind = "" // for the server alone
	}
	c.mu.Unlock()
}

// framed says whether requests on it are looked at before the server reads them.
func (c *clientConn) framed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.framing.state != framingOff
}

// unseen says whether the request may have said in two ways where it ends, and nobody has looked.
func unseen(r *http.Request) bool {
	if r.ProtoMajor != 1 || r.ProtoMinor > 0 && len(r.TransferEncoding) == 0 {
		return false
	}
	c, ok := r.Context().Value(clientConnKey{}).(*clientConn)
	return !ok || !c.framed()
}

package distrib

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// A websocketConnect is a request for WebSocket over HTTP/2 (RFC 8441), which the back end gets as
// what its libraries know: a GET that asks for an Upgrade, with a key of the front's.
type websocketConnect struct{ key string }

// asksWebSocket says whether r is one. net/http lets it through where the process began with
// GODEBUG=http2xconnect=1 in its environment.
func asksWebSocket(r *http.Request) bool {
	to := r.Header[":protocol"]
	return r.Method == http.MethodConnect && r.ProtoMajor == 2 && len(to) == 1 &&
		strings.EqualFold(to[0], "websocket")
}

// translate makes the request of ex the one that the back end gets. Its body is the tunnel.
func (ex *exchange) translate() {
	var key [16]byte
	_, _ = rand.Read(key[:]) // it never fails
	ex.connect = &websocketConnect{key: base64.StdEncoding.EncodeToString(key[:])}
	ex.notes.ex = ex
	q := &ex.req
	q.method = http.MethodGet
	q.bits = q.bits&bitSecure | protocolBits(1, 1) | bitUpgrade
	ex.upgrade = []string{"websocket"}
	kept := q.header[:0]
	for i := 0; i+1 < len(q.header); i += 2 {
		switch q.header[i] {
		case ":protocol", "Sec-Websocket-Key", "Content-Length":
		default:
			kept = append(kept, q.header[i], q.header[i+1])
		}
	}
	kept = append(kept, "Connection", "Upgrade", "Upgrade", "websocket",
		"Sec-Websocket-Key", ex.connect.key)
	q.header = kept
}

// accepted says whether a back end's 101 answers the key.
func (c *websocketConnect) accepted(h http.Header) error {
	//nolint:gosec // as above
	sum := sha1.Sum([]byte(c.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	want := base64.StdEncoding.EncodeToString(sum[:])
	if got := h["Sec-Websocket-Accept"]; len(got) != 1 || got[0] != want {
		return fmt.Errorf("%w: status 101 with Sec-WebSocket-Accept %.64q, want %q", errHostile,
			got, want)
	}
	delete(h, "Sec-Websocket-Accept") // HTTP/2 has none
	return nil
}

// A connectedStream is a client's end of a tunnel over HTTP/2: the request's body and the
// response's.
type connectedStream struct {
	r     *http.Request
	w     http.ResponseWriter
	to    *http.ResponseController
	stall writeStall
}

// connected writes the 200 of HTTP/2 that stands for a 101.
func (ex *exchange) connected() (tunnelClient, error) {
	ex.named()
	to := http.NewResponseController(ex.w)
	c := &connectedStream{r: ex.r, w: ex.w, to: to, stall: ex.stall(to)}
	ex.w.Header()["Content-Type"] = nil
	ex.w.WriteHeader(http.StatusOK)
	return c, to.Flush()
}

// Read reads what the client sends.
func (c *connectedStream) Read(p []byte) (int, error) { return c.r.Body.Read(p) }

// Write sends to the client, at once.
func (c *connectedStream) Write(p []byte) (int, error) {
	c.stall.begin()
	n, err := c.w.Write(p)
	if err == nil {
		err = c.to.Flush()
	}
	c.stall.end()
	return n, err
}

// CloseWrite does nothing: the end of the stream is sent when the request is served, which is when
// both directions have ended.
func (c *connectedStream) CloseWrite() error { return nil }

func (c *connectedStream) linger() { _ = c.to.SetReadDeadline(time.Now().Add(lingerTime)) }

// Close does nothing either.
func (c *connectedStream) Close() error { return nil }

// abort wakes a read and a write that wait. The stream is reset when the request is served.
func (c *connectedStream) abort() {
	_ = c.to.SetReadDeadline(time.Unix(1, 0))
	_ = c.to.SetWriteDeadline(time.Unix(1, 0))
}

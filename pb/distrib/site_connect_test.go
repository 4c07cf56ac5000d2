//lint:file-ignore SA1019 the Transport of net/http takes no :protocol, that of x/net does

package distrib_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"

	"perspective/pb/distrib"
)

// WebSocket over HTTP/2 reaches the handler as an upgrade. net/http looks at the environment when
// the process begins, so the test runs in a process of its own.
//
//nolint:staticcheck // the Transport of net/http takes no :protocol, this one does
func TestExtendedConnect(t *testing.T) {
	const allowed = "http2xconnect=1"
	if !strings.Contains(os.Getenv("GODEBUG"), allowed) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestExtendedConnect$",
			"-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG="+allowed)
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestExtendedConnect")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	bye := make(chan int, 2)
	site := &distrib.Site{}
	site.Handle("/app/", distrib.Route{Back: "app", Limits: unhurried})
	s := newSplit(t, site)
	accept := coderEcho(bye)
	s.back("app", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.Header.Get("Upgrade") != "websocket" ||
			r.Header.Get(":protocol") != "" || len(r.Header["Sec-Websocket-Key"]) != 1 {
			t.Errorf("the handler sees %s %v", r.Method, r.Header)
		}
		accept(w, r)
	})
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: site, Protocols: &protocols}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // ends with Close
	defer serving.Wait()
	defer func() { _ = server.Close() }()
	transport := &http2.Transport{AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn,
			error,
		) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}
	defer transport.CloseIdleConnections()
	connect := func() (*io.PipeWriter, *http.Response) {
		t.Helper()
		pr, pw := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodConnect,
			"http://"+l.Addr().String()+"/app/", pr)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(":protocol", "websocket")
		req.Header.Set("Sec-WebSocket-Version", "13")
		req.Header.Set("Sec-WebSocket-Key", "the client's own")
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		return pw, resp
	}
	pw, resp := connect()
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Upgrade") != "" ||
		resp.Header.Get("Sec-WebSocket-Accept") != "" {
		t.Errorf("answer %d %v", resp.StatusCode, resp.Header)
	}
	// A text of two bytes, masked by zeros, and its echo.
	_, _ = pw.Write([]byte{0x81, 0x82, 0, 0, 0, 0, 'h', 'i'})
	got := make([]byte, 4)
	if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != "\x81\x02hi" {
		t.Errorf("echo = %q, %v", got, err)
	}
	_, _ = pw.Write([]byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9}) // 1001
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "\x88\x02\x03\xe9" {
		t.Errorf("at the end %q, %v", rest, err)
	}
	if code := <-bye; code != int(websocket.StatusGoingAway) {
		t.Errorf("the handler hears %d, want 1001", code)
	}
	_ = pw.Close()
	pw, resp = connect()
	_ = resp.Body.Close() // resets the stream
	if code := <-bye; code != -1 {
		t.Errorf("the handler hears %d of a client that has gone", code)
	}
	_ = pw.Close()
}

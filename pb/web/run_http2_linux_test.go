//lint:file-ignore SA1019 the Transport of net/http takes no :protocol, that of x/net does

package web_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"

	"golang.org/x/net/http2"
)

// webSocketOverHTTP2 has a text echoed by extended CONNECT (RFC 8441).
//
//nolint:staticcheck // the Transport of net/http takes no :protocol, this one does
func (r *runningSite) webSocketOverHTTP2(t *testing.T, path string) {
	t.Helper()
	transport := &http2.Transport{AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn,
			error,
		) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}
	defer transport.CloseIdleConnections()
	pr, pw := io.Pipe()
	defer func() { _ = pw.Close() }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, "http://"+r.addr+path,
		pr)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(":protocol", "websocket")
	req.Header.Set("Sec-WebSocket-Version", "13")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
	_, _ = pw.Write([]byte{0x81, 0x82, 0, 0, 0, 0, 'h', 'i'}) // a text, masked by zeros
	got := make([]byte, 4)
	if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != "\x81\x02hi" {
		t.Errorf("echo = %q, %v", got, err)
	}
}

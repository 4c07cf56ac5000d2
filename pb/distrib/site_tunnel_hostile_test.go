package distrib

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
)

// A back end that breaks the rules of upgrades loses its link, and nobody else anything.
func TestHostileUpgrades(t *testing.T) {
	to := func(fields ...string) *response {
		return &response{status: 101, length: -1, streamed: true, header: fields}
	}
	long := strings.Repeat("a", maxHeaderBytes)
	with := func(p *response, change func(*response)) *response {
		change(p)
		return p
	}
	for _, tt := range []struct {
		name   string
		resp   *response
		stream io.Reader
		status string
		end    string // what the client sees last
		reset  bool
	}{
		{name: "another protocol", resp: to("Upgrade", "bar"), status: "502", reset: true},
		{name: "h2c", resp: to("Upgrade", "h2c"), status: "502", reset: true},
		{name: "no protocol", resp: to("X", "foo"), status: "502", reset: true},
		{name: "two protocols", resp: to("Upgrade", "foo", "upgrade", "foo"), status: "502",
			reset: true},
		{name: "a line in the protocol", resp: to("Upgrade", "foo\r\nX: y"), status: "502",
			reset: true},
		{name: "a line in a value", resp: to("Upgrade", "foo", "X", "a\r\nY: b"), status: "502",
			reset: true},
		{name: "a length", resp: with(to("Upgrade", "foo"), func(p *response) { p.length = 3 }),
			status: "502", reset: true},
		{name: "a body", resp: with(to("Upgrade", "foo"),
			func(p *response) { p.streamed, p.body = false, []byte("abc") }),
			status: "502", reset: true},
		{name: "trailers", resp: with(to("Upgrade", "foo"),
			func(p *response) { p.fields = []string{"X", "a"} }), status: "502", reset: true},
		{name: "trailers announced", resp: with(to("Upgrade", "foo"),
			func(p *response) { p.trailers = []string{"X"} }), status: "502", reset: true},
		{name: "a head too large", resp: to("Upgrade", "foo", "X", long), status: "502"},
		{name: "no stream", resp: to("Upgrade", "foo")},
		{name: "headers of the connection", resp: to("Upgrade", "FOO", "Connection",
			"close, X-Kept", "X-Kept", "1", "Content-Length", "5", "Transfer-Encoding", "chunked",
			"Server", "evil", "Sec-Websocket-Accept", "x"), stream: strings.NewReader("raw"),
			status: "101", end: "\r\n\r\nraw"},
		{name: "what looks like an answer", resp: to("Upgrade", "foo"),
			stream: strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
			status: "101", end: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{name: "a stream that breaks off", resp: to("Upgrade", "foo"),
			stream: io.MultiReader(strings.NewReader("some"), broken{}), status: "101"},
		{name: "a flood", resp: to("Upgrade", "foo"),
			stream: bytes.NewReader(make([]byte, 10<<20)), status: "101"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := attackSite(t, &hostileBack{
				answer: func(_ context.Context, q *request) (*response, error) {
					if q.bits&bitUpgrade == 0 {
						return &response{status: 200, length: -1}, nil
					}
					return tt.resp, nil
				},
				stream: tt.stream,
			})
			got := s.raw("GET /evil/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\n" +
				"Upgrade: foo\r\n\r\n")
			if tt.status == "" && got != "" ||
				tt.status != "" && !strings.HasPrefix(got, "HTTP/1.1 "+tt.status) ||
				!strings.HasSuffix(got, tt.end) {
				t.Errorf("the client sees %.200q, want status %q and %q", got, tt.status, tt.end)
			}
			head, _, _ := strings.Cut(got, "\r\n\r\n")
			for _, bad := range []string{"Transfer-Encoding", "evil", "X: y", "Y: b",
				"Content-Length: 5"} {
				if strings.Contains(head, bad) {
					t.Errorf("%s reaches the client: %q", bad, head)
				}
			}
			if tt.reset {
				<-s.conn.Done()
			} else if err := s.conn.Sync(t.Context()); err != nil {
				t.Errorf("the link ended: %v", err)
			}
			s.good()
		})
	}
}

// broken fails.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

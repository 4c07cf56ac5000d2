package distrib

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"perspective/pb"
)

// What a client must not say to a back end, each name in several spellings.
func TestRequestNames(t *testing.T) {
	dropped := "Connection Content-Length Expect Host Keep-Alive Trailer Transfer-Encoding " +
		"Upgrade " +
		"Cf-Connecting-Ip Client-Ip Fastly-Client-Ip Forwarded Proxy Remote-User True-Client-Ip " +
		"X-Cluster-Client-Ip X-Forwarded " +
		"X-Original-Url X-Real-Ip X-Remote-User X-Rewrite-Url Proxy-Authorization " +
		"Proxy-Connection Proxy-Anything Pb-Identity " +
		"Pb-Anything X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Anything " +
		"X-Client-Cert X-Client-Ip Authorization"
	kept := "Accept Cache-Control Content-Type Range If-None-Match Origin X-Requested-With " +
		"X-Anything Proxied Pbx X-Forward X-Clients"
	rt := &route{cookies: newCookieJar("app", "/app", OwnCookies, nil)}
	for _, list := range []struct {
		names string
		pass  bool
	}{{dropped, false}, {kept, true}} {
		for name := range strings.FieldsSeq(list.names) {
			for _, spelt := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
				h := http.Header{}
				h.Add(spelt, "x") // as net/http reads it
				fields, _ := rt.forwardHeader(nil, &http.Request{Header: h})
				if passes := len(fields) > 0; passes != list.pass {
					t.Errorf("%s: passes %v, want %v", spelt, passes, list.pass)
				}
			}
			under := textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "-", "_"))
			if strings.Contains(name, "-") {
				if fields, _ := rt.forwardHeader(nil,
					&http.Request{Header: http.Header{under: {"x"}}}); len(fields) > 0 {
					t.Errorf("%s passes", under)
				}
			}
		}
	}
}

// What a back end must not say to a browser, in a header and in a trailer.
func TestResponseNames(t *testing.T) {
	both := "Connection Content-Length Expect Host Keep-Alive Te Trailer Transfer-Encoding " +
		"Upgrade Accept-Ch Alt-Svc Clear-Site-Data " +
		"Critical-Ch Nel Origin-Agent-Cluster Report-To Reporting-Endpoints " +
		"Sec-Session-Registration Secure-Session-Challenge " +
		"Secure-Session-Registration Server Service-Worker-Allowed Set-Cookie2 Set-Login " +
		"Strict-Transport-Security Use-As-Dictionary " +
		"X-Sendfile Proxy-Authenticate Proxy-Anything Pb-Identity Public-Key-Pins " +
		"Public-Key-Pins-Report-Only X-Accel-Redirect X-Accel-Anything"
	trailer := "Authorization Cache-Control Content-Encoding Content-Range Content-Type Cookie " +
		"Max-Forwards Range Set-Cookie Www-Authenticate " +
		"Forwarded X-Real-Ip X-Forwarded-For X-Client-Cert"
	kept := "Etag Link Location Vary X-Anything Server-Timing Content-Security-Policy Proxied " +
		"X-Accelerate"
	rt := &route{cookies: newCookieJar("app", "/app", OwnCookies, nil)}
	for _, list := range []struct {
		names             string
		inHead, inTrailer bool
	}{{both, false, false}, {trailer, true, false}, {kept, true, true}} {
		for name := range strings.FieldsSeq(list.names) {
			for _, spelt := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
				fields := []string{spelt, "x=1"}
				head, tail := http.Header{}, http.Header{}
				if err := rt.copyHeader(head, fields); err != nil {
					t.Errorf("%s: %v", spelt, err)
				}
				if err := copyTrailer(tail, nil, fields); err != nil {
					t.Errorf("%s as a trailer: %v", spelt, err)
				}
				announced, err := trailerNames(fields[:1])
				if err != nil {
					t.Errorf("%s announced: %v", spelt, err)
				}
				if len(head) > 0 != list.inHead || len(tail) > 0 != list.inTrailer ||
					len(announced) > 0 != list.inTrailer {
					t.Errorf("%s: passes as header %v, trailer %v, announced %v; want %v, %v",
						spelt, head, tail, announced, list.inHead, list.inTrailer)
				}
			}
		}
	}
}

// A client of HTTP/1.0 knows no interim responses: it would take one for the answer.
func TestNoInterimForHTTP10(t *testing.T) {
	s := newHostileSite(t, answerWithHints)
	for request, want := range map[string]int{
		"GET /evil/ HTTP/1.0\r\nHost: x\r\n\r\n":                           0,
		"GET /evil/ HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n": 0,
		"GET /evil/ HTTP/1.1\r\n" + closing:                                1,
	} {
		c, r := rawConn(t, s)
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		hints := 0
		for {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("%q: %v", request, err)
			}
			if resp.StatusCode == http.StatusEarlyHints {
				hints++
				continue
			}
			b, err := io.ReadAll(resp.Body)
			if resp.StatusCode != http.StatusOK || string(b) != "end" || err != nil ||
				resp.Header.Get("Link") != "" {
				t.Errorf("%q: %d, %q, %v", request, resp.StatusCode, b, resp.Header)
			}
			_ = resp.Body.Close()
			break
		}
		if hints != want {
			t.Errorf("%q: %d interim responses, want %d", request, hints, want)
		}
		_ = c.Close()
	}
}

// A 205 has no body, whatever the back end says of one, and what follows on the
// client's connection is the next answer.
func TestNoBodyOf205(t *testing.T) {
	for name, p := range map[string]*response{
		"nothing": {status: 205, length: -1},
		"a body": {
			status: 205,
			length: -1,
			body:   []byte("HTTP/1.1 200 OK\r\n\r\n"),
		},
		"a body with its length":  {status: 205, length: 3, body: []byte("abc")},
		"a length without a body": {status: 205, length: 1000},
		"a stream":                {status: 205, length: -1, streamed: true},
		"a stream with a length":  {status: 205, length: 3, streamed: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := attackSite(t, &hostileBack{answer: answerAlways(p), stream: strings.NewReader("")})
			c, r := rawConn(t, s)
			for range 2 {
				if _, err := io.WriteString(c,
					"GET /evil/ HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(resp.Body)
				if resp.StatusCode != http.StatusResetContent || len(b) > 0 || err != nil {
					t.Errorf("status %d, body %q, %v, header %v", resp.StatusCode, b,
						err, resp.Header)
				}
				_ = resp.Body.Close()
			}
			_ = c.Close()
			s.good()
		})
	}
}

func answerAlways(p *response) func(context.Context, *request) (*response, error) {
	return func(context.Context, *request) (*response, error) { return p, nil }
}

func answerWithHints(ctx context.Context, _ *request) (*response, error) {
	if err := pb.Note(ctx, []any{103, "Link", "</a.css>"}); err != nil {
		return nil, err
	}
	return &response{status: 200, length: -1, body: []byte("end")}, nil
}

// rawConn is a connection of a client that speaks HTTP/1 by hand.
func rawConn(t *testing.T, s *hostileSite) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", s.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

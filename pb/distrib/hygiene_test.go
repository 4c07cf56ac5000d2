package distrib

import (
	"crypto/tls"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// asHeader puts fields back into a header.
func asHeader(fields []string) http.Header {
	h := http.Header{}
	for i := 0; i+1 < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return h
}

func TestForwardHeader(t *testing.T) {
	in := http.Header{
		"Accept":              {"a", "b"},
		"X-Own":               {"1"},
		"Connection":          {"keep-alive, X-Hop", "close"},
		"X-Hop":               {"1"},
		"Keep-Alive":          {"1"},
		"Proxy-Connection":    {"1"},
		"Proxy-Authorization": {"1"},
		"Te":                  {"gzip, trailers;q=0.5"},
		"Trailer":             {"X"},
		"Transfer-Encoding":   {"chunked"},
		"Upgrade":             {"websocket"},
		"Expect":              {"100-continue"},
		"Content-Length":      {"3"},
		"Host":                {"other"},
		"X-Forwarded-For":     {"6.6.6.6"},
		"X-Forwarded-Proto":   {"https"},
		"X-Forwarded-Evil":    {"1"},
		"Forwarded":           {"for=6.6.6.6"},
		"X-Real-Ip":           {"6.6.6.6"},
		"X-Client-Cert":       {"1"},
		"X_real_ip":           {"6.6.6.6"},
		"Pb-Identity":         {"root"},
		"Authorization":       {"Basic x"},
		"Cookie":              {"~app.a=1; ~other.b=2"},
	}
	for _, tt := range []struct {
		name  string
		route Route
		want  http.Header
	}{
		{"strict", Route{}, http.Header{
			"Accept": {"a", "b"},
			"X-Own":  {"1"},
			"Te":     {"trailers"},
			"Cookie": {"a=1"},
		}},
		{"authorization", Route{Authorization: true},
			http.Header{
				"Accept":        {"a", "b"},
				"X-Own":         {"1"},
				"Te":            {"trailers"},
				"Cookie":        {"a=1"},
				"Authorization": {"Basic x"},
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rt := &route{Route: tt.route, cookies: newCookieJar("app", "/app", OwnCookies, nil)}
			fields, ok := rt.forwardHeader(nil, &http.Request{Header: in})
			got := asHeader(fields)
			if !ok || !maps.EqualFunc(got, tt.want, slices.Equal) {
				t.Errorf("forwardHeader = %v, %v; want %v", got, ok, tt.want)
			}
		})
	}
}

func TestForwardHeaderBounds(t *testing.T) {
	many := http.Header{}
	for i := range maxFields + 1 {
		many["X-"+strings.Repeat("a", i+1)] = []string{""}
	}
	for name, h := range map[string]http.Header{
		"too many": many,
		"too long": {"X": {strings.Repeat("a", maxHeaderBytes)}},
	} {
		if _, ok := new(route).forwardHeader(nil, &http.Request{Header: h}); ok {
			t.Errorf("%s: passes", name)
		}
	}
}

func TestClientOf(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, tt := range []struct {
		name    string
		remote  string
		forward []string
		proto   string
		tls     bool
		want    client
	}{
		{"direct", "1.2.3.4:5", nil, "", false, client{"1.2.3.4:5", false}},
		{"direct TLS", "1.2.3.4:5", nil, "", true, client{"1.2.3.4:5", true}},
		{"a stranger's word", "1.2.3.4:5", []string{"6.6.6.6"}, "https", false,
			client{"1.2.3.4:5", false}},
		{"a proxy's word", "10.0.0.1:5", []string{"1.2.3.4"}, "https", false,
			client{"1.2.3.4:0", true}},
		{"by two proxies", "10.0.0.1:5", []string{"1.2.3.4, 10.9.9.9"}, "http", false,
			client{"1.2.3.4:0", false}},
		{"left of the client is a lie", "10.0.0.1:5", []string{"6.6.6.6, 1.2.3.4", "10.0.0.7"}, "",
			false, client{"1.2.3.4:0", false}},
		{"IPv6", "[::1]:5", []string{"[2001:db8::1]"}, "", false, client{"[2001:db8::1]:0", false}},
		{"mapped", "[::ffff:10.0.0.1]:5", []string{"1.2.3.4"}, "", false,
			client{"1.2.3.4:0", false}},
		{"nothing said", "10.0.0.1:5", nil, "", false, client{"10.0.0.1:5", false}},
		{"nonsense", "10.0.0.1:5", []string{"unknown"}, "", false, client{"10.0.0.1:5", false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: tt.remote, Header: http.Header{}}
			if tt.forward != nil {
				r.Header["X-Forwarded-For"] = tt.forward
			}
			if tt.proto != "" {
				r.Header["X-Forwarded-Proto"] = []string{tt.proto}
			}
			if tt.tls {
				r.TLS = new(tls.ConnectionState)
			}
			if got := clientOf(r, trusted); got != tt.want {
				t.Errorf("clientOf = %v, want %v", got, tt.want)
			}
		})
	}
}

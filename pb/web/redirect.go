package web

import (
	"net"
	"net/http"
	"strings"
)

// Plain returns what to serve without TLS, at port 80: it sends every request to the same address
// over https, at port (empty: 443), by 308, which keeps the method and the body. By ACME it answers
// the server's http-01 challenges too, which are tried from then on.
func (c *Certificates) Plain(port string) http.Handler {
	var h http.Handler = redirect{port: port}
	if c.manager != nil {
		return c.manager.HTTPHandler(h)
	}
	return h
}

// A redirect sends to https.
type redirect struct{ port string }

// ServeHTTP reads no body.
func (r redirect) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	if req.ContentLength != 0 {
		h["Connection"] = []string{"close"}
	}
	host := hostOf(req.Host)
	uri := req.URL.RequestURI()
	if host == "" || !strings.HasPrefix(uri, "/") {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte("bad request\n")) // the client may be gone
		return
	}
	if r.port != "" && r.port != "443" {
		host += ":" + r.port
	}
	h["Location"] = []string{"https://" + host + uri}
	w.WriteHeader(http.StatusPermanentRedirect)
	_, _ = w.Write([]byte("moved to https\n"))
}

// hostOf is the host of a Host field without its port, as a URL has it; empty if it is none.
func hostOf(field string) string {
	host := field
	if h, _, err := net.SplitHostPort(field); err == nil {
		host = h
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if net.ParseIP(host) != nil {
		if strings.Contains(host, ":") {
			return "[" + host + "]"
		}
		return host
	}
	for _, b := range []byte(host) {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '-', b == '.',
			b == '_':
		default:
			return ""
		}
	}
	return host
}

// isRedirect says whether an address of Config.Listen is one that redirects to https.
func isRedirect(addr string) bool {
	if strings.HasPrefix(addr, "unix:") {
		return false
	}
	_, port, err := net.SplitHostPort(addr)
	return err == nil && (port == "80" || port == "http")
}

// httpsPort is the port that the addresses of Config.Listen that redirect send to.
func httpsPort(listen []string) string {
	for _, addr := range listen {
		if _, port, err := net.SplitHostPort(addr); err == nil && !isRedirect(addr) &&
			!strings.HasPrefix(addr, "unix:") {
			return port
		}
	}
	return ""
}

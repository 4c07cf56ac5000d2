package distrib

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The bounds of one header block, in both directions.
const (
	maxFields      = 256
	maxHeaderBytes = 64 << 10
)

// fieldCost is what a field counts beside its bytes, so that empty ones are not free.
const fieldCost = 2

// forwardHeader appends to fields, name and value in turn, what of the request's header goes to the
// back end of rt. It is false if they are more than a header block may be.
func (rt *route) forwardHeader(fields []string, r *http.Request) ([]string, bool) {
	size := fieldCost * len(fields) / 2
	for _, f := range fields {
		size += len(f)
	}
	named := connectionNames(r.Header)
	for name, values := range r.Header {
		if !rt.forwards(name) || len(named) > 0 && listed(named, name) {
			continue
		}
		for _, v := range values {
			fields = append(fields, name, v)
			size += len(name) + len(v) + fieldCost
		}
	}
	if te := r.Header["Te"]; len(te) > 0 && hasToken(te, "trailers") {
		fields = append(fields, "Te", "trailers")
		size += len("Te") + len("trailers") + fieldCost
	}
	// It says how long the body is, as the server took it; a program before the Site may have
	// changed the body since.
	if cl := r.Header["Content-Length"]; len(cl) == 1 {
		if n, err := strconv.ParseInt(cl[0], 10, 64); err == nil && n == r.ContentLength {
			fields = append(fields, "Content-Length", cl[0])
			size += len("Content-Length") + len(cl[0]) + fieldCost
		}
	}
	if cookies := r.Header["Cookie"]; len(cookies) > 0 {
		if c := rt.cookies.forward(cookies); c != "" {
			fields = append(fields, "Cookie", c)
			size += len("Cookie") + len(c) + fieldCost
		}
	}
	if rt.Strip && rt.prefix != "" {
		fields = append(fields, "X-Forwarded-Prefix", rt.prefix)
		size += len("X-Forwarded-Prefix") + len(rt.prefix) + fieldCost
	}
	return fields, size <= maxHeaderBytes && len(fields) <= 2*maxFields
}

// forwards says whether the back end may see a header of this canonical name as it is. Cookies go a
// way of their own.
func (rt *route) forwards(name string) bool {
	if n, ok := headerNames[name]; ok {
		switch {
		case n.rule&dropRequest != 0, name == "Cookie":
			return false
		case name == "Authorization":
			return rt.Authorization
		}
		return true
	}
	// CGI-like programs turn "-" into "_", so X_Real_Ip would become what the front did not say.
	return strings.IndexByte(name, '_') < 0 && ruleByPrefix(name)&dropRequest == 0
}

// connectionNames returns what Connection says belongs to this hop alone.
func connectionNames(h http.Header) []string {
	var names []string
	for _, v := range h["Connection"] {
		for n := range strings.SplitSeq(v, ",") {
			n = strings.TrimSpace(n)
			// The usual words name nothing that would be forwarded anyway.
			if n != "" && !strings.EqualFold(n, "keep-alive") && !strings.EqualFold(n, "close") &&
				!strings.EqualFold(n, "upgrade") {
				names = append(names, n)
			}
		}
	}
	return names
}

func listed(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// A client is the sender of a request, as the front knows it.
type client struct {
	addr   string // host:port; the port is 0 where only a proxy's word gives the address
	secure bool   // came over TLS
}

// clientOf returns the client of a request. A proxy's X-Forwarded-For counts only if the connection
// comes from one of trusted. Then the rightmost address that is not trusted is the client's; what
// stands to the left of it does not matter.
func clientOf(r *http.Request, trusted []netip.Prefix) client {
	c := client{addr: r.RemoteAddr, secure: r.TLS != nil}
	if len(trusted) == 0 || !trustedAddr(hostOf(r.RemoteAddr), trusted) {
		return c
	}
	if proto := r.Header["X-Forwarded-Proto"]; len(proto) == 1 &&
		strings.EqualFold(proto[0], "https") {
		c.secure = true
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for _, hop := range slices.Backward(hops) {
		ip, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(hop), "[]"))
		if err != nil {
			return c
		}
		c.addr = net.JoinHostPort(ip.Unmap().String(), "0")
		if !containsAddr(trusted, ip.Unmap()) {
			return c
		}
	}
	return c
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

func trustedAddr(host string, trusted []netip.Prefix) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && containsAddr(trusted, ip.Unmap())
}

func containsAddr(list []netip.Prefix, ip netip.Addr) bool {
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

package pb

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"perspective/cred"
	"perspective/internal/prefix"
)

// DefaultPort is the port of a pb URL that names none. It is Twisted's.
const DefaultPort = "8787"

// An Address is a pb URL taken apart.
type Address struct {
	// Scheme is pb, pb+tcp or pb+unix.
	Scheme string
	// NodeID is who must answer, for pb; empty: whoever the web's certificate
	// authorities vouch for.
	NodeID string
	// Host is host:port, or the path of the socket.
	Host string
}

// wantForms ends the errors for what is no pb URL of any form.
const wantForms = "want pb://…, pb+tcp://… or pb+unix:///path"

// ParseURL reads
//
//	pb://NODEID@host:port/   TLS; the peer must have the key that NODEID is the hash of
//	pb://host:port/          TLS; the web's authorities must vouch for host
//	pb+tcp://host:port/      plain
//	pb+unix:///path          a unix socket; the kernel says who the peer is
//
// The port may be left out, see DefaultPort.
func ParseURL(s string) (Address, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Address{}, fmt.Errorf("pb: address %q: %w; %s", s, errors.Unwrap(err), wantForms)
	}
	a := Address{Scheme: u.Scheme}
	switch u.Scheme {
	case "pb", "pb+tcp":
		if u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return a, fmt.Errorf("pb: address %q: want %s://host:port/", s, u.Scheme)
		}
		if strings.Contains(u.Hostname(), ":") {
			if _, err := netip.ParseAddr(u.Hostname()); err != nil || u.Host[0] != '[' {
				return a, fmt.Errorf("pb: address %q: an IPv6 address stands in brackets, as in %s://[::1]:%s/", s, u.Scheme, DefaultPort)
			}
		}
		port := u.Port()
		if port == "" {
			port = DefaultPort
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
			return a, fmt.Errorf("pb: address %q: want a port from 0 to 65535", s)
		}
		a.Host = net.JoinHostPort(u.Hostname(), port)
		if u.User == nil {
			return a, nil
		}
		a.NodeID = u.User.String()
		if u.Scheme != "pb" {
			return a, fmt.Errorf("pb: address %q: nothing proves a node id over plain TCP, use pb://", s)
		}
		if _, err := cred.ParseNodeID(a.NodeID); err != nil {
			return a, prefix.Errorf("pb: address %q: %w", s, err)
		}
	case "pb+unix":
		if u.Host != "" || u.User != nil || u.Path == "" || u.Path == "/" || u.RawQuery != "" || u.Fragment != "" {
			return a, fmt.Errorf("pb: address %q: want pb+unix:///path", s)
		}
		a.Host = u.Path
	default:
		return a, fmt.Errorf("pb: address %q: %s", s, wantForms)
	}
	return a, nil
}

// String is the URL.
func (a Address) String() string {
	if a.Scheme == "pb+unix" {
		return "pb+unix://" + (&url.URL{Path: a.Host}).EscapedPath()
	}
	u := url.URL{Scheme: a.Scheme, Host: a.Host, Path: "/"}
	if a.NodeID != "" {
		u.User = url.User(a.NodeID)
	}
	return u.String()
}

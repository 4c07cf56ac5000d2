package pb

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// DefaultPort is the port of a pb URL that names none. It is Twisted's.
const DefaultPort = "8787"

// An Address is a pb URL taken apart.
type Address struct {
	// Scheme is pb, pb+tcp or pb+unix.
	Scheme string
	// NodeID names the node that must answer, for pb; empty: any that the web's
	// certificate authorities vouch for as Host.
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
//	pb+unix:///path          a unix socket; the kernel gives the peer credentials
//
// The port may be left out, see DefaultPort.
func ParseURL(s string) (Address, error) {
	a, _, err := parseURL(s)
	return a, err
}

func parseURL(s string) (Address, transport, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Address{}, transport{}, fmt.Errorf("pb: address %q: %w; %s", s,
			errors.Unwrap(err), wantForms)
	}
	a := Address{Scheme: u.Scheme}
	t, ok := transportOf(u.Scheme)
	if !ok {
		return a, t, fmt.Errorf("pb: address %q: %s", s, wantForms)
	}
	err = t.parse(&a, u, s)
	return a, t, err
}

// String is the URL.
func (a Address) String() string {
	if t, ok := transportOf(a.Scheme); ok {
		return t.format(a)
	}
	return formatHost(a)
}

// parseHost reads a host and a port.
func parseHost(a *Address, u *url.URL, s string) error {
	if u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" ||
		u.Fragment != "" {
		return fmt.Errorf("pb: address %q: want %s://host:port/", s, a.Scheme)
	}
	if strings.Contains(u.Hostname(), ":") {
		if _, err := netip.ParseAddr(u.Hostname()); err != nil || u.Host[0] != '[' {
			return fmt.Errorf("pb: address %q: an IPv6 address stands in brackets, as in "+
				"%s://[::1]:%s/", s, a.Scheme, DefaultPort)
		}
	}
	port := u.Port()
	if port == "" {
		port = DefaultPort
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("pb: address %q: want a port from 0 to 65535", s)
	}
	a.Host = net.JoinHostPort(u.Hostname(), port)
	return nil
}

// formatHost writes a host, a port and a node id.
func formatHost(a Address) string {
	u := url.URL{Scheme: a.Scheme, Host: a.Host, Path: "/"}
	if a.NodeID != "" {
		u.User = url.User(a.NodeID)
	}
	return u.String()
}
